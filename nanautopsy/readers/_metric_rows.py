"""Rows of named numbers to series, whatever carried them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Axis, Record, Series, Skipped
from nanautopsy.readers._cell_columns import Nested, Numbers, numbers_of, steps_of
from nanautopsy.readers._clock import clock_time
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._filler_cells import without_fillers
from nanautopsy.readers._json_numbers import leaves, number_of, parse_number
from nanautopsy.readers._layer_objects import LAYER_SET, family_of, is_layer, layer_suffix, of_lists
from nanautopsy.readers._process_columns import ProcessColumns
from nanautopsy.readers._step_keys import axis_of, rank_in_name, step_key, step_number
from nanautopsy.readers.columns import Columns
from nanautopsy.readers.text.epochs import every_batch
from nanautopsy.readers.text.words import counter_kind
from nanautopsy.wording import phrase

_TIME_KEYS = ("timestamp", "_timestamp", "wall_time", "Wall time", "time", "created_at", "datetime")
_EPOCH_SECONDS = (1e9, 1e11)
"""Between 2001 and 5138; smaller numbers are durations."""
_SPLIT_KEYS = ("mode", "split", "phase", "stage")
_SPLIT_SET = frozenset(_SPLIT_KEYS)
_EVALUATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})
_SETTLED_AFTER = 50
"""Rows after which the file's step field is no longer chosen anew."""
_MOST_TAGS = 20_000
"""Metrics of one file; more are left out, since a column costs memory before it holds a point."""


def _by_rows(series: list[Series]) -> list[Series]:
    """Rows of one epoch, whose batches are counted anew in each: only the rows count on. Where each
    batch has its row, and all epochs are as long, they count steps."""
    inner = [s for s in series if s.axis == "epoch" and counter_kind(s.tag) == "batch"]
    if not any(
        2 * len(np.unique(s.steps)) <= len(s) and len(np.unique(s.values)) > 1 for s in inner
    ):
        return series
    lines = [s.lines for s in series if s.axis == "epoch" and s.lines is not None]
    numbers = np.unique(np.concatenate(lines)) if lines else np.empty(0, np.int64)
    steps = _of_batches(inner, numbers)
    axis: Axis = "record" if steps is None else "step"
    places = np.arange(len(numbers)) if steps is None else steps
    return [
        s
        if s.axis != "epoch" or s.lines is None
        else replace(s, axis=axis, steps=places[np.searchsorted(numbers, s.lines)])
        for s in series
    ]


def _of_batches(inner: list[Series], numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Steps of the rows, where batches of whole epochs stand on all of them."""
    for batches in inner:
        if batches.lines is None or not np.array_equal(batches.lines, numbers):
            continue
        if np.isfinite(batches.values).all():
            return every_batch(batches.steps, batches.values.astype(np.int64))
    return None


class MetricRows:
    """Collects rows of one file. The step field is settled by the first rows that have one.

    A row without the settled field is placed by its own best one; a row without any counter by
    its number. Where a field of the row says that it is of an evaluation (mmengine's
    ``"mode": "val"``), its metrics are kept apart under ``val/``; where one names a layer, they are
    that layer's: ``act_max/layers.2``.
    """

    def __init__(self, path: str, key: str | None = None, samples: bool = False) -> None:
        """``key``: the step field where it is known; ``samples``: it counts samples."""
        self.columns = Columns(path)
        self._processes = ProcessColumns(path)
        self.rows = 0
        self.left_out = False
        self._tags: set[str] = set()
        self._rank = rank_in_name(path)
        self._family = family_of(path.rpartition("/")[2].partition(".")[0])
        self._counts: dict[str, int] = {}
        self._key = key
        self._is_fixed = key is not None
        self._samples = samples
        self._fractions = False

    def add(self, row: Mapping[str, Any], line: int | None = None) -> None:
        """Append the numeric leaves of one row."""
        if step_key(row) is None and dict in map(type, row.values()):
            row = _flat(row)  # the counter may stand deeper
        place, axis, key = self._place(row)
        if axis == "step":
            self._processes.see(row, place)
        time_key, time = _time_of(row)
        prefix, suffix = _evaluation_prefix(row), layer_suffix(row)
        if suffix:
            prefix += self._family
        members = of_lists(row, self._family) if list in map(type, row.values()) else ()
        for tag, value in chain(_numbers(row), members):
            if tag != key and tag != time_key and self._admit(tag + suffix):
                tag = prefix + (tag if suffix else self._of_file(tag)) + suffix
                self.columns.add(
                    tag, place, value, time=time, line=line, axis=axis, rank=self._rank
                )
        self.rows += 1

    def add_block(
        self,
        names: Sequence[str],
        columns: Sequence[Sequence[Any]],
        lines: NDArray[np.int64],
        nulls: frozenset[str] = frozenset(),
    ) -> bool:
        """Append many rows of the same fields at once, given by column; False, and nothing done,
        where a row must be looked at on its own.

        ``lines``: (rows,) their places; ``nulls``: texts in lower case that are explicit nulls.
        """
        placed = self._place_block(names, columns)
        if placed is None:
            return False
        steps, axis, key = placed
        try:
            found = {
                name: numbers_of(column, nulls)
                for name, column in zip(names, columns, strict=True)
                if name not in (key, "best_metric")
            }
        except Nested:
            return False
        times, time_key = _times_of(found)
        if times is None and time_key is None:
            times = _clock_times(names, columns)
        if times is None and time_key is not None:
            return False
        for tag, numbers in found.items():
            if tag != time_key and len(numbers.values) and self._admit(tag):
                at = slice(None) if numbers.rows is None else numbers.rows
                self.columns.add_block(
                    self._of_file(tag),
                    steps[at],
                    numbers.values,
                    times=None if times is None else times[at],
                    lines=lines[at],
                    missing=numbers.nulls,
                    axis=axis,
                    rank=self._rank,
                )
        if axis == "step":
            self._processes.see_block(names, columns, steps)
        self.rows += len(lines)
        return True

    def _place_block(
        self, names: Sequence[str], columns: Sequence[Sequence[Any]]
    ) -> tuple[NDArray[np.int64], Axis, str | None] | None:
        """Steps, axis and step field of many rows; ``None`` where they differ in it."""
        if not (_SPLIT_SET | LAYER_SET).isdisjoint(names):
            return None
        if not self._is_fixed and self.rows < _SETTLED_AFTER:
            return None
        key = self._key if self._key in names else step_key(names)
        if key is None:
            if not any(all(column) for column in columns):
                return None  # a row may be empty, and empty rows are not counted
            return self.rows + np.arange(len(columns[0])), "record", None
        axis = axis_of(key)
        steps = steps_of(columns[names.index(key)])
        if steps is None or (axis == "epoch" and self._fractions):
            return None
        return steps, "samples" if self._samples else axis, key

    def _of_file(self, tag: str) -> str:
        """A layer's column in a file that says of what its columns are: ``grad_norms.csv``."""
        return f"{self._family}norm/{tag}" if self._family and is_layer(tag) else tag

    def _admit(self, tag: str) -> bool:
        if tag not in self._tags:
            if len(self._tags) >= _MOST_TAGS:
                self.left_out = True
                return False
            self._tags.add(tag)
        return True

    def records(self, damage: Damage) -> Iterator[Record]:
        """The series, then what was damaged; ``Skipped`` when there is neither."""
        if self.left_out:
            damage.note(phrase("more than {most} metrics; the rest is left out", most=_MOST_TAGS))
        series = _by_rows(without_fillers(list(self.columns.series())))
        problems = list(damage.problems())
        if not series and not problems:
            yield Skipped(phrase("no number in it"))
        yield from series
        yield from self._processes.events()
        yield from problems

    def _place(self, row: Mapping[str, Any]) -> tuple[int, Axis, str | None]:
        key = self._settled(row)
        if key is not None:
            place = self._count(row, key)
            if place is None:
                key = step_key(name for name in row if name != key)
                place = None if key is None else self._count(row, key)
            if place is not None:
                return *place, key
        return self.rows, "record", None

    def _count(self, row: Mapping[str, Any], key: str) -> tuple[int, Axis] | None:
        """Where the row's own field ``key`` places it."""
        step = step_number(row.get(key))
        if step is None:
            # Epochs in fractions do not count rows, and 1.0 among them is no count either.
            self._fractions |= number_of(row.get(key)) is not None
            return None
        axis = axis_of(key)
        if axis == "epoch" and self._fractions:
            return None
        return step, "samples" if self._samples else axis

    def _settled(self, row: Mapping[str, Any]) -> str | None:
        """The file's step field when the row has it, else the row's own."""
        if self._key is not None and self._key in row:
            return self._key
        own = step_key(row)
        if own is not None and not self._is_fixed and self.rows < _SETTLED_AFTER:
            self._counts[own] = self._counts.get(own, 0) + 1
            self._key = max(self._counts, key=lambda name: self._counts[name])
        return own


_Times: TypeAlias = "tuple[NDArray[np.float64] | None, str | None]"


def _times_of(found: Mapping[str, Numbers]) -> _Times:
    """Seconds since 1970 of all rows and the field that tells them; a field alone when it tells
    those of some rows only."""
    for key in _TIME_KEYS:
        numbers = found.get(key)
        if numbers is None or not len(numbers.values):
            continue
        late = numbers.values > _EPOCH_SECONDS[1]
        seconds = np.where(late, numbers.values / 1000, numbers.values)
        known = (seconds > _EPOCH_SECONDS[0]) & (seconds < _EPOCH_SECONDS[1])
        if known.any():
            return (seconds if numbers.rows is None and known.all() else None), key
    return None, None


def _clock_times(
    names: Sequence[str], columns: Sequence[Sequence[Any]]
) -> NDArray[np.float64] | None:
    """The same of times written as text; NaN in a row that has none."""
    for key in _TIME_KEYS:
        column = columns[names.index(key)] if key in names else ()
        if len(column) and isinstance(column[0], str) and clock_time(column[0]) is not None:
            read = (clock_time(cell) if isinstance(cell, str) else None for cell in column)
            return np.array([np.nan if time is None else time for time in read])
    return None


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for tag, value in row.items():
        flat.update(leaves(value, tag) if isinstance(value, dict) else ((tag, value),))
    return flat


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """What :func:`leaves` gives, without its detours for cells and plain floats."""
    for tag, value in row.items():
        kind = type(value)
        if kind is float and tag != "best_metric":
            yield tag, value
        elif kind is str:
            number = parse_number(value)
            if number is not None:
                yield tag, number
        else:
            yield from leaves({tag: value})


def _evaluation_prefix(row: Mapping[str, Any]) -> str:
    for key in _SPLIT_KEYS:
        split = row.get(key)
        if isinstance(split, str) and split.lower() in _EVALUATION:
            return split + "/"
    return ""


def _time_of(row: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """The field that tells the time, and its seconds since 1970."""
    for key in _TIME_KEYS:
        value = row.get(key)
        if isinstance(value, str) and (moment := clock_time(value)) is not None:
            return key, moment
        time = number_of(value) if key in row else None
        if time is not None:
            if time > _EPOCH_SECONDS[1]:
                time /= 1000  # JavaScript's milliseconds
            if _EPOCH_SECONDS[0] < time < _EPOCH_SECONDS[1]:
                return key, time
    return None, None
