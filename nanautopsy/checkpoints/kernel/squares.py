"""Sums of squares, fast and with a known error.

Of F32, F16 and BF16, squares are added in single precision within rows of 512 and the rows' sums
in double: every term is positive, so the sum's relative error is below 513 roundings of 2**-24,
and a root mean square's below 1.6e-5 in the worst case, some 1e-8 in practice. Magnitudes that
float32 cannot square, and all other formats, are added in double precision: below 1e-12.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import NumberFormat

_ROW = 512
_LARGEST = (2.0**-40, 2.0**54)
"""Largest magnitudes whose squares float32 adds without overflow, and without missing any that
matter beside the largest."""
_SMALLEST = 2.0**-62
"""Below, squares are subnormal in float32, which processors handle several times more slowly."""
_SAFE = (2.0**-460, 2.0**460)
"""Largest magnitudes whose squares float64 adds, of any number of elements."""


def sum_of_squares(
    bits: NDArray[Any],
    format: NumberFormat,
    largest: float,
    smallest: float,
    scratch: NDArray[np.uint8],
) -> tuple[float, float]:
    """(sum, scale) of ``ieee`` patterns, all finite: the squares add up to sum * scale**2.

    ``largest`` and ``smallest``: their largest and smallest nonzero magnitude. ``scratch``: at
    least as many bytes as ``bits`` has.
    """
    if format.bits == 64:
        return squares_64(bits.view(np.float64), largest)
    narrow = _LARGEST[0] < largest < _LARGEST[1] and smallest > _SMALLEST
    add = _rows if narrow or format.name == "F16" else _rows_widened
    return math.fsum(add(values) for values in _singles(bits, format, scratch)), 1.0


def squares_64(values: NDArray[np.float64], largest: float) -> tuple[float, float]:
    """(sum, scale) of finite values, of which ``largest`` is the largest magnitude."""
    if squares_fit(largest):
        return _rows(values), 1.0
    exponent = min(math.frexp(largest)[1], 1023)
    return _rows(np.ldexp(values, -exponent)), math.ldexp(1.0, exponent)


def squares_fit(largest: Any) -> Any:
    """Whether float64 holds the squares of values of which ``largest`` is the largest magnitude;
    of an array, for each."""
    return (largest == 0.0) | ((largest > _SAFE[0]) & (largest < _SAFE[1]))


def _singles(
    bits: NDArray[Any], format: NumberFormat, scratch: NDArray[np.uint8]
) -> Iterator[NDArray[np.float32]]:
    """The values in a few arrays; each is valid until the next one is asked for."""
    if format.bits == 32:
        yield bits.view(np.float32)
        return
    even = len(bits) // 2 * 2
    pairs = bits[:even].view(np.uint32)
    wide = scratch[: pairs.nbytes].view(np.uint32)
    values = wide.view(np.float32)
    if format.name == "BF16":
        np.left_shift(pairs, np.uint32(16), out=wide)
        yield values
        np.bitwise_and(pairs, np.uint32(0xFFFF0000), out=wide)
        yield values
        if even < len(bits):
            yield (bits[even:].astype(np.uint32) << np.uint32(16)).view(np.float32)
        return
    for move, distance in ((np.left_shift, 13), (np.right_shift, 3)):
        # Exponent and fraction go to their places in float32, whose bias is larger by 112; the
        # sign is lost. NumPy's own conversion is several times slower.
        move(pairs, np.uint32(distance), out=wide)
        np.bitwise_and(wide, np.uint32(0x0FFFE000), out=wide)
        np.multiply(values, np.float32(2.0**112), out=values)
        yield values
    if even < len(bits):
        yield bits[even:].view(np.float16).astype(np.float32)


def _rows_widened(values: NDArray[np.float32]) -> float:
    return _rows(values.astype(np.float64))


def _rows(values: NDArray[Any]) -> float:
    # Rows, since for longer vectors BLAS wakes threads of its own, 80 times slower on busy cores,
    # and adds in an order that depends on how many there are.
    full = len(values) // _ROW * _ROW
    total = 0.0
    if full:
        rows = values[:full].reshape(-1, 1, _ROW)
        total = float(np.matmul(rows, rows.transpose(0, 2, 1)).sum(dtype=np.float64))
    if full < len(values):
        rest = values[full:].astype(np.float64)
        total += float(np.einsum("i,i->", rest, rest))
    return total
