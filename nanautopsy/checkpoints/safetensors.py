"""safetensors files, whole or sharded with an index, as one checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nanautopsy.checkpoints._safetensors_header import (
    MAX_HEADER_BYTES,
    BadHeader,
    Entry,
    Header,
    quote,
    read_header,
)
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import Holds, Piece, StoredCheckpoint, StoredTensor
from nanautopsy.discover import natural_key
from nanautopsy.model import (
    Artifact,
    Claim,
    FileHead,
    Problem,
    Record,
    Skipped,
    Source,
)
from nanautopsy.readers._damage import Damage

_EXTENSION = ".safetensors"
_SHARD = re.compile(
    r"(?:shard-\d+-)?(?P<stem>.+?)[-_.]?\d{3,6}-of-\d{3,6}(?P<variant>\.\w+)?\.safetensors"
)
_INDEX = re.compile(r"(?P<stem>.+)\.safetensors\.index(?P<variant>\.\w+)?\.json")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_INDEX_BYTES = 256 << 20
_REREAD_FACTOR = 2
"""Overlapping entries may have a file's bytes measured this many times, and no more."""
_STEP_METADATA = ("step", "global_step", "iteration", "ss_steps")


@dataclass(slots=True)
class _Gathered:
    """What the files of one artifact gave so far."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Why members gave nothing at all."""


class SafetensorsReader:
    """Claims by the header's shape; a Git-LFS pointer or an empty file by its name alone."""

    name = "safetensors"

    def claim(self, file: FileHead) -> Claim | None:
        index = _INDEX.fullmatch(file.name)
        if index is not None:
            return Claim(self.name, 90, index["stem"] + (index["variant"] or ""))
        if _looks_like_header(file.head):
            return Claim(self.name, 95, _group(file.name))
        if file.name.endswith(_EXTENSION):
            return Claim(self.name, 70, _group(file.name))
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Exactly one ``StoredCheckpoint``, unless no member has a usable header."""
        gathered = _Gathered()
        indices = [file for file in artifact.files if file.path.endswith(".json")]
        files = [file for file in artifact.files if file not in indices]
        for file in files:
            yield from _read_file(file, gathered)
        for index in indices:
            yield from _check_index(index, {file.path for file in files}, gathered)
        if not gathered.tensors and not gathered.missing and gathered.unread:
            yield Skipped(gathered.unread[0])
            return
        yield StoredCheckpoint(
            path=_checkpoint_path(artifact),
            kind=self.name,
            step=_step(artifact.path, gathered.metadata),
            tensors=tuple(
                gathered.tensors[name] for name in sorted(gathered.tensors, key=natural_key)
            ),
            holds=_holds(artifact.path, gathered.tensors),
            missing=tuple(sorted(gathered.missing - gathered.tensors.keys(), key=natural_key)),
        )


READER = SafetensorsReader()


# --- which files, and what they are -------------------------------------------------------------


def _looks_like_header(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= MAX_HEADER_BYTES and head[8:64].lstrip(b" ")[:1] == b"{"


def _group(name: str) -> str:
    """What a shard shares with its index, and a single file with an index of its own."""
    shard = _SHARD.fullmatch(name)
    if shard is not None:
        return shard["stem"] + (shard["variant"] or "")
    return name.removesuffix(_EXTENSION)


def _checkpoint_path(artifact: Artifact) -> str:
    if len(artifact.members) == 1:
        return artifact.path
    return artifact.path.rpartition("/")[0] or "."


def _step(path: str, metadata: dict[str, str]) -> int | None:
    step = step_of(path)
    if step is not None:
        return step
    stated = (metadata.get(key, "") for key in _STEP_METADATA)
    return next((int(text) for text in stated if re.fullmatch(r"\d{1,9}", text)), None)


def _holds(path: str, tensors: dict[str, StoredTensor]) -> Holds:
    name = path.rpartition("/")[2]
    if name.startswith("adapter"):
        return "adapter"
    if "optim" in name:
        return "optimizer"
    if not tensors:
        return "unknown"
    moments = sum("exp_avg" in tensor for tensor in tensors)
    if moments * 2 >= len(tensors):
        return "optimizer"
    return "adapter" if all("lora" in tensor.lower() for tensor in tensors) else "model"


# --- one file -----------------------------------------------------------------------------------


def _read_file(file: DataFile, gathered: _Gathered) -> Iterator[Problem]:
    """Fill ``gathered`` from one file's header; what is wrong with it comes out."""
    try:
        size = file.size
        with file.open() as handle:
            header = read_header(handle, size)
        damage = Damage(file.path)
        for text in header.problems:
            damage.note(text)
        yield from damage.problems()
        yield from _list_tensors(file, size, header, gathered)
    except OSError as error:
        gathered.unread.append(f"cannot be read: {error.strerror or error}")
        yield Problem(gathered.unread[-1], Source(file.path))
    except BadHeader as error:
        gathered.unread.append(_why_unusable(file, error))
        yield Problem(gathered.unread[-1], Source(file.path, offset=0))


def _why_unusable(file: DataFile, error: BadHeader) -> str:
    with file.open() as handle:
        head = handle.read(200) or b""
    if not head.startswith(_LFS_POINTER):
        return str(error)
    size = re.search(rb"^size (\d+)", head, re.MULTILINE)
    text = f" of {int(size[1])} bytes" if size else ""
    return f"a Git LFS pointer: the content{text} was not downloaded"


def _list_tensors(
    file: DataFile, size: int, header: Header, gathered: _Gathered
) -> Iterator[Problem]:
    gathered.missing.update(header.unusable)
    for key, value in header.metadata.items():
        gathered.metadata.setdefault(key, value)
    cut = [entry for entry in header.entries if entry.end > size]
    if cut:
        gathered.missing.update(entry.name for entry in cut)
        end = max(entry.end for entry in cut)
        text = f"cut short: {size} of {end} bytes; {len(cut)} of {len(header.entries)} tensors lost"
        yield Problem(text, Source(file.path, offset=size))
    budget = size * _REREAD_FACTOR
    twice = []
    for entry in header.entries:
        if entry.end > size:
            continue
        if entry.name in gathered.tensors:
            twice.append(entry.name)
            continue
        budget -= entry.end - entry.begin
        if budget < 0:
            gathered.missing.add(entry.name)
            continue
        gathered.tensors[entry.name] = _stored(file, entry)
    if twice:
        first = gathered.tensors[twice[0]].pieces[0].file.path
        text = f"{len(twice)} tensors are also in {first}, the first is {quote(twice[0])}"
        yield Problem(text, Source(file.path, tensor=twice[0]))


def _stored(file: DataFile, entry: Entry) -> StoredTensor:
    piece = Piece(file, entry.begin, entry.shape)
    return StoredTensor(entry.name, entry.dtype, entry.shape, (piece,))


# --- the index ----------------------------------------------------------------------------------


def _check_index(index: DataFile, files: set[str], gathered: _Gathered) -> Iterator[Problem]:
    """Compare the index with the shards that are there. Its file names are compared only."""
    path = index.path
    try:
        if index.size > _MAX_INDEX_BYTES:
            raise ValueError("larger than any index")
        with index.open() as handle:
            weight_map = json.loads(handle.read() or b"")["weight_map"]
        listed = {str(tensor): str(shard) for tensor, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"the index cannot be used: {type(error).__name__}: {error}"
        gathered.unread.append(text)
        yield Problem(text, Source(path))
        return
    directory = path.rpartition("/")[0]
    prefix = directory + "/" if directory else ""
    absent: dict[str, list[str]] = {}
    for tensor, shard in listed.items():
        if tensor not in gathered.tensors:
            gathered.missing.add(tensor)
            absent.setdefault(shard, []).append(tensor)
    for shard, tensors in absent.items():
        if prefix + shard not in files:
            text = f"the index names shard {quote(shard)}, which is not here: "
            text += f"{len(tensors)} tensors missing"
        else:
            text = f"the index places {len(tensors)} tensors in {quote(shard)} that it does not "
            text += f"give, the first is {quote(tensors[0])}"
        yield Problem(text, Source(path))
    unlisted = gathered.tensors.keys() - listed.keys()
    if unlisted:
        first = min(unlisted, key=natural_key)
        text = f"the index does not list {len(unlisted)} tensors, the first is {quote(first)}"
        yield Problem(text, Source(path))
