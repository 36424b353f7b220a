"""CRC-32C (Castagnoli) of many byte ranges at once, with NumPy.

The standard library has no CRC-32C, and a loop over bytes reaches some 10 MB/s. A CRC without its
initial value is linear over GF(2), so the ranges of one buffer share the work: the buffer is cut
into lanes that are stepped side by side, which gives the CRC of every prefix, and a range's CRC
follows from the two prefixes at its ends.

Polynomial, reflection and mask: RFC 3720 appendix B.4; TensorFlow ``lib/hash/crc32c.h``.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_ONES = np.uint32(0xFFFFFFFF)
_MASK_DELTA = np.uint32(0xA282EAD8)
_LANE_BYTES = 256
_LOW_BYTE = np.uint32(0xFF)


def mask(crc: Words) -> Words:
    """TFRecord's masked form of CRCs: (n,) in, (n,) out."""
    rotated = (crc >> np.uint32(15)) | (crc << np.uint32(17))
    masked: Words = (rotated + _MASK_DELTA).astype(np.uint32)
    return masked


def unmask(masked: Words) -> Words:
    """The inverse of :func:`mask`."""
    rotated = (masked - _MASK_DELTA).astype(np.uint32)
    crc: Words = ((rotated << np.uint32(15)) | (rotated >> np.uint32(17))).astype(np.uint32)
    return crc


@cache
def byte_table(polynomial: int = _POLYNOMIAL) -> Words:
    """(256,) what one byte does to a zero register."""
    table: Words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        low = (table & np.uint32(1)).astype(bool)
        table = (table >> np.uint32(1)) ^ np.where(low, polynomial, 0).astype(np.uint32)
    return table


def _byte_step(register: Words) -> Words:
    """Registers (any shape) after one zero byte each."""
    stepped: Words = byte_table()[register & _LOW_BYTE] ^ (register >> np.uint32(8))
    return stepped


@cache
def _pair_table() -> Words:
    """(65536,) what two bytes, the first in the low half, do to a zero register."""
    return _byte_step(_byte_step(np.arange(65536, dtype=np.uint32)))


@cache
def _advance_tables(power: int) -> Words:
    """(4, 256) the operator "2**power zero bytes follow", by byte of the register."""
    shifts = np.uint32(8) * np.arange(4, dtype=np.uint32)[:, None]
    registers: Words = np.arange(256, dtype=np.uint32)[None, :] << shifts
    if power == 0:
        return _byte_step(registers)
    half = _advance_tables(power - 1)
    return _apply(half, _apply(half, registers))


def _apply(tables: Words, crc: Words) -> Words:
    result: Words = tables[0][crc & _LOW_BYTE]
    result ^= tables[1][(crc >> np.uint32(8)) & _LOW_BYTE]
    result ^= tables[2][(crc >> np.uint32(16)) & _LOW_BYTE]
    result ^= tables[3][crc >> np.uint32(24)]
    return result


def advance(crc: Words, counts: NDArray[np.int64]) -> Words:
    """Registers (n,) after ``counts`` (n,) zero bytes each."""
    result: Words = crc.astype(np.uint32)
    every = int(np.bitwise_or.reduce(counts)) if len(counts) else 0
    for power in range(every.bit_length()):
        if every >> power & 1:
            chosen = np.flatnonzero((counts >> power) & 1)
            result[chosen] = _apply(_advance_tables(power), result[chosen])
    return result


def of_bytes(data: bytes) -> int:
    """CRC-32C of a few bytes."""
    table, crc = _byte_list(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _byte_list() -> list[int]:
    found: list[int] = byte_table().tolist()
    return found


def crc32c(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Words:
    """CRC-32C of ``data[start : start + length]`` for each of (n,) ranges; (n,) uint32.

    Takes about four bytes of memory a byte of ``data`` for the time of the call.
    """
    if not len(starts):
        return np.zeros(0, dtype=np.uint32)
    prefixes = _prefixes(data, np.concatenate([starts, starts + lengths]))
    opened, closed = prefixes[: len(starts)], prefixes[len(starts) :]
    crcs: Words = advance(opened ^ _ONES, lengths) ^ closed ^ _ONES
    return crcs


def _prefixes(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> Words:
    """Registers, from zero, after ``data[:end]`` for each of (n,) ``ends``."""
    lanes = -(-len(data) // _LANE_BYTES) or 1
    # Zero bytes in front of everything leave a zero register as it is.
    padding = lanes * _LANE_BYTES - len(data)
    padded = np.zeros(lanes * _LANE_BYTES, dtype=np.uint8)
    padded[padding:] = data
    places = ends + padding
    lane, inside = places // _LANE_BYTES, places % _LANE_BYTES
    # The very end belongs to the last lane.
    over = lane == lanes
    lane[over], inside[over] = lanes - 1, _LANE_BYTES
    registers, whole = _step_lanes(padded.reshape(lanes, _LANE_BYTES), lane, inside)
    odd = np.flatnonzero(inside & 1)
    last = padded[places[odd] - 1]
    registers[odd] = _byte_step(registers[odd] ^ last)
    return advance(_scan(whole)[lane], inside) ^ registers


def _step_lanes(
    lanes: NDArray[np.uint8], lane: NDArray[np.int64], inside: NDArray[np.int64]
) -> tuple[Words, Words]:
    """Step every lane from zero, two bytes at a time.

    Gives the registers (n,) of ``lane`` after ``inside`` bytes, rounded down to even, and the
    registers (lanes,) after whole lanes.
    """
    columns = np.ascontiguousarray(lanes.view("<u2").T)
    table = _pair_table()
    order = np.argsort(inside >> 1, kind="stable")
    cuts = np.searchsorted((inside >> 1)[order], np.arange(len(columns) + 2))
    wanted = np.zeros(len(lane), dtype=np.uint32)
    state = np.zeros(len(lanes), dtype=np.uint32)
    for j in range(len(columns) + 1):
        if cuts[j] < cuts[j + 1]:
            chosen = order[cuts[j] : cuts[j + 1]]
            wanted[chosen] = state[lane[chosen]]
        if j < len(columns):
            low = state.astype(np.uint16) ^ columns[j]
            state >>= np.uint32(16)
            state ^= table[low]
    return wanted, state


def _scan(whole: Words) -> Words:
    """Registers (lanes,) in front of each lane, from each lane's own register."""
    before = np.zeros(len(whole), dtype=np.uint32)
    before[1:] = whole[:-1]
    power, distance = (_LANE_BYTES - 1).bit_length(), 1
    while distance < len(before):
        before[distance:] ^= _apply(_advance_tables(power), before[:-distance])
        power, distance = power + 1, distance * 2
    return before
