"""Which lines may matter: a numpy scan for the dialects' trigger words.

A line is a candidate when it holds, in any case, the rarest eight bytes of a trigger. Table
look-ups over pairs of bytes leave few places to compare, so the scan runs at the same speed however
many triggers there are; what it lets through too much, the dialects reject.
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
        self._tables = _tables(words)
        self._codes = {
            length: _codes(w for w in words if len(w) == length)
            for length in sorted({len(word) for word in words})
        }
        firsts = [int.from_bytes(word[:_SHORTEST], "little") for word in words]
        self._hashes = np.zeros(_PAIRS, dtype=np.bool_)
        self._hashes[_hash(np.array(firsts, dtype=np.uint32))] = True
        self._heads = _codes(word[:4] for word in words if len(word) > _SHORTEST)

    def candidates(self, lines: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether each of the lines, which hold no line end, is a candidate."""
        data = b"\n".join(lines).lower()
        raw = np.frombuffer(data + bytes(_REACH + 2), dtype=np.uint8)
        places = [self._at(raw, self._likely(raw, len(data)))]
        places += [np.fromiter(_all(data, word), dtype=np.int64) for word in self._short]
        ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1)
        found = np.zeros(len(lines), dtype=np.bool_)
        found[np.searchsorted(ends, np.concatenate(places), side="right")] = True
        return found

    def _likely(self, raw: NDArray[np.uint8], count: int) -> Positions:
        """Where three overlapping pairs of bytes could all be those of a word."""
        pairs = np.empty(len(raw) - 1, dtype="<u2")
        halves = pairs.view(np.uint8)
        halves[::2] = raw[:-1]
        halves[1::2] = raw[1:]
        likely = np.take(self._tables[0], pairs[:count])
        for offset in (1, 2):
            likely &= np.take(self._tables[offset], pairs[offset : offset + count])
        return np.flatnonzero(likely)

    def _at(self, raw: NDArray[np.uint8], begins: Positions) -> Positions:
        """Those of ``begins`` at which a word stands; ``raw`` has eight bytes behind the last."""
        head = np.zeros(len(begins), dtype=np.uint32)
        for place in range(3):
            head |= raw[begins + place].astype(np.uint32) << np.uint32(8 * place)
        begins = begins[np.take(self._hashes, _hash(head))]
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


def _hash(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Sixteen bits of each code (Knuth's multiplicative hash)."""
    hashes: NDArray[np.uint32] = (codes * np.uint32(2654435761)) >> np.uint32(16)
    return hashes


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


def _tables(words: Iterable[bytes]) -> tuple[NDArray[np.bool_], ...]:
    """Which pairs of bytes can stand at the words' first, second and third place."""
    tables = tuple(np.zeros(_PAIRS, dtype=np.bool_) for _ in range(3))
    for word in words:
        places = [frozenset((c,)) for c in word[:4]]
        if len(places) == _SHORTEST:
            places.append(_NO_LETTER)
        for table, first, second in zip(tables, places, places[1:], strict=False):
            low, high = np.array(sorted(first)), np.array(sorted(second))
            table[(low[:, None] | high[None, :] << 8).ravel()] = True
    return tables
