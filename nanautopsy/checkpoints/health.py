"""The numeric kernel: what is wrong with one tensor, from a stream of its bytes.

No tensor is ever held: bytes pass in blocks through buffers of fixed size and leave counts. The
question "finite?" is answered on the bit patterns as integers, since for the IEEE formats the
largest ``bits & magnitude`` of a chunk tells at once whether it holds a NaN or Inf and what its
largest magnitude is; only a chunk that holds some is counted by kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import FORMATS, NumberFormat, decode_table, to_float64
from nanautopsy.model import TensorHealth

Block: TypeAlias = "bytes | bytearray | memoryview"

_CHUNK = 1 << 14
"""Elements judged at once: their float64 values (128 kB) stay in a core's own cache."""
_SQUARE_SAFE = (1e-140, 1e140)
"""Largest magnitudes between which squares neither overflow nor vanish in float64."""


class ShortTensor(ValueError):
    """The stream ended before the tensor did."""


def measure(
    name: str,
    dtype: str,
    shape: Sequence[int],
    blocks: Iterable[Block],
    path: str,
    *,
    big_endian: bool = False,
    fortran_order: bool = False,
) -> TensorHealth:
    """The health of one tensor whose elements come, in storage order, as byte blocks.

    ``dtype`` is a key of :data:`~nanautopsy.checkpoints.formats.FORMATS`; blocks may end inside
    an element, and bytes past the tensor's end are ignored. With ``fortran_order`` the first
    index runs fastest, and "first non-finite" means first in storage. Raises
    :class:`ShortTensor` when the blocks end too early.
    """
    format = FORMATS[dtype]
    tally = _count(format, blocks, math.prod(shape), big_endian)
    first = None if tally.first is None else _unravel(tally.first, shape, fortran_order)
    return TensorHealth(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        nan=tally.nan,
        pos_inf=tally.pos_inf,
        neg_inf=tally.neg_inf,
        zero=tally.zero,
        max_abs=tally.max_abs,
        rms=tally.rms(),
        format_max=format.maximum,
        first_nonfinite=first,
        path=path,
    )


def _count(format: NumberFormat, blocks: Iterable[Block], count: int, big_endian: bool) -> _Tally:
    """Pass ``count`` elements through the kernel of their format."""
    tally = _Tally(format)
    for bits in _elements(blocks, format, count, big_endian):
        for start in range(0, len(bits), _CHUNK):
            _KERNELS[format.kind](tally, bits[start : start + _CHUNK])
    if tally.seen < count:
        raise ShortTensor(f"{tally.seen} of {count} elements")
    if format.kind == "table":
        _finish_table(tally)
    return tally


# --- the running counts -------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """Counts so far; the sum of squares is ``scale**2 * squares``."""

    format: NumberFormat
    seen: int = 0
    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0
    zero: int = 0
    max_abs: float | None = None
    finite: int = 0
    scale: float = 0.0
    squares: float = 0.0
    first: int | None = None
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    scratch: NDArray[np.float64] = field(default_factory=lambda: np.empty(_CHUNK))

    def add_finite(self, values: NDArray[np.float64], largest: float) -> None:
        """Account for finite values, of which ``largest`` is the largest magnitude."""
        if not len(values):
            return
        self.finite += len(values)
        self.max_abs = largest if self.max_abs is None else max(self.max_abs, largest)
        if largest == 0.0:
            return
        if _SQUARE_SAFE[0] < largest < _SQUARE_SAFE[1]:
            self._add_squares(1.0, _sum_of_squares(values))
        else:
            scaled = values / largest
            self._add_squares(largest, _sum_of_squares(scaled))

    def _add_squares(self, scale: float, squares: float) -> None:
        if scale > self.scale:
            self.squares *= (self.scale / scale) ** 2
            self.scale = scale
        self.squares += squares * (scale / self.scale) ** 2

    def note_first(self, where: NDArray[np.bool_]) -> None:
        """Remember the first True of the chunk that starts at element ``seen``."""
        if self.first is None:
            self.first = self.seen + int(where.argmax())

    def rms(self) -> float | None:
        """Root mean square of the finite elements."""
        if not self.finite:
            return None
        return self.scale * math.sqrt(self.squares / self.finite)


def _sum_of_squares(values: NDArray[np.float64]) -> float:
    # Not np.dot: BLAS would wake its own threads for each chunk, 80 times slower on busy cores,
    # and sum in an order that depends on how many there are.
    return float(np.einsum("i,i->", values, values))


# --- one kernel a kind of format ----------------------------------------------------------------


def _ieee_kernel(tally: _Tally, bits: NDArray[Any]) -> None:
    format = tally.format
    infinity = bits.dtype.type(format.infinity)
    magnitude = bits & bits.dtype.type((1 << (format.bits - 1)) - 1)
    top = magnitude.max()
    tally.zero += len(bits) - int(np.count_nonzero(magnitude))
    if top >= infinity:
        bad = magnitude >= infinity
        tally.note_first(bad)
        signs = bits[magnitude == infinity] >> bits.dtype.type(format.bits - 1)
        negative = int(np.count_nonzero(signs))
        tally.neg_inf += negative
        tally.pos_inf += len(signs) - negative
        tally.nan += int(np.count_nonzero(magnitude > infinity))
        bits = bits[~bad]
        top = magnitude[~bad].max(initial=0)
        tally.seen += len(magnitude) - len(bits)
    largest = float(to_float64(np.array([top], dtype=bits.dtype), format)[0])
    tally.add_finite(_values(bits, format, tally.scratch), largest)
    tally.seen += len(bits)


def _values(
    bits: NDArray[Any], format: NumberFormat, scratch: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The numbers behind the patterns, in ``scratch``."""
    values = scratch[: len(bits)]
    if format.name == "BF16":
        np.copyto(values, (bits.astype(np.uint32) << np.uint32(16)).view(np.float32))
    else:
        np.copyto(values, bits.view(f"f{format.bits // 8}"))
    return values


def _table_kernel(tally: _Tally, codes: NDArray[Any]) -> None:
    table = decode_table(tally.format.name)
    counts = np.bincount(codes, minlength=len(table))
    tally.histogram[: len(table)] += counts
    if tally.first is None and counts[~np.isfinite(table)].any():
        tally.note_first(~np.isfinite(table)[codes])
    tally.seen += len(codes)


def _finish_table(tally: _Tally) -> None:
    """Turn the histogram of patterns into the counts."""
    values = decode_table(tally.format.name)
    counts = tally.histogram[: len(values)]
    tally.nan = int(counts[np.isnan(values)].sum())
    tally.pos_inf = int(counts[np.isposinf(values)].sum())
    tally.neg_inf = int(counts[np.isneginf(values)].sum())
    tally.zero = int(counts[values == 0.0].sum())
    present = np.isfinite(values) & (counts > 0)
    if present.any():
        largest = float(np.abs(values[present]).max())
        weights = np.sqrt(counts[present].astype(np.float64))
        tally.add_finite(values[present] * weights, largest)
        tally.max_abs = largest
        tally.finite = int(counts[present].sum())


def _integer_kernel(tally: _Tally, values: NDArray[Any]) -> None:
    tally.zero += len(values) - int(np.count_nonzero(values))
    # Python integers, since the magnitude of the smallest int64 has no int64.
    largest = max(int(values.max()), -int(values.min()))
    tally.add_finite(values.astype(np.float64), float(largest))
    tally.seen += len(values)


def _complex_kernel(tally: _Tally, parts: NDArray[Any]) -> None:
    """An element is NaN when either part is, else infinite when either part is."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        values = parts.view(f"f{parts.itemsize}").astype(np.float64)
    real, imaginary = values[0::2], values[1::2]
    nan = np.isnan(real) | np.isnan(imaginary)
    infinite = (np.isinf(real) | np.isinf(imaginary)) & ~nan
    negative = infinite & ~(np.isposinf(real) | np.isposinf(imaginary))
    good = ~(nan | infinite)
    if not good.all():
        tally.note_first(~good)
    tally.nan += int(nan.sum())
    tally.neg_inf += int(negative.sum())
    tally.pos_inf += int(infinite.sum() - negative.sum())
    tally.zero += int(((real == 0.0) & (imaginary == 0.0)).sum())
    with np.errstate(over="ignore"):
        magnitude = np.minimum(np.hypot(real[good], imaginary[good]), np.finfo(np.float64).max)
    if len(magnitude):
        tally.add_finite(magnitude, float(magnitude.max()))
    tally.seen += len(real)


_KERNELS = {
    "ieee": _ieee_kernel,
    "table": _table_kernel,
    "integer": _integer_kernel,
    "complex": _complex_kernel,
}


# --- bytes to elements --------------------------------------------------------------------------


def _elements(
    blocks: Iterable[Block], format: NumberFormat, count: int, big_endian: bool
) -> Iterator[NDArray[Any]]:
    """Whole elements as native integers, at most ``count`` (pairs of parts for complex)."""
    storage = np.dtype(format.storage)
    stored = storage.newbyteorder(">" if big_endian else "<")
    left = format.nbytes(count)
    unit = max(1, format.bits // 8)
    kept = b""
    for block in blocks:
        block = memoryview(block)[: left - len(kept)]
        if kept:
            block = memoryview(kept + bytes(block))
        usable = len(block) - len(block) % unit
        kept = bytes(block[usable:])
        if usable:
            left -= usable
            bits = np.frombuffer(block[:usable], dtype=stored).astype(storage, copy=False)
            yield _nibbles(bits, count, left) if format.bits == 4 else bits
        if left <= 0:
            return


def _nibbles(codes: NDArray[Any], count: int, left: int) -> NDArray[Any]:
    """Two 4-bit elements a byte, the low one first; an odd last half byte is padding."""
    pairs = np.stack((codes & 0xF, codes >> 4), axis=1).reshape(-1)
    return pairs[:-1] if left == 0 and count % 2 else pairs


def _unravel(flat: int, shape: Sequence[int], fortran_order: bool) -> tuple[int, ...]:
    """The index of element ``flat``; any number of dimensions, unlike NumPy's own."""
    index = []
    for size in shape if fortran_order else reversed(shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(index if fortran_order else reversed(index))
