"""Following TFRecords, each of which states its length, many at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers import _crc32c

HEADER = 12
"""Bytes: length, CRC of the length."""
FOOTER = 4
"""Bytes: CRC of the payload."""
OVERHEAD = HEADER + FOOTER
LARGEST_RECORD = 64 << 20
"""Bytes. Longer records are stepped over: no scalar or histogram comes near it, and a file must
not decide how much memory is taken."""

_FEWEST_STEPS = 64
_MOST_STEPS = 1024
_HISTORY = 4096
_CONTEXT = 256
_MOST_PLACES = 64
_MOST_GUESSED = 1 << 16
_SHORT = 1024
"""Bytes; where records are longer, following them takes less than looking at all bytes."""

_FAR = 1 << 62

_LENGTH = struct.Struct("<Q")


class Chain:
    """Follows the records of one file, block by block.

    A step in Python costs more than all that is done with a record later. But writers log the
    same tags in turn, so lengths repeat: what follows is guessed from what followed before, many
    records at a time, and checked. Where lengths do not repeat, headers are looked for in the
    bytes.
    """

    def __init__(self) -> None:
        self._history = np.zeros(0, dtype=np.int64)
        """Sizes of the latest records."""

    def follow(
        self, buffer: memoryview, data: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) where records begin, were every length right, and (n,) their sizes.

        ``data`` is a view of ``buffer``, which begins with a record. The last record may go past
        the end. A size counts header and footer, and is at most ``2**62``.
        """
        parts = []
        position, end = 0, len(buffer) - OVERHEAD
        steps = _FEWEST_STEPS
        while position <= end:
            before = position
            for places, sizes in self._guess(data, position, end):
                parts.append((places, sizes))
                position = int(places[-1] + sizes[-1])
                self._remember(sizes)
            if position > end:
                break
            won = position - before
            places, after = _step(buffer, position, end, steps)
            if steps == _MOST_STEPS and after - position < len(places) * _SHORT:
                found, reached = _scan(data, position)
                if reached > after:  # It ends at a record that is not short.
                    places, after = found, reached
            sizes = np.diff(places, append=after)
            parts.append((places, sizes))
            self._remember(sizes)
            # Stepping gets longer while guessing does not pay.
            steps = _FEWEST_STEPS if won > after - position else min(steps * 2, _MOST_STEPS)
            position = after
        if not parts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        places, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
        return places, sizes

    def _remember(self, sizes: NDArray[np.int64]) -> None:
        self._history = np.append(self._history, sizes[-_HISTORY:])[-_HISTORY:]

    def _guess(
        self, data: NDArray[np.uint8], position: int, end: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(places, sizes) of records, as long as it goes on as it did before."""
        period = _period(self._history)
        count = _FEWEST_STEPS
        while position <= end and len(period):
            room = (end - position) * len(period) // int(period.sum()) + len(period)
            sizes = np.tile(period, -(-min(count, room) // len(period)))
            places = position + np.cumsum(sizes) - sizes
            right = _count_right(data, places, sizes, end)
            if right:
                yield places[:right], sizes[:right]
            if right < len(sizes):
                return
            position = int(places[-1] + sizes[-1])
            count = min(count * 4, _MOST_GUESSED)


def _scan(data: NDArray[np.uint8], position: int) -> tuple[NDArray[np.int64], int]:
    """The chain of short records from ``position`` on, where its headers stand, and its end."""
    zero = data[position + 2 : len(data) - 4] == 0
    zero = zero[:-3] & zero[3:]
    zero = zero[:-2] & zero[1:-1] & zero[2:]
    places = np.flatnonzero(zero) + position
    lengths = unaligned(data, "<u2")[places]
    right = length_crcs(lengths) == unaligned(data, "<u4")[places + 8]
    places, lengths = places[right], lengths[right].astype(np.int64)
    ends = places + lengths + OVERHEAD
    linked = np.append(True, places[1:] == ends[:-1]) & (places[:1] == position)
    count = len(linked) if linked.all() else int(np.argmin(linked))
    return places[:count], int(ends[count - 1]) if count else position


def _step(buffer: memoryview, position: int, end: int, most: int) -> tuple[NDArray[np.int64], int]:
    """Where the next ``most`` records begin, one by one, and where they end."""
    places: list[int] = []
    unpack = _LENGTH.unpack_from
    while position <= end and len(places) < most:
        places.append(position)
        position += unpack(buffer, position)[0] + OVERHEAD
    return np.array(places, dtype=np.int64), min(position, _FAR)


def _period(history: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) sizes of records since the last time that the same ones stood before; or none.

    Of several such places that counts which agrees the furthest back: tags of equal length come
    in runs, so the last few sizes alone do not say where in its round a writer is.
    """
    found = np.flatnonzero(history[:-1] == history[-1:])[-_MOST_PLACES:]
    checked = 1
    while len(found) and checked < _CONTEXT:
        wanted = np.arange(checked, min(2 * checked, len(history)))
        further = found[found >= wanted[-1]] if len(wanted) else found[:0]
        same = history[further[:, None] - wanted] == history[len(history) - 1 - wanted]
        further = further[same.all(axis=1)]
        if not len(further):
            break
        found, checked = further, 2 * checked
    return history[found[-1] + 1 :] if len(found) else history[:0]


def _count_right(
    data: NDArray[np.uint8], places: NDArray[np.int64], sizes: NDArray[np.int64], end: int
) -> int:
    """How many of the guessed records are there, up to the first that is not."""
    inside = int(np.searchsorted(places, end, side="right"))
    right = unaligned(data, "<u8")[places[:inside]] == (sizes[:inside] - OVERHEAD).view(np.uint64)
    return inside if right.all() else int(np.argmin(right))


def unaligned(data: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    """(len(data) - itemsize + 1,) the number that begins at each byte."""
    size = np.dtype(kind).itemsize
    numbers: NDArray[Any] = np.ndarray((len(data) - size + 1,), kind, data, strides=(1,))
    return numbers


def length_crcs(lengths: NDArray[Any]) -> NDArray[np.uint32]:
    """Masked CRC of each (n,) length's eight bytes, of lengths up to :data:`LARGEST_RECORD`."""
    low, high = _length_tables()
    if lengths.dtype.itemsize == 2:
        return _crc32c.mask(low[lengths])
    return _crc32c.mask(low[lengths & 0xFFFF] ^ high[lengths >> 16])


@cache
def _length_tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """CRCs of lengths (65536,), and what the part above 16 bits (n,) changes of them."""
    low = _of_numbers(np.arange(65536))
    high = _of_numbers(np.arange((LARGEST_RECORD >> 16) + 1) << 16)
    return low, high ^ low[0]


def _of_numbers(numbers: NDArray[Any]) -> NDArray[np.uint32]:
    raw = np.ascontiguousarray(numbers.astype("<u8")).view(np.uint8)
    eights = np.full(len(numbers), 8, dtype=np.int64)
    return _crc32c.crc32c(raw, np.arange(len(numbers), dtype=np.int64) * 8, eights)
