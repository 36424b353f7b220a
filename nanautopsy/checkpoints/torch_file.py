"""Files that ``torch.save`` or ``pickle`` wrote: checkpoints, optimizer states, settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.pickle_danger import dangers
from nanautopsy.checkpoints.pickles.opcodes import OPCODES
from nanautopsy.checkpoints.shard_index import check_index
from nanautopsy.checkpoints.state_dicts import Contents, describe
from nanautopsy.checkpoints.step_names import names_step, step_of
from nanautopsy.checkpoints.stored import Holds, StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_load import ZIP_MAGIC, NotTorch, TorchFile, load_torch
from nanautopsy.checkpoints.torch_objects import BadTensor, Storages, tensor_of
from nanautopsy.checkpoints.torch_parts.legacy import MAGIC
from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    Problem,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.wording import phrase

__all__ = ["READER", "BadTensor", "NotTorch", "Storages", "TorchFile", "load_torch", "tensor_of"]

_EXTENSIONS = (".pt", ".pth", ".bin", ".ckpt", ".th", ".pkl", ".pickle", ".tar", ".p", ".model")
_SHARD = re.compile(
    r"(?P<stem>.+?)[-_.]?\d{3,6}-of-\d{3,6}(?P<variant>\.\w+)?\.(?P<ext>bin|pt|pth)"
)
_INDEX = re.compile(r"(?P<stem>.+)\.(?P<ext>bin|pt|pth)\.index(?P<variant>\.\w+)?\.json")
_MEMBER = re.compile(rb"PK\x03\x04.{22}(?P<size>..).{2}", re.DOTALL)
_OURS = re.compile(r"(.*/)?(data\.pkl|constants\.pkl|\.format_version|data/\d+|[^/]+\.pkl)")
_NO_WEIGHTS = re.compile(
    r"(?i)(.*[-_])?(rng_state|random_states|scheduler|sched|sampler|scaler|dataloader)s?([-_.].*)?"
)
_REREAD_FACTOR = 4
"""Views of one storage may have a file's bytes read this many times, and no more."""
_FREE_BYTES = 64 << 20
"""Views may always add up to so much."""
_TAR_MAGIC = slice(257, 262)


@dataclass(slots=True)
class _Gathered:
    """What the files of one artifact gave so far."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    state: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    """Parameters that each group of the optimizer counts."""
    unread: list[str] = field(default_factory=list)
    """Why members gave nothing at all."""


class TorchReader:
    """Claims by content; by name only where a Git-LFS pointer or nothing is in its place."""

    name = "torch"

    def claim(self, file: FileHead) -> Claim | None:
        index = _INDEX.fullmatch(file.name)
        if index is not None:
            return Claim(self.name, 90, index["stem"] + (index["variant"] or ""))
        confidence = _confidence(file)
        return Claim(self.name, confidence, _group(file.name)) if confidence else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """At most one ``StoredCheckpoint``, with settings and versions beside it."""
        gathered = _Gathered()
        indices = [file for file in artifact.files if file.path.endswith(".json")]
        for file in artifact.files:
            if file not in indices:
                yield from _read_file(file, gathered)
        for file in indices:
            missing, problems = check_index(
                file,
                {name: _place(tensor) for name, tensor in gathered.tensors.items()},
                {member.path for member in artifact.files},
            )
            gathered.missing.update(missing)
            yield from problems
        if gathered.tensors or gathered.missing or gathered.state:
            yield _checkpoint(artifact, gathered)
        elif gathered.unread:
            yield Skipped(gathered.unread[0])


READER = TorchReader()


# --- which files --------------------------------------------------------------------------------


def _confidence(file: FileHead) -> int:
    """How surely the file is one that torch or pickle wrote; 0: no."""
    head = file.head
    named = file.name.lower().endswith(_EXTENSIONS)
    if head.startswith(MAGIC):
        return 95
    if head.startswith(ZIP_MAGIC):
        return 90 if any(_OURS.fullmatch(name) for name in _first_members(head)) else 0
    if head[_TAR_MAGIC] == b"ustar" and named and b"storages" in head[:4096]:
        return 60
    if len(head) >= 3 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] in OPCODES:
        # PROTO and the frame of protocol 4, or what protocol 2 and 3 open with.
        return 70 if named or head[2:3] in (b"\x95", b"}", b"]", b"c", b"(", b"\x8a") else 40
    if named and (file.size == 0 or head.startswith(LFS_POINTER)):
        return 60
    is_pickle_name = file.name.lower().endswith((".pkl", ".pickle", ".p"))
    return 50 if is_pickle_name or (named and head[:2] in (b"(d", b"(l", b"c_", b"cc")) else 0


def _first_members(head: bytes) -> Iterator[str]:
    for match in _MEMBER.finditer(head):
        size = int.from_bytes(match["size"], "little")
        yield head[match.end() : match.end() + size].decode("utf-8", "replace")


def _group(name: str) -> str:
    """What a shard shares with its index, and a single file with an index of its own."""
    shard = _SHARD.fullmatch(name)
    if shard is not None:
        return shard["stem"] + (shard["variant"] or "")
    return name


def _checkpoint(artifact: Artifact, gathered: _Gathered) -> StoredCheckpoint:
    path = artifact.path
    if len(artifact.members) > 1:
        path = path.rpartition("/")[0] or "."
    step = step_of(artifact.path)
    stated = gathered.state.get("global_step")
    if stated is None and _is_epoch(step, gathered.state.get("epoch"), artifact.path):
        step = None
    if step is None and isinstance(stated, (int, float)) and 0 <= stated < 1e9:
        step = int(stated)
    return StoredCheckpoint(
        path=path,
        kind="torch",
        step=step,
        tensors=tuple(gathered.tensors.values()),
        holds=_holds(artifact.path, gathered),
        missing=tuple(sorted(gathered.missing - gathered.tensors.keys())),
        state=gathered.state,
        groups=gathered.groups,
    )


def _is_epoch(number: int | None, epoch: Scalar | None, path: str) -> bool:
    """Whether the number in ``checkpoint_3.pth`` is the epoch that the file states, or the one
    behind it, and no step."""
    if number is None or not isinstance(epoch, (int, float)) or isinstance(epoch, bool):
        return False
    return 0 <= number - epoch <= 1 and not names_step(path)


def _holds(path: str, gathered: _Gathered) -> Holds:
    """What most of the tensors are; a checkpoint with weights holds a model."""
    parts = {tensor.part for tensor in gathered.tensors.values()}
    if path.rpartition("/")[2].startswith("adapter"):
        return "adapter"
    weights = [t.name for t in gathered.tensors.values() if t.part in ("parameter", "buffer")]
    if weights:
        return "adapter" if all("lora" in name.lower() for name in weights) else "model"
    return "optimizer" if parts & {"moment", "master"} else "unknown"


def _place(tensor: StoredTensor) -> str:
    return tensor.pieces[0].file.path if tensor.pieces else ""


# --- one file -----------------------------------------------------------------------------------


def _read_file(file: DataFile, gathered: _Gathered) -> Iterator[Record]:
    """Fill ``gathered`` from one file; settings, versions and what is wrong come out."""
    try:
        loaded = load_torch(file)
    except OSError as error:
        gathered.unread.append(f"cannot be read: {error.strerror or error}")
        yield Problem(gathered.unread[-1], Source(file.path))
        return
    except NotTorch as error:
        gathered.unread.append(_why_unusable(file, str(error)))
        yield Problem(gathered.unread[-1], Source(file.path, offset=0))
        return
    damage = Damage(file.path)
    for text, offset in loaded.problems:
        damage.note(text, offset=offset)
    yield from damage.problems()
    yield from _warnings(loaded)
    name = file.path.rpartition("/")[2]
    contents = describe(loaded, _NO_WEIGHTS.fullmatch(name) is not None)
    for kind, values in contents.settings:
        yield ConfigRecord(kind, values, Source(file.path))
    if contents.packages:
        yield EnvironmentRecord(Source(file.path), packages=contents.packages)
    yield from _keep(contents, file, gathered)


def _warnings(loaded: TorchFile) -> Iterator[Problem]:
    """What the file would do to whoever loads it."""
    path = loaded.file.path
    damage = Damage(path)
    for text, offset in dangers(loaded.pickles):
        damage.note(phrase("{text}; nothing was executed", text=text), offset=offset)
    for text, _ in dangers(loaded.embedded):
        damage.note(
            phrase("{text}, in a pickle inside the pickle; nothing was executed", text=text)
        )
    yield from damage.problems()


def _keep(contents: Contents, file: DataFile, gathered: _Gathered) -> Iterator[Problem]:
    """Take over what one file holds, unless another one held it already."""
    for key, value in contents.state.items():
        gathered.state.setdefault(key, value)
    gathered.groups = gathered.groups or contents.groups
    if contents.missing:
        gathered.missing.update(contents.missing)
        first = next(iter(contents.missing))
        count = len(contents.missing)
        text = phrase(
            "{count} tensors cannot be read, the first is {first!r}: {missing}",
            count=count,
            first=first,
            missing=contents.missing[first],
        )
        if count == 1:
            text = phrase(
                "tensor {first!r} cannot be read: {missing}",
                first=first,
                missing=contents.missing[first],
            )
        yield Problem(text, Source(file.path, tensor=first))
    budget = _FREE_BYTES + _REREAD_FACTOR * file.size
    twice: list[str] = []
    over: list[str] = []
    for tensor in contents.tensors:
        budget -= tensor.numel
        if tensor.name in gathered.tensors:
            twice.append(tensor.name)
        elif budget < 0:
            over.append(tensor.name)
        else:
            gathered.tensors[tensor.name] = tensor
    gathered.missing.update(over)
    if over:
        text = phrase(
            "views of the same bytes add up to many times the file; {count} left out",
            count=len(over),
        )
        yield Problem(text, Source(file.path, tensor=over[0]))
    if twice:
        text = phrase(
            "{count} tensors are also in {place}, the first is {first!r}",
            count=len(twice),
            place=_place(gathered.tensors[twice[0]]),
            first=twice[0],
        )
        yield Problem(text, Source(file.path, tensor=twice[0]))


def _why_unusable(file: DataFile, error: str) -> str:
    with file.open() as handle:
        head = handle.read(512) or b""
    if not head:
        return "an empty file"
    if head.startswith(LFS_POINTER):
        return "a Git LFS pointer: the content was not downloaded"
    if head[_TAR_MAGIC] == b"ustar":
        return "the tar form of torch before 0.1.10, which is not read"
    return error
