"""Which skeletons of lines are known, and which of those can never matter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat

import numpy as np

from nanautopsy.readers.text.prefilter import Prefilter
from nanautopsy.readers.text.rows import Ints
from nanautopsy.readers.text.segments import DIGITS

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
_PROSE = 1000
"""New lines at once of which no two are alike."""
_OVERHEAD = 200
"""Bytes that a kept skeleton takes beside its own."""


@lru_cache(maxsize=4)
def _prefilter(words: frozenset[str]) -> Prefilter:
    """Made once for all logs: it takes longer than to read a short one."""
    return Prefilter(words)


class Skeletons:
    """Numbers skeletons, and tells those that hold no dialect's trigger."""

    def __init__(self, triggers: Iterable[str]) -> None:
        """``triggers``: lower-case ASCII words. Their digits are no part of a skeleton."""
        digits = str.maketrans("", "", DIGITS.decode())
        self._prefilter = _prefilter(frozenset(t.translate(digits) for t in triggers))
        self._known: dict[bytes, int] = {}
        self._kept = 0
        self.texts: list[bytes] = []
        """By number, less :data:`FIRST`."""
        self.generation = 0
        """How often the numbers were given anew."""

    def numbers(self, skeletons: list[bytes]) -> Ints:
        """(n,) the number of each."""
        if self._kept > _MAX_KEPT_BYTES:
            self._known.clear()
            self.texts = []
            self._kept = 0
            self.generation += 1
        found = self._look_up(skeletons, -1)
        strange = np.flatnonzero(found < 0)
        if len(strange):
            strangers = [skeletons[i] for i in strange.tolist()]
            found[strange] = self._introduce(strangers)
        return found

    def silence(self, number: int) -> None:
        """From now on it is noise."""
        self._known[self.texts[number - FIRST]] = NOISE

    def charge(self, count: int) -> None:
        """Memory is used for what was learned of a skeleton."""
        self._kept += count

    def _look_up(self, skeletons: list[bytes], default: int) -> Ints:
        numbers = map(self._known.get, skeletons, repeat(default))
        return np.fromiter(numbers, dtype=np.int64, count=len(skeletons))

    def _introduce(self, strangers: list[bytes]) -> Ints:
        fresh = list(dict.fromkeys(strangers))
        wanted = self._prefilter.candidates(fresh)
        if len(fresh) == len(strangers) > _PROSE and not wanted.any():
            return np.zeros(len(fresh), dtype=np.int64)  # text that will not come again
        known = dict.fromkeys(fresh, NOISE)
        for i in np.flatnonzero(wanted).tolist():
            known[fresh[i]] = FIRST + len(self.texts)
            self.texts.append(fresh[i] if len(fresh[i]) <= MAX_BYTES else b"")
        overlong = {
            skeleton: EACH if known[skeleton] else NOISE
            for skeleton in fresh
            if len(skeleton) > MAX_BYTES
        }
        for skeleton in overlong:
            del known[skeleton]
        self._known.update(known)
        self._kept += sum(map(len, known)) + _OVERHEAD * len(known)
        found = self._look_up(strangers, -1)
        for i in np.flatnonzero(found < 0).tolist():
            found[i] = overlong[strangers[i]]
        return found
