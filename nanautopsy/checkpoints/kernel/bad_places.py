"""Where a tensor's non-finite elements lie: the first one, and in which rows."""

from __future__ import annotations

import math
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.kernel.layout import Layout
from nanautopsy.model import BadRows

MAX_RANGES = 16
_MAX_ROWS = 1 << 26
"""Rows that are marked one by one, a byte each; no embedding table comes near."""


class BadPlaces:
    """Collects the places of one tensor's non-finite elements, in any order, from any thread."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.first: int | None = None
        """Row-major index of the first one."""
        self.piece = 0
        """Number of the piece that holds it."""
        self._row_length = math.prod(shape[1:])
        told = len(shape) >= 2 and shape[0] <= _MAX_ROWS
        self._marks = np.zeros(shape[0], dtype=np.bool_) if told else None
        self._lock = Lock()

    def note(self, layout: Layout, piece: int, start: int, bad: NDArray[np.bool_]) -> None:
        """Take in the non-finite ones among a piece's stored elements ``start`` and following.

        At least one is.
        """
        every = bool(bad.all())
        if self.first is None or self.first > layout.base:  # no element comes before the base
            self._note_first(layout, piece, start, bad)
        marks = self._marks
        if marks is None:
            return
        if layout.repeats_rows is None:
            self._marks = None  # which rows a slice of an expanded tensor covers is not worked out
            return
        begin, end = layout.repeats_rows
        if end > begin:
            marks[begin:end] = True
        elif every and layout.rows_ascend:
            begin = layout.row_major(start) // self._row_length
            end = layout.row_major(start + len(bad) - 1) // self._row_length
            marks[begin : end + 1] = True
        elif every and layout.rows_cycle and len(bad) >= layout.axes[-1][0]:
            begin = layout.base // self._row_length
            marks[begin : begin + layout.axes[-1][0]] = True
        else:
            indices = layout.row_majors(start + np.flatnonzero(bad))
            marks[indices // self._row_length] = True

    def _note_first(self, layout: Layout, piece: int, start: int, bad: NDArray[np.bool_]) -> None:
        if layout.monotone:
            first = layout.row_major(start + int(bad.argmax()))
        else:
            first = int(layout.row_majors(start + np.flatnonzero(bad)).min())
        with self._lock:
            if self.first is None or first < self.first:
                self.first, self.piece = first, piece

    def rows(self, nonfinite: int) -> BadRows | None:
        """The rows that hold the tensor's ``nonfinite`` elements."""
        if self._marks is None:
            return None
        edges = np.flatnonzero(np.diff(self._marks.view(np.int8), prepend=0, append=0))
        count = int(np.count_nonzero(self._marks))
        runs = edges[: 2 * MAX_RANGES].reshape(-1, 2).tolist()
        return BadRows(
            count=count,
            ranges=tuple((begin, end) for begin, end in runs),
            whole=nonfinite == count * self._row_length,
        )
