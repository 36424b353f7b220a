"""A block of a log cut at its line ends, and the skeleton of every line: what is left without the
digits.

Lines of a log repeat with other numbers, so that millions of them have a few dozen skeletons.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from nanautopsy.readers.text.rows import Ints

DIGITS = b"0123456789"
_ONE_LINE_END = bytes(10 if c == 13 else c for c in range(256))
_LOWER = _ONE_LINE_END.lower()


class Segments:
    """The pieces of a block between its line ends, without them: a progress bar that is painted
    over ends in ``\\r``, so one physical line may hold many.

    A block in which nothing is of interest is never cut.
    """

    def __init__(self, data: bytes, first_line: int) -> None:
        """``first_line``: number of the physical line with which the data begin."""
        self.data = data
        self._first_line = first_line

    @cached_property
    def _marks(self) -> Ints:
        raw = np.frombuffer(self.data, dtype=np.uint8)
        is_mark = raw == 10
        if b"\r" in self.data:
            is_mark |= raw == 13
        return np.flatnonzero(is_mark)

    @cached_property
    def begins(self) -> Ints:
        """(n,) offset of each in ``data``."""
        return np.concatenate(([0], self._marks + 1))

    @cached_property
    def ends(self) -> Ints:
        """(n,) offset behind each in ``data``."""
        return np.concatenate((self._marks, [len(self.data)]))

    @property
    def lengths(self) -> Ints:
        """(n,) bytes of each."""
        return self.ends - self.begins

    @cached_property
    def numbers(self) -> Ints:
        """(n,) the physical line in which each begins."""
        numbers = np.full(len(self), self._first_line, dtype=np.int64)
        raw = np.frombuffer(self.data, dtype=np.uint8)
        numbers[1:] += np.cumsum(raw[self._marks] == 10)
        return numbers

    @property
    def skeletons(self) -> list[bytes]:
        """(n,) each without its digits."""
        return self.data.translate(_ONE_LINE_END, DIGITS).split(b"\n")

    @property
    def lower(self) -> bytes:
        """The skeletons in lower case, with one line end between each two."""
        return self.data.translate(_LOWER, DIGITS)

    def __len__(self) -> int:
        return len(self._marks) + 1

    def __getitem__(self, i: int) -> bytes:
        return self.data[self.begins[i] : self.ends[i]]

    def of(self, places: Ints, skip: int = 0) -> list[bytes]:
        """Several of them, without their first ``skip`` bytes."""
        data = self.data
        begins, ends = (self.begins[places] + skip).tolist(), self.ends[places].tolist()
        return [data[begin:end] for begin, end in zip(begins, ends, strict=True)]
