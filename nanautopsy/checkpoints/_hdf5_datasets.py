"""A dataset's place in an HDF5 file as the pieces of a tensor."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanautopsy.checkpoints._array_dtypes import format_of
from nanautopsy.checkpoints._decoded_file import DecodedFile
from nanautopsy.checkpoints.data_file import DataFile, Handle, MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Piece, StoredTensor

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
"""Filters of the HDF5 library itself (HDF5 file format 3.0, section IV.A.2.l)."""
_CHECKSUM_BYTES = 4
_MOST_CHUNK_BYTES = 256 << 20
"""A shuffled chunk has to be held whole; the library writes chunks of about a megabyte."""


class BadDataset(ValueError):
    """The dataset cannot be measured; the text says why."""


class NotNumbers(ValueError):
    """Text or records: nothing that could be non-finite in a model."""


@dataclass(frozen=True, slots=True)
class ShuffledFile:
    """A chunk whose bytes were sorted by their place in the element."""

    source: DataFile
    offset: int
    size: int
    """Bytes."""
    element: int
    """Bytes of one element."""

    @property
    def path(self) -> str:
        """Of the file that holds the chunk."""
        return self.source.path

    def open(self) -> Handle:
        """The bytes in their own order. Raises ``OSError``."""
        parts = []
        left = self.size
        with self.source.open() as handle:
            handle.seek(self.offset)
            while left and (part := handle.read(left)):
                parts.append(part)
                left -= len(part)
        data = np.frombuffer(b"".join(parts), dtype=np.uint8)
        whole = len(data) // self.element * self.element
        sorted_back = data[:whole].reshape(self.element, -1).T.tobytes()
        return io.BytesIO(sorted_back + data[whole:].tobytes())


def stored_dataset(
    name: str, row: Mapping[str, Any], file: DataFile, begin: int, size: int
) -> tuple[StoredTensor, int]:
    """(the tensor, chunks that are lost). Raises :class:`BadDataset`, :class:`NotNumbers`.

    ``row``: what was told of it; ``begin``, ``size``: where the HDF5 file lies in ``file``.
    """
    if "problem" in row:
        raise BadDataset(str(row["problem"]))
    dtype, big_endian = _dtype(row)
    shape = tuple(int(n) for n in row["shape"])
    nbytes = FORMATS[dtype].nbytes(math.prod(shape))
    lost = 0
    pieces: list[Piece] = []
    if not nbytes:
        pass
    elif "chunks" in row:
        for piece in _chunk_pieces(row, shape, dtype, file, begin, size):
            if piece is None:
                lost += 1
            else:
                pieces.append(piece)
        if not pieces:
            raise BadDataset("none of its chunks can be read")
    elif "data" in row:
        pieces.append(Piece(MemoryFile(file.path, bytes.fromhex(row["data"])), 0, shape))
    elif row.get("offset") is None:
        element = MemoryFile(file.path, bytes(FORMATS[dtype].nbytes(1)))
        pieces.append(Piece(element, 0, shape, (0,) * len(shape)))
    elif row["offset"] + nbytes > size:
        raise BadDataset(f"cut short: {max(0, size - row['offset'])} of {nbytes} bytes")
    else:
        pieces.append(Piece(file, begin + row["offset"], shape))
    return StoredTensor(name, dtype, shape, tuple(pieces), big_endian=big_endian), lost


def _dtype(row: Mapping[str, Any]) -> tuple[str, bool]:
    spelling = str(row["dtype"])
    kind = spelling.lstrip("<>|=")[:1]
    if kind in ("S", "U", "O") or spelling in ("|V0", "vlen"):
        raise NotNumbers
    found = format_of(spelling)
    if found is not None and FORMATS[found[0]].nbytes(1) == row["bytes"]:
        return found
    if kind == "V":
        raise NotNumbers
    raise BadDataset(f"dtype {spelling[:40]!r} cannot be judged")


def _chunk_pieces(
    row: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: str,
    file: DataFile,
    begin: int,
    size: int,
) -> Iterator[Piece | None]:
    filters = row["filters"]
    unknown = set(filters) - {_DEFLATE, _SHUFFLE, _FLETCHER32}
    if unknown or filters != sorted(filters, key=[_SHUFFLE, _DEFLATE, _FLETCHER32].index):
        raise BadDataset(f"its chunks went through filters {filters}, which are not read")
    chunk = tuple(int(n) for n in row["chunk"])
    if len(chunk) != len(shape) or 0 in (*chunk, len(chunk)):
        raise BadDataset("chunks of an impossible shape")
    nbytes = FORMATS[dtype].nbytes(math.prod(chunk))
    if nbytes > _MOST_CHUNK_BYTES and _SHUFFLE in filters:
        raise BadDataset(f"chunks of {nbytes} bytes, shuffled, are not read")
    strides = tuple(math.prod(chunk[i + 1 :]) for i in range(len(chunk)))
    for place in row["chunks"]:
        corner, (offset, stored, mask) = tuple(place[:-3]), place[-3:]
        ends = zip(chunk, shape, corner, strict=True)
        inside = tuple(min(step, whole - at) for step, whole, at in ends)
        if mask or offset + stored > size or min(inside) <= 0:
            yield None
            continue
        source: DataFile = file
        start = begin + offset
        if _FLETCHER32 in filters:
            stored -= _CHECKSUM_BYTES
        if _DEFLATE in filters:
            source, start = DecodedFile(source, start, stored, "zlib", nbytes), 0
        elif stored < nbytes:
            yield None
            continue
        if _SHUFFLE in filters:
            source, start = ShuffledFile(source, start, nbytes, FORMATS[dtype].nbytes(1)), 0
        yield Piece(source, start, inside, None if inside == chunk else strides, corner)
