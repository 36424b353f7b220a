"""The chunks of a distributed checkpoint, put together name by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.dcp.metadata import Chunk, Entry
from nanautopsy.checkpoints.dcp.names import Meaning, meaning_of
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_danger import dangers
from nanautopsy.checkpoints.stored import Part, Piece, StoredTensor
from nanautopsy.checkpoints.torch_load import NotTorch, TorchFile, load_torch
from nanautopsy.checkpoints.torch_objects import BadTensor, tensor_of
from nanautopsy.readers._damage import Damage

_SHARD = re.compile(r"__(\d{1,7})_\d+\.distcp")
_MOST_OBJECTS = 256
_MOST_OBJECT_BYTES = 1 << 20


class BadChunk(ValueError):
    """A chunk that cannot be read; the text says why."""


@dataclass(slots=True)
class Losses:
    """What is wrong with chunks, whether they could be read or not."""

    by_reason: dict[tuple[str, str], int] = field(default_factory=dict)
    """(file, reason) to the number of chunks that are lost for it."""
    damage: dict[str, Damage] = field(default_factory=dict)
    """File to what is wrong in it beside."""

    def note(self, path: str, reason: str) -> None:
        """One more chunk lost."""
        self.by_reason[path, reason] = self.by_reason.get((path, reason), 0) + 1

    def look_into(self, loaded: TorchFile) -> None:
        """Note a chunk's own problems, and what it would do to whoever loads it."""
        path = loaded.file.path
        for text, offset in (*loaded.problems, *dangers(loaded.pickles)):
            self.damage.setdefault(path, Damage(path)).note(text, offset=offset)


def rank_of(path: str) -> int | None:
    """The rank that wrote a shard, by its name."""
    match = _SHARD.fullmatch(path.rpartition("/")[2])
    return None if match is None else int(match[1])


def shard_content(chunk: Chunk, shards: Mapping[str, DataFile], losses: Losses) -> TorchFile:
    """The torch file that a chunk is. Raises :class:`BadChunk`."""
    if chunk.transforms:
        raise BadChunk(f"stored as {', '.join(chunk.transforms)}, which is not read")
    file = shards.get(chunk.path)
    if file is None:
        raise BadChunk("the shard is not here")
    try:
        size = file.size
        if chunk.offset >= size:
            raise BadChunk(f"begins at byte {chunk.offset} or later of {size}")
        loaded = load_torch(file, chunk.offset, chunk.offset + chunk.length)
    except NotTorch as error:
        raise BadChunk(str(error)) from None
    except OSError as error:
        raise BadChunk(f"cannot be read: {error.strerror or error}") from None
    losses.look_into(loaded)
    return loaded


@dataclass(frozen=True, slots=True)
class Joined:
    """One tensor, and how many of its elements can be read."""

    meaning: Meaning
    tensor: StoredTensor | None
    present: int


def joined(entry: Entry, shards: Mapping[str, DataFile], losses: Losses) -> Joined:
    """All boxes of one name that can be read."""
    shape = entry.shape or ()
    meaning = meaning_of(entry.name, entry.path)
    pieces: list[Piece] = []
    found: StoredTensor | None = None
    seen: set[tuple[int, ...]] = set()
    for chunk in entry.chunks:
        try:
            corner, part = _box(chunk, entry, shards, losses)
            if corner in seen:
                continue
            if found is not None and (part.dtype, part.big_endian) != _format(found):
                raise BadChunk(f"holds {part.dtype}, another chunk {found.dtype}")
        except BadChunk as error:
            losses.note(chunk.path, str(error))
            continue
        seen.add(corner)
        found = found or part
        rank = rank_of(chunk.path)
        pieces += [replace(piece, origin=corner, rank=rank) for piece in part.pieces]
    numel = math.prod(shape)
    if found is None or (numel > 0 and not pieces):
        return Joined(meaning, None, 0)
    is_count = FORMATS[found.dtype].maximum is None
    kind: Part = "buffer" if is_count and meaning.part == "parameter" else meaning.part
    tensor = StoredTensor(
        name=meaning.name,
        dtype=found.dtype,
        shape=shape,
        pieces=tuple(pieces),
        part=kind,
        parameter=meaning.parameter,
        moment=meaning.moment,
        big_endian=found.big_endian,
    )
    return Joined(meaning, tensor, sum(math.prod(piece.shape) for piece in pieces))


def _format(tensor: StoredTensor) -> tuple[str, bool]:
    return tensor.dtype, tensor.big_endian


def _box(
    chunk: Chunk, entry: Entry, shards: Mapping[str, DataFile], losses: Losses
) -> tuple[tuple[int, ...], StoredTensor]:
    """Where a chunk lies in the tensor, and its own tensor. Raises :class:`BadChunk`."""
    corner = chunk.corner if chunk.corner is not None else (0,) * len(entry.shape or ())
    sizes = entry.boxes.get(corner)
    if sizes is None:
        raise BadChunk(f"a chunk at {list(corner)} that the tensor does not have")
    loaded = shard_content(chunk, shards, losses)
    try:
        tensor = tensor_of(loaded.value, loaded.storages)
    except BadTensor as error:
        raise BadChunk(str(error)) from None
    if tensor is None:
        raise BadChunk("holds no tensor")
    if tensor.shape != sizes:
        raise BadChunk(f"has shape {list(tensor.shape)}, the metadata says {list(sizes)}")
    return corner, tensor


def objects(
    entries: Iterable[Entry], shards: Mapping[str, DataFile], losses: Losses
) -> Iterator[tuple[tuple[str, ...], Any, TorchFile]]:
    """(path, value, file) of small saved objects that are no tensors, the first few hundred."""
    left = _MOST_OBJECTS
    for entry in entries:
        if entry.shape is not None or not entry.chunks or left <= 0:
            continue
        chunk = entry.chunks[0]
        if chunk.length > _MOST_OBJECT_BYTES:
            continue
        left -= 1
        try:
            loaded = shard_content(chunk, shards, losses)
        except BadChunk:
            continue
        yield entry.path, loaded.value, loaded
