"""CRC-32 (IEEE, zlib's) of a stretch of bytes from those of its parts, many at once.

``zlib.crc32`` goes through megabytes in no time, but calling it for each of many small parts
takes longer than all else that is done with them. What the parts' stated checksums make of the
whole is cheap to work out, so one call for the whole checks them all.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers._crc32c import byte_table

Words: TypeAlias = NDArray[np.uint32]

_POLYNOMIAL = 0xEDB88320
_ONES = np.uint32(0xFFFFFFFF)


def ends(sizes: NDArray[np.int64]) -> Words:
    """(n,) what zlib's starting value and its last step make of wholes of some sizes.

    The CRC of a whole is this, and the bare CRC of each part advanced by the bytes behind it, all
    joined by exclusive or.
    """
    whole: Words = advance(np.full(len(sizes), _ONES), sizes) ^ _ONES
    return whole


def advance(crc: Words, counts: NDArray[np.int64]) -> Words:
    """Registers (n,) after ``counts`` (n,) zero bytes each, fewer than 65536."""
    for table, digit in zip(_tables(), (counts & 0xFF, counts >> 8), strict=True):
        if not digit.any():
            continue
        base = digit << 10
        result = table.take(base + (crc & np.uint32(0xFF)))
        for place in (1, 2, 3):
            byte = (crc >> np.uint32(8 * place)) & np.uint32(0xFF)
            result ^= table.take(base + (256 * place) + byte)
        crc = result
    return crc


@cache
def _tables() -> tuple[Words, Words]:
    """(256 * 4 * 256,) each: registers after so many zero bytes, by byte; and so many times 256."""
    shifts = np.uint32(8) * np.arange(4, dtype=np.uint32)[:, None]
    register: Words = np.arange(256, dtype=np.uint32)[None, :] << shifts
    low = np.empty((256, 4, 256), dtype=np.uint32)
    high = np.empty((256, 4, 256), dtype=np.uint32)
    step = byte_table(_POLYNOMIAL)
    high[0] = register
    for count in range(256):
        low[count] = register
        register = step[register & np.uint32(0xFF)] ^ (register >> np.uint32(8))
    for count in range(1, 256):
        before = high[count - 1]
        high[count] = register[0][before & np.uint32(0xFF)]
        for place in (1, 2, 3):
            high[count] ^= register[place][(before >> np.uint32(8 * place)) & np.uint32(0xFF)]
    return low.reshape(-1), high.reshape(-1)
