"""Following TFRecords, each of which states its length, many at a time."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = 12
"""Bytes: length, CRC of the length."""
FOOTER = 4
"""Bytes: CRC of the payload."""
OVERHEAD = HEADER + FOOTER

_FEWEST_STEPS = 64
_HISTORY = 4096
_CONTEXT = 4
_MOST_GUESSED = 1 << 16

_FAR = 1 << 62

_LENGTH = struct.Struct("<Q")


def follow(buffer: memoryview, data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n,) where records begin, were every length right.

    ``data`` is a view of ``buffer``. No checksum is looked at; the last record may go past the
    end.

    A step in Python costs more than all that is done with a record later. But writers log the
    same tags in turn, so lengths repeat: what follows is guessed from what followed before, many
    records at a time, and checked.
    """
    parts = [np.zeros(0, dtype=np.int64)]
    history = parts[0]
    position, end = 0, len(buffer) - OVERHEAD
    steps = guesses = _FEWEST_STEPS
    while position <= end:
        places, position = _step(buffer, position, end, steps)
        parts.append(places)
        history = np.append(history, np.diff(places, append=position))[-_HISTORY:]
        won = 0
        while position <= end:
            guess = _guess(history, guesses, end - position)
            places = position + np.cumsum(guess) - guess
            count = _count_right(data, places, guess, end)
            parts.append(places[:count])
            history = np.append(history, guess[:count])[-_HISTORY:]
            position += int(guess[:count].sum())
            won += count
            if count < len(guess) or not count:
                break
            guesses = min(guesses * 2, _MOST_GUESSED)
        guesses = max(_FEWEST_STEPS, won)
        steps = _FEWEST_STEPS if won >= steps else min(steps * 2, _HISTORY)
    return np.concatenate(parts)


def _step(buffer: memoryview, position: int, end: int, most: int) -> tuple[NDArray[np.int64], int]:
    """Where the next ``most`` records begin, one by one, and where they end."""
    places: list[int] = []
    unpack = _LENGTH.unpack_from
    while position <= end and len(places) < most:
        places.append(position)
        position += unpack(buffer, position)[0] + OVERHEAD
    return np.array(places, dtype=np.int64), min(position, _FAR)


def _guess(history: NDArray[np.int64], count: int, room: int) -> NDArray[np.int64]:
    """The next sizes of records, going on as it did after the last sizes stood there before.

    Some ``count`` of them, or as many as ``room`` bytes hold.
    """
    last = min(len(history) - 1, _CONTEXT)
    if last < 1:
        return history[:0]
    same = history[last - 1 : -1] == history[-1]
    for back in range(1, last):
        same &= history[last - 1 - back : -1 - back] == history[-1 - back]
    found = np.flatnonzero(same)
    if not len(found):
        return history[:0]
    period = history[found[-1] + last :]
    count = min(count, room * len(period) // int(period.sum()) + len(period))
    return np.tile(period, -(-count // len(period)))


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
