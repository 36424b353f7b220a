"""Zarr arrays, versions 2 and 3, as pieces of tensors: one piece a chunk, nothing decompressed yet.

Specifications: https://zarr-specs.readthedocs.io (v2, v3, the codecs bytes, gzip, zstd, crc32c and
sharding_indexed). A chunk at the array's edge is stored whole; only its part inside counts.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nanautopsy.checkpoints._decoded_file import Codec, DecodedFile
from nanautopsy.checkpoints.data_file import DataFile, MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.orbax_parts.ocdbt import Entry
from nanautopsy.checkpoints.orbax_parts.zarr_metadata import BadZarr, Plan, parse_metadata
from nanautopsy.checkpoints.stored import Piece, StoredTensor

_MOST_CHUNKS = 100_000
_MOST_METADATA_BYTES = 1 << 20
_ABSENT = (1 << 64) - 1
_CRC_BYTES = 4


@dataclass(frozen=True, slots=True)
class ZarrArray:
    """An array's tensor, and how much of it is not there."""

    tensor: StoredTensor
    lost: int
    """Chunks that should be there and are not."""
    codec: Codec | None


def read_text(entry: Entry) -> bytes:
    """A small value whole. Raises ``OSError``."""
    with entry.file.open() as handle:
        handle.seek(entry.offset)
        return handle.read(min(entry.size, _MOST_METADATA_BYTES)) or b""


def read_array(
    name: str, metadata: bytes, chunks: Mapping[str, Entry], fill_is_stored: bool
) -> ZarrArray:
    """The array that ``metadata`` (``.zarray`` or ``zarr.json``) describes.

    ``chunks``: what lies beside it, by key relative to the array. ``fill_is_stored``: chunks of
    nothing but the fill value were written too, so one that is not there was lost. Raises
    :class:`BadZarr`, ``OSError``.
    """
    plan = parse_metadata(metadata)
    grid = plan.grid
    counts = [-(-size // step) for size, step in zip(grid.shape, grid.chunk, strict=True)]
    if math.prod(counts) > _MOST_CHUNKS:
        raise BadZarr(f"{math.prod(counts)} chunks")
    if grid.separator == "/" and not grid.prefix and len(counts) > 1:
        # Such chunks lie in directories whose place may not have told whose they are.
        fill_is_stored = fill_is_stored or not any(key[:1].isdigit() for key in chunks)
    pieces: list[Piece] = []
    lost = 0
    for place in itertools.product(*map(range, counts)):
        entry = chunks.get(grid.key(place))
        corner = tuple(i * step for i, step in zip(place, grid.chunk, strict=True))
        for piece in _chunk(plan, corner, grid.chunk, entry, fill_is_stored):
            if piece is None:
                lost += 1
            else:
                pieces.append(piece)
    tensor = StoredTensor(
        name, plan.dtype, grid.shape, tuple(pieces), big_endian=plan.encoding.big_endian
    )
    return ZarrArray(tensor, lost, plan.encoding.codec)


# --- chunks ---------------------------------------------------------------------------------------


def _chunk(
    plan: Plan,
    corner: tuple[int, ...],
    size: tuple[int, ...],
    entry: Entry | None,
    fill_is_stored: bool,
) -> Iterator[Piece | None]:
    """The pieces of one chunk or shard; ``None`` for each part that is lost."""
    if entry is None:
        yield None if fill_is_stored else _filled(plan, corner, size)
    elif plan.grid.inner is None:
        yield _piece(plan, corner, size, entry)
    else:
        yield from _shard(plan, corner, plan.grid.inner, entry)


def _shard(
    plan: Plan, corner: tuple[int, ...], inner: tuple[int, ...], entry: Entry
) -> Iterator[Piece | None]:
    """The chunks of a shard, by the index at its end: (offset, bytes) of each."""
    grid = plan.grid
    counts = [size // step for size, step in zip(grid.chunk, inner, strict=True)]
    count = math.prod(counts)
    if count > _MOST_CHUNKS or grid.index is None or grid.index.codec is not None:
        raise BadZarr("an index of a shard that is not read")
    nbytes = 16 * count + _CRC_BYTES * grid.index.checksums
    if nbytes > entry.size:
        raise BadZarr(f"a shard of {entry.size} bytes, of which its index should take {nbytes}")
    start = entry.offset + (entry.size - nbytes if grid.index_at_end else 0)
    with entry.file.open() as handle:
        handle.seek(start)
        index = handle.read(16 * count) or b""
    if len(index) < 16 * count:
        raise BadZarr("cut short inside a shard's index")
    order = ">" if grid.index.big_endian else "<"
    numbers = struct.unpack(f"{order}{2 * count}Q", index)
    for i, place in enumerate(itertools.product(*map(range, counts))):
        offset, size = numbers[2 * i : 2 * i + 2]
        at = tuple(c + p * n for c, p, n in zip(corner, place, inner, strict=True))
        if any(a >= s for a, s in zip(at, grid.shape, strict=True)):
            continue
        if offset == size == _ABSENT:
            yield _filled(plan, at, inner)
        elif offset + size > entry.size:
            yield None
        else:
            yield _piece(plan, at, inner, Entry(entry.file, entry.offset + offset, size))


def _piece(
    plan: Plan, corner: tuple[int, ...], size: tuple[int, ...], entry: Entry
) -> Piece | None:
    nbytes = FORMATS[plan.dtype].nbytes(math.prod(size))
    stored = entry.size - _CRC_BYTES * plan.encoding.checksums
    file: DataFile = entry.file
    offset = entry.offset
    if plan.encoding.codec is not None:
        file, offset = DecodedFile(file, offset, stored, plan.encoding.codec, nbytes), 0
    elif stored < nbytes:
        return None
    shape = _inside(plan, corner, size)
    strides = tuple(math.prod(size[i + 1 :]) for i in range(len(size)))
    return Piece(file, offset, shape, None if shape == size else strides, corner)


def _filled(plan: Plan, corner: tuple[int, ...], size: tuple[int, ...]) -> Piece | None:
    if plan.fill is None:
        return None
    shape = _inside(plan, corner, size)
    return Piece(MemoryFile("", plan.fill), 0, shape, (0,) * len(shape), corner)


def _inside(plan: Plan, corner: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """How much of a chunk lies inside the array."""
    ends = zip(size, plan.grid.shape, corner, strict=True)
    return tuple(min(step, whole - at) for step, whole, at in ends)
