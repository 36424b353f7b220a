"""The numeric kernel: blocks of bytes in, counts out.

For the IEEE formats the largest bit pattern answers "finite?" and "how large?" at once: among
signed integers the maximum is the largest positive number, among unsigned ones the largest
negative one, and neither needs a copy. Only a block that holds a NaN or Inf is counted by kind.
Everything happens in buffers of fixed size that stay in a core's own cache.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import NumberFormat, decode_table
from nanautopsy.checkpoints.health import Tally
from nanautopsy.checkpoints.kernel.layout import BLOCK_BYTES, Block
from nanautopsy.checkpoints.kernel.squares import squares_64, sum_of_squares
from nanautopsy.model import Depth

Bad: TypeAlias = "NDArray[np.bool_] | None"
"""Which elements are not finite; ``None``: all are finite."""


class Scratch:
    """The buffers of one thread."""

    def __init__(self) -> None:
        self.raw = _aligned(BLOCK_BYTES)
        """Bytes as they come from a file."""
        self.wide = _aligned(BLOCK_BYTES)

    def bytes(self, count: int) -> memoryview:
        """Room for the bytes of a block."""
        return self.raw[:count].data


def _aligned(nbytes: int) -> NDArray[np.uint8]:
    """A buffer at an address divisible by 64: nothing may depend on where it happens to lie."""
    room = np.empty(nbytes + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + nbytes]


def elements(
    raw: NDArray[np.uint8], block: Block, format: NumberFormat, big_endian: bool
) -> NDArray[Any]:
    """The block's elements one after the other, as native integers (parts, of complex ones).

    ``raw`` may be overwritten.
    """
    if format.bits % 8:
        return _unpacked(raw, format.bits)[: block.count]
    storage = np.dtype(format.storage)
    values: NDArray[Any] = raw.view(storage)
    if block.dims is not None:
        size = format.bits // 8
        shape = tuple(n for n, _ in block.dims)
        steps = tuple(distance * size for _, distance in block.dims)
        if format.kind == "complex":
            shape, steps = (*shape, 2), (*steps, size // 2)
        values = np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)
        values = np.ascontiguousarray(values).reshape(-1)
    if big_endian:
        values = values.byteswap()
    return values


def tally(
    bits: NDArray[Any], format: NumberFormat, depth: Depth, scratch: Scratch
) -> tuple[Tally, Bad]:
    """The counts over some elements, as :func:`elements` gives them: at least one, at most a
    block of them."""
    if format.kind == "ieee":
        return _tally_ieee(bits, format, depth, scratch)
    if format.kind == "table":
        return _tally_table(bits, format, depth)
    if format.kind == "integer":
        return _tally_integers(bits, depth), None
    return _tally_complex(bits, format, depth)


# --- one kernel a kind of format ----------------------------------------------------------------


def _tally_ieee(
    bits: NDArray[Any], format: NumberFormat, depth: Depth, scratch: Scratch
) -> tuple[Tally, Bad]:
    counts = Tally()
    bad: Bad = None
    top = _largest_pattern(bits)
    if top >= format.infinity:
        bad = _count_nonfinite(bits, format, counts)
        if counts.nan + counts.pos_inf + counts.neg_inf == len(bits):
            return counts, bad
        bits = bits[~bad]
        top = _largest_pattern(bits)
    counts.finite = len(bits)
    counts.max_abs = _value_of(top, bits.dtype, format)
    if depth == "full":
        _add_full(counts, bits, format, scratch)
    return counts, bad


def _largest_pattern(bits: NDArray[Any]) -> int:
    """The largest magnitude among patterns of sign and magnitude, as a pattern."""
    mask = int(_magnitude_mask(bits.dtype))
    signed = bits.view(f"i{bits.dtype.itemsize}")
    return max(int(signed.max()) & mask, int(bits.max()) & mask)


def _magnitude_mask(storage: Any) -> Any:
    """All bits but the sign's."""
    return storage.type((1 << (8 * storage.itemsize - 1)) - 1)


def _smallest_pattern(bits: NDArray[Any]) -> int:
    """The smallest magnitude, likewise: the minimum of unsigned integers is the smallest positive
    number, that of signed ones the smallest negative one."""
    signed = bits.view(f"i{bits.dtype.itemsize}")
    return min(int(bits.min()), int(signed.min()) + int(_magnitude_mask(bits.dtype)) + 1)


def _value_of(pattern: int, storage: Any, format: NumberFormat) -> float:
    """The number behind one ``ieee`` pattern."""
    if format.name == "BF16":
        return float(np.uint32(pattern << 16).view(np.float32))
    return float(storage.type(pattern).view(f"f{storage.itemsize}"))


def _count_nonfinite(bits: NDArray[Any], format: NumberFormat, counts: Tally) -> NDArray[np.bool_]:
    """Count the non-finite elements by kind; which they are."""
    infinity = bits.dtype.type(format.infinity)
    magnitude = bits & _magnitude_mask(bits.dtype)
    bad: NDArray[np.bool_] = magnitude >= infinity
    counts.pos_inf = int(np.count_nonzero(bits == infinity))
    counts.neg_inf = int(np.count_nonzero(magnitude == infinity)) - counts.pos_inf
    counts.nan = int(np.count_nonzero(bad)) - counts.pos_inf - counts.neg_inf
    return bad


def _add_full(counts: Tally, bits: NDArray[Any], format: NumberFormat, scratch: Scratch) -> None:
    """What only a full measurement tells, of finite patterns."""
    smallest = _smallest_pattern(bits)
    if smallest < format.normal_pattern:
        smallest = _count_small(counts, bits, format, smallest, scratch)
        if counts.zero == len(bits):
            return
    counts.min_abs = _value_of(smallest, bits.dtype, format)
    largest = counts.max_abs or 0.0
    counts.squares, counts.scale = sum_of_squares(
        bits, format, largest, counts.min_abs, scratch.wide
    )


def _count_small(
    counts: Tally, bits: NDArray[Any], format: NumberFormat, smallest: int, scratch: Scratch
) -> int:
    """Count zeros and subnormal elements; the smallest magnitude that is not zero."""
    magnitude = scratch.wide[: bits.nbytes].view(bits.dtype)
    np.bitwise_and(bits, _magnitude_mask(bits.dtype), out=magnitude)
    small = int(np.count_nonzero(magnitude < bits.dtype.type(format.normal_pattern)))
    if smallest == 0:
        counts.zero = int(np.count_nonzero(magnitude == 0))
        # Zero less one is the largest integer of all.
        np.subtract(magnitude, bits.dtype.type(1), out=magnitude)
        smallest = int(magnitude.min()) + 1
    counts.subnormal = small - counts.zero
    return smallest


def _tally_table(codes: NDArray[Any], format: NumberFormat, depth: Depth) -> tuple[Tally, Bad]:
    values = decode_table(format.name)
    if depth == "finite" and format.infinity:
        top = _largest_pattern(codes)
        if top < format.infinity:
            return Tally(finite=len(codes), max_abs=float(values[top])), None
    counts = _histogram(codes)[: len(values)]
    result = Tally(
        nan=int(counts[np.isnan(values)].sum()),
        pos_inf=int(counts[np.isposinf(values)].sum()),
        neg_inf=int(counts[np.isneginf(values)].sum()),
    )
    present = np.isfinite(values) & (counts > 0)
    magnitudes, weights = np.abs(values[present]), counts[present]
    result.finite = int(weights.sum())
    if result.finite:
        result.max_abs = float(magnitudes.max())
        _add_weighted(result, magnitudes, weights, format.normal)
    bad = None if result.finite == len(codes) else ~np.isfinite(values)[codes]
    return result, bad


def _add_weighted(
    counts: Tally, magnitudes: NDArray[np.float64], weights: Any, normal: float | None
) -> None:
    """What only a full measurement tells, of finite magnitudes that occur so often each."""
    real = magnitudes > 0.0
    counts.zero = int((weights * ~real).sum())
    if not real.any():
        return
    counts.min_abs = float(magnitudes[real].min())
    if normal is not None and counts.min_abs < normal:
        counts.subnormal = int((weights * (real & (magnitudes < normal))).sum())
    with_weights = magnitudes * np.sqrt(weights)
    counts.squares, counts.scale = squares_64(with_weights, float(with_weights.max()))


def _histogram(codes: NDArray[Any]) -> NDArray[np.int64]:
    """How often each byte occurs, two of them counted at a time: NumPy counts slowly."""
    even = len(codes) // 2 * 2
    pairs = np.bincount(codes[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts = pairs.sum(axis=0) + pairs.sum(axis=1)
    if even < len(codes):
        counts[codes[-1]] += 1
    return np.asarray(counts, dtype=np.int64)


def _tally_integers(values: NDArray[Any], depth: Depth) -> Tally:
    # Python integers, since the magnitude of the smallest int64 has no int64.
    counts = Tally(finite=len(values))
    counts.max_abs = float(max(int(values.max()), -int(values.min())))
    if depth == "full":
        _add_weighted(counts, np.abs(values.astype(np.float64)), np.int64(1), None)
    return counts


def _tally_complex(parts: NDArray[Any], format: NumberFormat, depth: Depth) -> tuple[Tally, Bad]:
    """An element is NaN when either part is, else infinite when either part is, and negative
    where no part is +Inf. Its magnitude is the modulus, at most the largest float64."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        values = parts.view(f"f{parts.itemsize}").astype(np.float64)
    real, imaginary = values[0::2], values[1::2]
    nan = np.isnan(real) | np.isnan(imaginary)
    infinite = (np.isinf(real) | np.isinf(imaginary)) & ~nan
    positive = infinite & (np.isposinf(real) | np.isposinf(imaginary))
    bad = nan | infinite
    counts = Tally(
        nan=int(nan.sum()), pos_inf=int(positive.sum()), neg_inf=int((infinite & ~positive).sum())
    )
    with np.errstate(over="ignore"):
        modulus = np.minimum(np.hypot(real[~bad], imaginary[~bad]), np.finfo(np.float64).max)
    counts.finite = len(modulus)
    if counts.finite:
        counts.max_abs = float(modulus.max())
        if depth == "full":
            _add_weighted(counts, modulus, np.int64(1), format.normal)
    return counts, bad if bad.any() else None


# --- packed elements ----------------------------------------------------------------------------


def _unpacked(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Elements narrower than a byte, each as a byte of its own; 24 bits hold 4 or 6 of them."""
    padded = np.zeros(-(-len(raw) // 3) * 3, dtype=np.uint8)
    padded[: len(raw)] = raw
    triples = padded.reshape(-1, 3).astype(np.uint32)
    words = triples[:, 0] | triples[:, 1] << np.uint32(8) | triples[:, 2] << np.uint32(16)
    shifts = np.arange(0, 24, bits, dtype=np.uint32)
    codes = (words[:, None] >> shifts) & np.uint32((1 << bits) - 1)
    return np.asarray(codes, dtype=np.uint8).reshape(-1)
