"""What changed among the elements of one tensor, in blocks of fixed size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.data_file import read_blocks
from nanautopsy.checkpoints.formats import FORMATS, NumberFormat, decode_table, to_float64
from nanautopsy.checkpoints.stored import StoredTensor

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ElementDiff:
    """What changed among the elements of one tensor. NaN on both sides is no change."""

    differing: int
    largest: float | None
    """Largest absolute difference of two finite elements; ``None`` where no two are finite."""
    turned: int
    """Elements that were finite before and are not after."""
    first: tuple[int, ...] | None
    """Index of the first that differs, in row-major order."""


def compare_elements(
    before: StoredTensor | None, after: StoredTensor | None
) -> tuple[ElementDiff | None, str]:
    """The comparison of what was before and is after, or why there is none."""
    if before is None or after is None:
        return None, ""
    if (before.dtype, before.shape) != (after.dtype, after.shape):
        return None, "another format or shape"
    format = FORMATS[after.dtype]
    if format.bits < 8 or not (_row_by_row(before) and _row_by_row(after)):
        return None, "its elements do not lie row by row"
    try:
        return _compared(before, after, format), ""
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}"


def _row_by_row(tensor: StoredTensor) -> bool:
    """Whether its pieces, one after the other, are its elements in row-major order."""
    reached = 0
    for piece in tensor.pieces:
        whole = piece.shape == tensor.shape and len(tensor.pieces) == 1
        origin = 0 if whole and isinstance(piece.origin, tuple) else piece.origin
        if origin != reached or piece.strides not in (None, _strides(piece.shape)):
            return False
        reached += prod(piece.shape)
    return reached == tensor.numel


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def _compared(before: StoredTensor, after: StoredTensor, format: NumberFormat) -> ElementDiff:
    differing = turned = reached = 0
    largest: float | None = None
    first: int | None = None
    for old, new in zip(_blocks(before, format), _blocks(after, format), strict=False):
        # A file that ends early may end inside an element.
        count = min(len(old), len(new)) * 8 // format.bits
        old, new = old[: format.nbytes(count)], new[: format.nbytes(count)]
        if old != new or before.big_endian != after.big_endian:
            a = _values(old, format, before.big_endian)
            b = _values(new, format, after.big_endian)
            changed = ~((a == b) | (np.isnan(a) & np.isnan(b)))
            differing += int(np.count_nonzero(changed))
            if first is None and changed.any():
                first = reached + int(changed.argmax())
            both = np.isfinite(a) & np.isfinite(b)
            turned += int(np.count_nonzero(np.isfinite(a) & ~np.isfinite(b)))
            if both.any():
                largest = max(largest or 0.0, float(np.abs(a[both] - b[both]).max()))
        elif largest is None:
            largest = 0.0
        reached += count
    if reached < after.numel:
        raise OSError(f"{reached} of {after.numel} elements could be compared")
    index = None if first is None else tuple(int(i) for i in np.unravel_index(first, after.shape))
    return ElementDiff(differing, largest, turned, index)


def _blocks(tensor: StoredTensor, format: NumberFormat) -> Iterator[bytes]:
    """The tensor's bytes, row-major, in blocks of the same number of bytes but for the last."""
    kept = b""
    for piece in tensor.pieces:
        with piece.file.open() as handle:
            for view in read_blocks(handle, piece.offset, format.nbytes(prod(piece.shape))):
                data = memoryview(kept + bytes(view))
                whole = len(data) - len(data) % _BLOCK_BYTES
                for start in range(0, whole, _BLOCK_BYTES):
                    yield bytes(data[start : start + _BLOCK_BYTES])
                kept = bytes(data[whole:])
    if kept:
        yield kept


def _values(data: bytes, format: NumberFormat, big_endian: bool) -> NDArray[Any]:
    storage = np.dtype(format.storage)
    bits = np.frombuffer(data, storage.newbyteorder(">" if big_endian else "<"))
    bits = bits.astype(storage, copy=False)
    if format.kind == "ieee":
        return to_float64(bits, format)
    if format.kind == "table":
        values: NDArray[Any] = decode_table(format.name)[bits]
    elif format.kind == "complex":
        values = bits.view(f"c{format.bits // 8}")
    else:
        values = bits.astype(np.float64)
    return values
