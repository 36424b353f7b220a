"""Which lines of a block may matter: a numpy scan for the dialects' trigger words.

A line is a candidate when it holds the first four bytes of a trigger, in any case. Two table
look-ups over byte pairs find these at some hundred MB/s, however many triggers there are; what
they let through too much, the dialects reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_PAIRS = 65536
_BAR = (b"it/s", b"s/it")
_BAR_REACH = 6
"""A progress bar matters only beside another candidate: that many on either side are kept. A log
can hold a thousand bars for each line of metrics."""


class Prefilter:
    """Finds candidate lines."""

    def __init__(self, triggers: Iterable[str]) -> None:
        """``triggers``: lower-case words of three characters or more; of a three-character one
        the character behind must not be a letter."""
        self._first, self._second = _tables(t.encode() for t in triggers)
        self._bar_first, self._bar_second = _tables(_BAR)

    def candidates(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(begin, end) of the candidate segments of ``data``; ``\\n`` and ``\\r`` end a segment."""
        starts, ends = segments(data)
        if len(data) < 4:
            return starts, ends
        raw = np.frombuffer(data, dtype=np.uint8)
        pairs = raw[:-1].astype(np.uint16)
        pairs |= raw[1:].astype(np.uint16) << 8
        wanted = np.zeros(len(starts), dtype=np.bool_)
        wanted[_owners(_hits(pairs, self._first, self._second), ends)] = True
        bars = np.zeros(len(starts), dtype=np.bool_)
        bars[_owners(_hits(pairs, self._bar_first, self._bar_second), ends)] = True
        chosen = np.flatnonzero(wanted | bars)
        chosen = chosen[_near(wanted[chosen])]
        return starts[chosen], ends[chosen]


def segments(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(begin, end) of every segment of ``data``, without its end mark."""
    raw = np.frombuffer(data, dtype=np.uint8)
    marks = np.flatnonzero((raw == 10) | (raw == 13))
    starts = np.concatenate(([0], marks + 1))
    ends = np.concatenate((marks, [len(data)]))
    return starts, ends


def _tables(triggers: Iterable[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = np.zeros(_PAIRS, dtype=np.bool_)
    second = np.zeros(_PAIRS, dtype=np.bool_)
    letters = {c for c in range(256) if chr(c).isascii() and chr(c).isalpha()}
    for trigger in triggers:
        sets = [{c, ord(chr(c).upper())} for c in trigger[:4]]
        if len(sets) == 3:
            sets.append(set(range(256)) - letters)
        for table, (low, high) in ((first, sets[:2]), (second, sets[2:])):
            for a in low:
                for b in high:
                    table[a | b << 8] = True
    return first, second


def _hits(
    pairs: NDArray[np.uint16], first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> NDArray[np.int64]:
    begins = np.flatnonzero(first[pairs])
    begins = begins[begins + 2 < len(pairs)]
    found: NDArray[np.int64] = begins[second[pairs[begins + 2]]]
    return found


def _owners(positions: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The segment that holds each position."""
    owners: NDArray[np.int64] = np.searchsorted(ends, positions, side="left")
    return owners


def _near(wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where a True lies within reach."""
    near: NDArray[np.bool_] = wanted.copy()
    for shift in range(1, _BAR_REACH + 1):
        near[shift:] |= wanted[:-shift]
        near[:-shift] |= wanted[shift:]
    return near


def line_numbers(data: bytes, first_line: int, begins: NDArray[np.int64]) -> Iterator[int]:
    """Number of the physical line in which each segment begins."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    return iter((first_line + np.searchsorted(newlines, begins, side="left")).tolist())
