"""Which skeletons of lines are known, and which of those can never matter.

A log of lines that repeat costs a look-up a line. Where they do not repeat, whole blocks are looked
through for triggers, and only the lines around those are cut out.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat

import numpy as np

from nanautopsy.readers.text.prefilter import QUIET, TELLING, Prefilter, strongest
from nanautopsy.readers.text.rows import Ints
from nanautopsy.readers.text.segments import DIGITS, Segments

NOISE = 0
"""Number of a skeleton that says nothing, whatever its digits."""
EACH = 1
"""Number of one too long to keep: its lines are looked at each time."""
FIRST = 2
"""From here on each skeleton has its own number."""

MAX_BYTES = 8192
"""Longer skeletons are not kept."""
_MAX_KEPT_BYTES = 16 << 20
"""Of all that are known together; then they are learned anew, so that a log without repetition
stays cheap."""
_FEWEST = 500
"""Lines of a block that tells whether lines repeat."""
_STRANGE = 0.5
"""Share of new skeletons from which on lines do not repeat."""
_WANTED = 0.25
"""Share of lines of interest up to which it is worth to cut out these alone."""
_PROSE_BLOCKS = 32
"""After which it is asked anew whether lines repeat."""
_OVERHEAD = 200
"""Bytes that a kept skeleton takes beside its own."""
_WITHOUT_DIGITS = str.maketrans("", "", DIGITS.decode())


@lru_cache(maxsize=4)
def _prefilter(words: frozenset[str], quiet: frozenset[str]) -> Prefilter:
    """Made once for all logs: it takes longer than to read a short one."""
    return Prefilter(words, quiet)


class Skeletons:
    """Numbers skeletons, and tells those that hold no dialect's trigger."""

    def __init__(self, triggers: Iterable[str], counters: Iterable[str] = ()) -> None:
        """``triggers``: lower-case ASCII words. Their digits are no part of a skeleton.

        ``counters``: those of them that say nothing in a line without a digit.
        """
        quiet = set(counters)
        telling = {t.translate(_WITHOUT_DIGITS) for t in triggers if t not in quiet}
        words = telling.union(quiet)
        self._prefilter = _prefilter(frozenset(words), frozenset(words - telling))
        self._known: dict[bytes, int] = {}
        self._kept = 0
        self._prose = 0
        """Blocks still to be taken as prose."""
        self.texts: list[bytes] = []
        """By number, less :data:`FIRST`."""
        self.generation = 0
        """How often the numbers were given anew."""

    def numbers(self, cut: Segments) -> Ints | None:
        """(n,) the number of each line's skeleton; ``None`` where all are noise."""
        if self._kept > _MAX_KEPT_BYTES:
            self._known.clear()
            self.texts = []
            self._kept = 0
            self.generation += 1
        if self._prose > 0:
            self._prose -= 1
            return self._of_prose(cut)
        return self._of_log(cut)

    def silence(self, number: int) -> None:
        """From now on it is noise."""
        self._known[self.texts[number - FIRST]] = NOISE

    def charge(self, count: int) -> None:
        """Memory is used for what was learned of a skeleton."""
        self._kept += count

    def _of_log(self, cut: Segments) -> Ints:
        """Lines that repeat."""
        skeletons = cut.skeletons
        found = self._look_up(skeletons)
        strange = np.flatnonzero(found < 0)
        if len(strange):
            strangers = [skeletons[i] for i in strange.tolist()]
            found[strange], fresh = self._introduce(strangers, cut.lengths[strange])
            repeats = len(cut) < _FEWEST or fresh < _STRANGE * len(cut)
            if not repeats and np.count_nonzero(found) <= _WANTED * len(cut):
                self._prose = _PROSE_BLOCKS
        return found

    def _of_prose(self, cut: Segments) -> Ints | None:
        """Lines that do not repeat, and of which few are of interest."""
        text = cut.lower
        places, kinds = self._prefilter.places(text)
        if not len(places):
            return None
        raw = np.frombuffer(text, dtype=np.uint8)
        ends = np.append(np.flatnonzero(raw == 10), len(text))
        kind = strongest(np.searchsorted(ends, places), kinds, len(ends))
        bare = np.diff(ends, prepend=-1) - 1 == cut.lengths
        wanted = np.flatnonzero((kind == TELLING) | ((kind == QUIET) & ~bare))
        if len(wanted) > _WANTED * len(ends):
            self._prose = 0
        found = np.zeros(len(ends), dtype=np.int64)
        if len(wanted):
            skeletons = [line.translate(None, DIGITS) for line in cut.of(wanted)]
            numbers = self._look_up(skeletons)
            strange = np.flatnonzero(numbers < 0)
            strangers = [skeletons[i] for i in strange.tolist()]
            numbers[strange], _ = self._introduce(strangers, cut.lengths[wanted[strange]])
            found[wanted] = numbers
        return found

    def _look_up(self, skeletons: list[bytes]) -> Ints:
        numbers = map(self._known.get, skeletons, repeat(-1))
        return np.fromiter(numbers, dtype=np.int64, count=len(skeletons))

    def _introduce(self, strangers: list[bytes], lengths: Ints) -> tuple[Ints, int]:
        """(n,) the numbers of new skeletons, and how many there are.

        ``lengths``: (n,) those of the lines, which tell the lines without a digit.
        """
        fresh = list(dict.fromkeys(strangers))
        kinds = self._prefilter.candidates(fresh)
        if len(fresh) == len(strangers) >= _FEWEST and not kinds.any():
            return np.zeros(len(fresh), dtype=np.int64), len(fresh)  # they will not come again
        own = np.fromiter(map(len, strangers), dtype=np.int64, count=len(strangers))
        counted = {strangers[i] for i in np.flatnonzero(own != lengths).tolist()}
        passing = {s for s, k in zip(fresh, kinds.tolist(), strict=True) if k == QUIET} - counted
        known = dict.fromkeys(fresh, NOISE)
        for i in np.flatnonzero(kinds).tolist():
            if fresh[i] not in passing:
                known[fresh[i]] = FIRST + len(self.texts)
                self.texts.append(fresh[i] if len(fresh[i]) <= MAX_BYTES else b"")
        aside = {s: EACH if known[s] else NOISE for s in fresh if len(s) > MAX_BYTES}
        aside.update(dict.fromkeys(passing, NOISE))  # with digits they may matter
        for skeleton in aside:
            del known[skeleton]
        self._known.update(known)
        self._kept += sum(map(len, known)) + _OVERHEAD * len(known)
        found = self._look_up(strangers)
        for i in np.flatnonzero(found < 0).tolist():
            found[i] = aside[strangers[i]]
        return found, len(fresh)
