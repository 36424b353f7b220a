"""Which lines may matter: a numpy scan for the dialects' trigger words.

A line is a candidate when it holds, in any case, the rarest eight bytes of a trigger. Table
look-ups over pairs of bytes leave few places to compare, so the scan runs at the same speed however
many triggers there are; what it lets through too much, the dialects reject.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

QUIET = 1
"""A line holds triggers, but all are of those that matter only beside a number."""
TELLING = 2

_PAIRS = 65536
_REACH = 8
_SHORTEST = 3
_BUCKETS = 7
"""Of the words of three bytes and more: one bit each. At one place all three pairs must be of words
of one bucket, which so many words together would seldom prevent."""
_OF_TWO = 1 << _BUCKETS
"""The bit of the words of two bytes, for which one pair is enough."""
_CHUNK = 1 << 16
"""Bytes looked through at once: small enough for the processor's cache."""
_FOLD = np.array([ord(chr(c).lower()) if c < 128 else c for c in range(256)], dtype=np.uint64)
_LETTER = np.array([chr(c).isalpha() and c < 128 for c in range(256)])
_COMMONEST_FIRST = b" etaoinrsl.cdpmu:-0/gfh_1,b2wvk=y"
_NO_LETTER = frozenset(c for c in range(256) if not _LETTER[c])
_ANY = frozenset(range(256))

Positions = NDArray[np.int64]
Kinds = NDArray[np.uint8]
_Codes = NDArray[np.uint64]


class Prefilter:
    """Finds candidate lines."""

    def __init__(self, triggers: Iterable[str], quiet: Iterable[str] = ()) -> None:
        """``triggers``: lower-case words; behind one of three bytes there must be no letter, and
        one of two matters wherever it stands. ``quiet``: those of them that are :data:`QUIET`."""
        silent = set(quiet)
        words = {_rarest(word.encode()) for word in triggers}
        telling = {_rarest(word.encode()) for word in triggers if word not in silent}
        long = sorted(word for word in words if len(word) >= _SHORTEST)
        self._tables = _tables(long, sorted(words.difference(long)))
        self._codes = {
            length: _codes(w for w in long if len(w) == length)
            for length in sorted({len(word) for word in long})
        }
        self._quiet = {
            length: _codes(self._only(words - telling, length)) for length in self._codes
        }
        firsts = [int.from_bytes(word[:_SHORTEST], "little") for word in long]
        self._hashes = np.zeros(_PAIRS, dtype=np.bool_)
        self._hashes[_hash(np.array(firsts, dtype=np.uint32))] = True
        self._heads = _codes(word[:4] for word in long if len(word) > _SHORTEST)

    def candidates(self, lines: Sequence[bytes]) -> Kinds:
        """(n,) of the lines, which hold no line end, 0 for those without a trigger, else
        :data:`QUIET` or :data:`TELLING`."""
        places, kinds = self.places(b"\n".join(lines).lower())
        ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1)
        return strongest(np.searchsorted(ends, places, side="right"), kinds, len(lines))

    def places(self, data: bytes) -> tuple[Positions, Kinds]:
        """Where in lower-case text the triggers begin, in any order, and of which kind each is."""
        raw = np.frombuffer(data + bytes(_REACH + 2), dtype=np.uint8)
        begins, bits = self._likely(raw, len(data))
        certain = begins[bits & _OF_TWO != 0]
        found, kinds = self._at(raw, begins[bits != _OF_TWO])
        of_two = np.full(len(certain), TELLING, dtype=np.uint8)
        return np.concatenate((certain, found)), np.concatenate((of_two, kinds))

    def _likely(self, raw: NDArray[np.uint8], count: int) -> tuple[Positions, Kinds]:
        """Where three overlapping pairs of bytes could all be those of a word, and of which."""
        likely = np.empty(count, dtype=np.uint8)
        halves = np.empty(2 * (_CHUNK + 2), dtype=np.uint8)
        for begin in range(0, count, _CHUNK):
            size = min(_CHUNK, count - begin)
            halves[: 2 * size + 4 : 2] = raw[begin : begin + size + 2]
            halves[1 : 2 * size + 4 : 2] = raw[begin + 1 : begin + size + 3]
            pairs = halves[: 2 * size + 4].view("<u2").astype(np.intp)
            bits = np.take(self._tables[0], pairs[:size])
            for offset in (1, 2):
                bits &= np.take(self._tables[offset], pairs[offset : offset + size])
            likely[begin : begin + size] = bits
        places = np.flatnonzero(likely)
        return places, likely[places]

    def _at(self, raw: NDArray[np.uint8], begins: Positions) -> tuple[Positions, Kinds]:
        """Those of ``begins`` at which a word stands; ``raw`` has eight bytes behind the last."""
        head = np.zeros(len(begins), dtype=np.uint32)
        for place in range(3):
            head |= raw[begins + place].astype(np.uint32) << np.uint32(8 * place)
        begins = begins[np.take(self._hashes, _hash(head))]
        code = np.zeros(len(begins), dtype=np.uint64)
        found: list[Positions] = []
        kinds: list[Kinds] = []
        for place in range(4):
            code |= _FOLD[raw[begins + place]] << np.uint64(8 * place)
            if place == 2 and 3 in self._codes:
                ends = ~_LETTER[raw[begins + 3]]
                self._match(3, begins[ends], code[ends], found, kinds)
        alike = _is_in(code, self._heads)
        begins, code = begins[alike], code[alike]
        for length in range(4, _REACH + 1):
            if length > 4:
                code |= _FOLD[raw[begins + length - 1]] << np.uint64(8 * (length - 1))
            if length in self._codes:
                self._match(length, begins, code, found, kinds)
        nothing: tuple[Positions, Kinds] = np.empty(0, np.int64), np.empty(0, np.uint8)
        return (np.concatenate(found), np.concatenate(kinds)) if found else nothing

    def _match(
        self,
        length: int,
        begins: Positions,
        code: _Codes,
        found: list[Positions],
        kinds: list[Kinds],
    ) -> None:
        """Add where a word of this length stands."""
        here = _is_in(code, self._codes[length])
        found.append(begins[here])
        quiet = _is_in(code[here], self._quiet[length])
        kinds.append(np.where(quiet, QUIET, TELLING).astype(np.uint8))

    @staticmethod
    def _only(words: Iterable[bytes], length: int) -> list[bytes]:
        return [word for word in words if len(word) == length]


def strongest(lines: Positions, kinds: Kinds, count: int) -> Kinds:
    """(count,) the strongest kind at each line; ``lines`` are those of ``kinds``."""
    found = np.zeros(count, dtype=np.uint8)
    found[lines] = QUIET
    found[lines[kinds == TELLING]] = TELLING
    return found


def _hash(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Sixteen bits of each code (Knuth's multiplicative hash)."""
    hashes: NDArray[np.uint32] = (codes * np.uint32(2654435761)) >> np.uint32(16)
    return hashes


def _codes(words: Iterable[bytes]) -> _Codes:
    return np.array(sorted({int.from_bytes(w, "little") for w in words}), dtype=np.uint64)


def _is_in(values: _Codes, codes: _Codes) -> NDArray[np.bool_]:
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


def _tables(words: Sequence[bytes], of_two: Iterable[bytes]) -> tuple[Kinds, ...]:
    """Of which buckets' words a pair of bytes can stand at the first, second and third place."""
    tables = tuple(np.zeros(_PAIRS, dtype=np.uint8) for _ in range(3))
    for i, word in enumerate(words):  # sorted: a bucket's words begin alike
        places = [frozenset((c,)) for c in word[:4]]
        if len(places) == _SHORTEST:
            places.append(_NO_LETTER)
        _mark(tables, places, 1 << (i * _BUCKETS // len(words)))
    for word in of_two:
        _mark(tables, [*(frozenset((c,)) for c in word), _ANY, _ANY], _OF_TWO)
    return tables


def _mark(tables: Sequence[Kinds], places: Sequence[frozenset[int]], bit: int) -> None:
    for table, first, second in zip(tables, places, places[1:], strict=False):
        low, high = np.array(sorted(first)), np.array(sorted(second))
        table[(low[:, None] | high[None, :] << 8).ravel()] |= np.uint8(bit)
