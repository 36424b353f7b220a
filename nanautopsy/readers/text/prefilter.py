"""Which lines of a block may matter: a numpy scan for the dialects' trigger words.

A line is a candidate when it holds, in any case, the rarest eight bytes of a trigger. Two table
look-ups over byte pairs leave few places to compare, so the scan runs at some hundred MB/s however
many triggers there are; what it lets through too much, the dialects reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_PAIRS = 65536
_REACH = 8
_FOLD = np.array([ord(chr(c).lower()) if c < 128 else c for c in range(256)], dtype=np.uint64)
_LETTER = np.array([chr(c).isalpha() and c < 128 for c in range(256)])
_COMMONEST_FIRST = " etaoinrsl.cdpmu:-0/gfh_1,b2wvk=y"
_BAR = ("it/s", "s/it")
_BAR_REACH = 2
"""A progress bar matters only beside another candidate: that many on either side are kept. A log
can hold a thousand bars for each line of metrics."""

Positions = NDArray[np.int64]


class Prefilter:
    """Finds candidate lines."""

    def __init__(self, triggers: Iterable[str]) -> None:
        """``triggers``: lower-case ASCII words of three characters or more; behind one of three
        there must be no letter."""
        self._wanted = _Words(triggers)
        self._bars = _Words(_BAR)
        self._tables = tuple(
            a | b for a, b in zip(self._wanted.tables, self._bars.tables, strict=True)
        )

    def candidates(self, data: bytes) -> tuple[Positions, Positions]:
        """(begin, end) of the candidate segments of ``data``; ``\n`` and ``\r`` end a segment."""
        starts, ends = segments(data)
        raw = np.frombuffer(data + bytes(_REACH + 1), dtype=np.uint8)
        begins = self._likely(raw, len(data))
        wanted = np.zeros(len(starts), dtype=np.bool_)
        wanted[_owners(self._wanted.at(raw, begins), ends)] = True
        bars = np.zeros(len(starts), dtype=np.bool_)
        bars[_owners(self._bars.at(raw, begins), ends)] = True
        chosen = np.flatnonzero(wanted | bars)
        chosen = chosen[_near(wanted[chosen])]
        return starts[chosen], ends[chosen]

    def _likely(self, raw: NDArray[np.uint8], count: int) -> Positions:
        """Where three overlapping byte pairs could all be those of a word."""
        pairs = np.empty(len(raw) - 1, dtype="<u2")
        halves = pairs.view(np.uint8)
        halves[::2] = raw[:-1]
        halves[1::2] = raw[1:]
        likely = np.take(self._tables[0], pairs[:count])
        for offset in (1, 2):
            likely &= np.take(self._tables[offset], pairs[offset : offset + count])
        return np.flatnonzero(likely)


class _Words:
    """Recognizes words by eight of their bytes, in any case."""

    def __init__(self, words: Iterable[str]) -> None:
        encoded = {_rarest(word).encode() for word in words}
        self.tables = _tables(encoded)
        self._codes = {
            length: _codes(w for w in encoded if len(w) == length)
            for length in sorted({len(word) for word in encoded})
        }
        self._heads = _codes(word[:4] for word in encoded if len(word) >= 4)

    def at(self, raw: NDArray[np.uint8], begins: Positions) -> Positions:
        """Those of ``begins`` at which a word stands; ``raw`` has eight bytes behind the last."""
        code = np.zeros(len(begins), dtype=np.uint64)
        short = np.zeros(len(begins), dtype=np.bool_)
        for place in range(4):
            code |= _FOLD[raw[begins + place]] << np.uint64(8 * place)
            if place == 2 and 3 in self._codes:
                short = _is_in(code, self._codes[3]) & ~_LETTER[raw[begins + 3]]
        found = [begins[short]]
        alike = _is_in(code, self._heads)
        begins, code = begins[alike], code[alike]
        for length in range(4, _REACH + 1):
            if length > 4:
                code |= _FOLD[raw[begins + length - 1]] << np.uint64(8 * (length - 1))
            if length in self._codes:
                found.append(begins[_is_in(code, self._codes[length])])
        return np.concatenate(found)


def _codes(words: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.array(sorted({int.from_bytes(w, "little") for w in words}), dtype=np.uint64)


def _is_in(values: NDArray[np.uint64], codes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each value is one of the sorted codes."""
    nearest = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    equal: NDArray[np.bool_] = codes[nearest] == values
    return equal


def segments(data: bytes) -> tuple[Positions, Positions]:
    """(begin, end) of every segment of ``data``, without its end mark."""
    raw = np.frombuffer(data, dtype=np.uint8)
    marks = np.flatnonzero((raw == 10) | (raw == 13))
    starts = np.concatenate(([0], marks + 1))
    ends = np.concatenate((marks, [len(data)]))
    return starts, ends


def line_numbers(data: bytes, first_line: int, begins: Positions) -> Iterator[int]:
    """Number of the physical line in which each segment begins."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    return iter((first_line + np.searchsorted(newlines, begins, side="left")).tolist())


def _rarest(word: str) -> str:
    """The eight characters of a word of which the first four are least common."""
    if len(word) <= _REACH:
        return word

    def commonness(begin: int) -> int:
        ranks = (_COMMONEST_FIRST.find(c) for c in word[begin : begin + 4])
        return sum(len(_COMMONEST_FIRST) - rank for rank in ranks if rank >= 0)

    begin = min(range(len(word) - _REACH + 1), key=commonness)
    return word[begin : begin + _REACH]


def _tables(words: Iterable[bytes]) -> tuple[NDArray[np.bool_], ...]:
    """Which byte pairs can stand at the words' first, second and third place."""
    tables = tuple(np.zeros(_PAIRS, dtype=np.bool_) for _ in range(3))
    for word in words:
        sets = [{c, ord(chr(c).upper())} for c in word[:4]]
        if len(sets) == 3:
            sets.append({c for c in range(256) if not _LETTER[c]})
        for table, low, high in zip(tables, sets, sets[1:], strict=False):
            for a in low:
                for b in high:
                    table[a | b << 8] = True
    return tables


def _owners(positions: Positions, ends: Positions) -> Positions:
    """The segment that holds each position."""
    owners: Positions = np.searchsorted(ends, positions, side="left")
    return owners


def _near(wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True where a True lies within reach."""
    near: NDArray[np.bool_] = wanted.copy()
    for shift in range(1, _BAR_REACH + 1):
        near[shift:] |= wanted[:-shift]
        near[:-shift] |= wanted[shift:]
    return near
