"""safetensors files, whole or sharded with an index, as one checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from nanautopsy.checkpoints._safetensors_header import MAX_HEADER_BYTES, BadHeader, read_header
from nanautopsy.checkpoints._safetensors_names import (
    EXTENSION,
    group_of,
    holds_of_files,
    is_index,
    shard_numbers,
)
from nanautopsy.checkpoints._safetensors_shards import (
    STEP_METADATA,
    Gathered,
    absent_shards,
    differing_saves,
    join_parts,
    take_header,
)
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.shard_index import check_index, read_index
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.discover import natural_key
from nanautopsy.model import Artifact, Claim, FileHead, Problem, Record, Skipped, Source
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.wording import phrase


class SafetensorsReader:
    """Claims by the header's shape; a Git-LFS pointer or an empty file by its name alone."""

    name = "safetensors"

    def claim(self, file: FileHead) -> Claim | None:
        if is_index(file.name):
            return Claim(self.name, 90, group_of(file.name))
        if _looks_like_header(file.head):
            return Claim(self.name, 95, group_of(file.name))
        if file.name.endswith(EXTENSION):
            return Claim(self.name, 70, group_of(file.name))
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint`` a save: usually one, more where older files were left over."""
        indices = [file for file in artifact.files if file.path.endswith(".json")]
        files = [file for file in artifact.files if file not in indices]
        saves = _saves(files, indices)
        for position, save in enumerate(saves):
            if position:
                yield Problem(_left_over(save, saves[0]), Source(save[0].path))
            own = [] if position else indices
            path = save[0].path if position else _checkpoint_path(artifact)
            yield from _read_save(path, save, own)


READER = SafetensorsReader()


# --- which files belong together ------------------------------------------------------------------


def _looks_like_header(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= MAX_HEADER_BYTES and head[8:64].lstrip(b" ")[:1] == b"{"


def _saves(files: Sequence[DataFile], indices: Sequence[DataFile]) -> list[list[DataFile]]:
    """The files by save, the one that the index names first; the others were left over.

    Files whose names count to different totals (``-of-00002``, ``-of-00003``) are of different
    saves, and so are shards and a single file of the same name.
    """
    saves: dict[int, list[DataFile]] = {}
    for file in files:
        numbers = shard_numbers(file.path)
        saves.setdefault(numbers[1] if numbers else 0, []).append(file)
    if not saves:
        return [[]]
    named = {name for index in indices for name in _names(index)}

    def place(save: list[DataFile]) -> tuple[int, int]:
        listed = sum(file.path.rpartition("/")[2] in named for file in save)
        numbers = shard_numbers(save[0].path)
        whole = len(save) >= (numbers[1] if numbers else 1)
        return -listed, -whole

    return sorted(saves.values(), key=place)


def _names(index: DataFile) -> frozenset[str]:
    try:
        return frozenset(read_index(index)[0].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()  # what is wrong with it is said where it is compared


def _left_over(save: Sequence[DataFile], first: Sequence[DataFile]) -> str:
    beside = first[0].path.rpartition("/")[2]
    return phrase(
        "lies beside {beside} and is of another save: read as a checkpoint of its own",
        beside=beside,
    )


def _checkpoint_path(artifact: Artifact) -> str:
    if len(artifact.members) == 1:
        return artifact.path
    return artifact.path.rpartition("/")[0] or "."


def _step(path: str, metadata: Mapping[str, Mapping[str, str]]) -> int | None:
    step = step_of(path)
    if step is not None:
        return step
    stated = (meta.get(key, "") for key in STEP_METADATA for meta in metadata.values())
    return next((int(text) for text in stated if re.fullmatch(r"\d{1,9}", text)), None)


# --- one save -------------------------------------------------------------------------------------


def _read_save(
    path: str, files: Sequence[DataFile], indices: Sequence[DataFile]
) -> Iterator[Record]:
    gathered = Gathered()
    for file in files:
        yield from _read_file(file, gathered)
    yield from join_parts(gathered)
    yield from differing_saves(gathered)
    for index in indices:
        given = {name: _place(tensor) for name, tensor in gathered.tensors.items()}
        places = {file.path for file in files}
        whole = not gathered.missing and not gathered.unread and not gathered.parts
        missing, problems = check_index(index, given, places, gathered.nbytes if whole else None)
        gathered.missing |= missing
        gathered.unread += [problem.text for problem in problems if not files]
        yield from problems
    if not indices:
        yield from absent_shards(files)
    if not gathered.tensors and not gathered.missing and gathered.unread:
        yield Skipped(gathered.unread[0])
        return
    tensors = [gathered.tensors[name] for name in sorted(gathered.tensors, key=natural_key)]
    first = files[0].path if files else indices[0].path
    yield StoredCheckpoint(
        path=path,
        kind=READER.name,
        step=_step(first, gathered.metadata),
        tensors=tuple(tensors),
        holds=holds_of_files(first, tensors),
        missing=tuple(sorted(gathered.missing - gathered.tensors.keys(), key=natural_key)),
    )


def _place(tensor: StoredTensor) -> str:
    return tensor.pieces[0].file.path if tensor.pieces else ""


def _read_file(file: DataFile, gathered: Gathered) -> Iterator[Problem]:
    """Fill ``gathered`` from one file's header; what is wrong with it comes out."""
    try:
        size = file.size
        with file.open() as handle:
            header = read_header(handle, size)
        damage = Damage(file.path)
        for text in header.problems:
            damage.note(text)
        yield from damage.problems()
        yield from take_header(file, size, header, gathered)
    except OSError as error:
        gathered.unread.append(phrase("cannot be read: {error}", error=error.strerror or error))
        yield Problem(gathered.unread[-1], Source(file.path))
    except BadHeader as error:
        gathered.unread.append(_why_unusable(file, error))
        yield Problem(gathered.unread[-1], Source(file.path, offset=0))


def _why_unusable(file: DataFile, error: BadHeader) -> str:
    with file.open() as handle:
        head = handle.read(200) or b""
    if not head.startswith(LFS_POINTER):
        return str(error)
    size = re.search(rb"^size (\d+)", head, re.MULTILINE)
    if size is None:
        return phrase("a Git LFS pointer: the content was not downloaded")
    return phrase(
        "a Git LFS pointer: the content of {size} bytes was not downloaded", size=int(size[1])
    )
