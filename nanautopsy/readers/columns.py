"""Columns that grow while a reader streams, and become series at its end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Axis, Series, Source


@dataclass(slots=True)
class _Column:
    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    missing: array[int] = field(default_factory=lambda: array("b"))


class Columns:
    """Collects points by (tag, axis, rank): 33 bytes a point, no Python object kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._columns: dict[tuple[str, Axis, int | None], _Column] = {}

    def add(
        self,
        tag: str,
        step: int,
        value: float | None,
        *,
        time: float | None = None,
        line: int | None = None,
        axis: Axis = "step",
        rank: int | None = None,
    ) -> None:
        """Append one point; a ``value`` of ``None`` is an explicit null in the artifact."""
        column = self._columns.get((tag, axis, rank))
        if column is None:
            column = self._columns[tag, axis, rank] = _Column()
        column.steps.append(step)
        column.values.append(float("nan") if value is None else value)
        column.times.append(float("nan") if time is None else time)
        column.lines.append(-1 if line is None else line)
        column.missing.append(value is None)

    def add_block(
        self,
        tag: str,
        steps: NDArray[np.int64],
        values: NDArray[np.float64],
        *,
        times: NDArray[np.float64] | None = None,
        lines: NDArray[np.int64] | None = None,
        missing: NDArray[np.bool_] | None = None,
        axis: Axis = "step",
        rank: int | None = None,
    ) -> None:
        """Append points (n,), as ``add`` does one; ``missing``: where the artifact has a null."""
        column = self._columns.get((tag, axis, rank))
        if column is None:
            column = self._columns[tag, axis, rank] = _Column()
        count = len(steps)
        column.steps.frombytes(np.ascontiguousarray(steps, np.int64).tobytes())
        column.values.frombytes(np.ascontiguousarray(values, np.float64).tobytes())
        times = np.full(count, np.nan) if times is None else np.ascontiguousarray(times, np.float64)
        column.times.frombytes(times.tobytes())
        lines = np.full(count, -1) if lines is None else lines
        column.lines.frombytes(np.ascontiguousarray(lines, np.int64).tobytes())
        missing = np.zeros(count, np.bool_) if missing is None else missing
        column.missing.frombytes(np.ascontiguousarray(missing, np.int8).tobytes())

    def series(self) -> Iterator[Series]:
        """The series in order of first appearance. They are the columns, which therefore take no
        more points."""
        for (tag, axis, rank), column in self._columns.items():
            if not column.steps:
                continue
            times = np.frombuffer(column.times, dtype=np.float64)
            lines = np.frombuffer(column.lines, dtype=np.int64)
            missing = np.frombuffer(column.missing, dtype=np.bool_)
            yield Series(
                tag=tag,
                steps=np.frombuffer(column.steps, dtype=np.int64),
                values=np.frombuffer(column.values, dtype=np.float64),
                source=Source(self._path, tag=tag),
                times=None if np.isnan(times).all() else times,
                lines=None if (lines < 0).all() else lines,
                missing=missing if missing.any() else None,
                axis=axis,
                rank=rank,
            )
