"""A block of a log cut at its line ends, and the skeleton of every line: what is left without the
digits.

Lines of a log repeat with other numbers, so that millions of them have a few dozen skeletons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanautopsy.readers.text.rows import Ints

DIGITS = b"0123456789"
_ONE_LINE_END = bytes(10 if c == 13 else c for c in range(256))


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The pieces of a block between its line ends, without them: a progress bar that is painted
    over ends in ``\\r``, so one physical line may hold many."""

    data: bytes
    begins: Ints
    """(n,) offset of each in ``data``."""
    ends: Ints
    numbers: Ints
    """(n,) the physical line in which each begins."""
    skeletons: list[bytes]
    """(n,) each without its digits."""

    def __len__(self) -> int:
        return len(self.skeletons)

    def __getitem__(self, i: int) -> bytes:
        return self.data[self.begins[i] : self.ends[i]]

    def of(self, places: Ints, skip: int = 0) -> list[bytes]:
        """Several of them, without their first ``skip`` bytes."""
        data = self.data
        begins, ends = (self.begins[places] + skip).tolist(), self.ends[places].tolist()
        return [data[begin:end] for begin, end in zip(begins, ends, strict=True)]


def cut(data: bytes, first_line: int) -> Segments:
    """``first_line``: number of the physical line with which the data begin."""
    raw = np.frombuffer(data, dtype=np.uint8)
    is_mark = raw == 10
    if b"\r" in data:
        is_mark |= raw == 13
    marks = np.flatnonzero(is_mark)
    numbers = np.full(len(marks) + 1, first_line, dtype=np.int64)
    numbers[1:] += np.cumsum(raw[marks] == 10)
    return Segments(
        data,
        np.concatenate(([0], marks + 1)),
        np.concatenate((marks, [len(data)])),
        numbers,
        data.translate(_ONE_LINE_END, DIGITS).split(b"\n"),
    )
