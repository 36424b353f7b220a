"""Which lines may matter: a numpy scan for the dialects' trigger words.

A line is a candidate when it holds, in any case, the rarest eight bytes of a trigger. The bytes
are looked at in pairs, each pair once: of a word of three letters or more, either the first two or
the second and third stand in one pair. A table tells which pairs those can be and which may come
next, so the scan runs at the same speed however many triggers there are; what it lets through too
much, the dialects reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_PAIRS = 65536
_REACH = 8
_SHORTEST = 3
_FOLD = np.array([ord(chr(c).lower()) if c < 128 else c for c in range(256)], dtype=np.uint64)
_LETTER = np.array([chr(c).isalpha() and c < 128 for c in range(256)])
_COMMONEST_FIRST = b" etaoinrsl.cdpmu:-0/gfh_1,b2wvk=y"
_ANY = frozenset(range(256))
_NO_LETTER = frozenset(c for c in range(256) if not _LETTER[c])

Positions = NDArray[np.int64]


class Prefilter:
    """Finds candidate lines."""

    def __init__(self, triggers: Iterable[str]) -> None:
        """``triggers``: lower-case words; behind one of three bytes there must be no letter, and
        one of two is looked for as it is."""
        words = {_rarest(word.encode()) for word in triggers}
        self._short = tuple(sorted(word for word in words if len(word) < _SHORTEST))
        words.difference_update(self._short)
        self._table = _table(words)
        self._codes = {
            length: _codes(w for w in words if len(w) == length)
            for length in sorted({len(word) for word in words})
        }
        self._heads = _codes(word[:4] for word in words if len(word) > _SHORTEST)

    def candidates(self, lines: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether each of the lines, which hold no line end, is a candidate."""
        data = b"\n".join(lines)
        raw = np.frombuffer(data + bytes(_REACH + 2), dtype=np.uint8)
        places = [self._at(raw, self._likely(raw, len(data)))]
        places += [np.fromiter(_all(data, word), dtype=np.int64) for word in self._short]
        ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1)
        found = np.zeros(len(lines), dtype=np.bool_)
        found[np.searchsorted(ends, np.concatenate(places), side="right")] = True
        return found

    def _likely(self, raw: NDArray[np.uint8], count: int) -> Positions:
        """Where the pairs of bytes could be those of a word, as the place where it would begin."""
        pairs = raw[: (count + 5) // 2 * 2].view("<u2")
        seen = np.take(self._table, pairs)
        hits = seen[:-1] & (seen[1:] >> 2)
        even = np.flatnonzero(hits & 1) * 2
        odd = np.flatnonzero(hits & 2) * 2 - 1
        begins = np.concatenate((even, odd[odd >= 0]))
        return begins[begins < count]

    def _at(self, raw: NDArray[np.uint8], begins: Positions) -> Positions:
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


def _all(data: bytes, word: bytes) -> Iterator[int]:
    """Every place of a word."""
    at = data.find(word)
    while at >= 0:
        yield at
        at = data.find(word, at + 1)


def _codes(words: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.array(sorted({int.from_bytes(w, "little") for w in words}), dtype=np.uint64)


def _is_in(values: NDArray[np.uint64], codes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each value is one of the sorted codes."""
    if not len(codes):
        return np.zeros(len(values), dtype=np.bool_)
    nearest = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    equal: NDArray[np.bool_] = codes[nearest] == values
    return equal


def _rarest(word: bytes) -> bytes:
    """The eight bytes of a word of which the first four are least common."""
    if len(word) <= _REACH:
        return word

    def commonness(begin: int) -> int:
        ranks = (_COMMONEST_FIRST.find(c) for c in word[begin : begin + 4])
        return sum(len(_COMMONEST_FIRST) - rank for rank in ranks if rank >= 0)

    begin = min(range(len(word) - _REACH + 1), key=commonness)
    return word[begin : begin + _REACH]


def _table(words: Iterable[bytes]) -> NDArray[np.uint8]:
    """By pair: 1 where a word's first two bytes are in it, 2 the second and third; 4 and 8 where
    it may follow the one or the other."""
    table = np.zeros(_PAIRS, dtype=np.uint8)
    for word in words:
        places = [frozenset(bytes((c,)) + bytes((c,)).upper()) for c in word[:5]]
        if len(places) == _SHORTEST:
            places.append(_NO_LETTER)
        places += [_ANY] * (5 - len(places))
        for bit, begin in ((1, 0), (2, 1), (4, 2), (8, 3)):
            low = np.array(sorted(places[begin]))
            high = np.array(sorted(places[begin + 1]))
            table[(low[:, None] | high[None, :] << 8).ravel()] |= bit
    return table
