"""Rows of named numbers to series, whatever carried them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nanautopsy.model import Axis, Record, Skipped
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._json_numbers import leaves, number_of, parse_number
from nanautopsy.readers._step_keys import axis_of, rank_in_name, step_key, step_number
from nanautopsy.readers.columns import Columns

_TIME_KEYS = ("timestamp", "_timestamp", "wall_time", "Wall time", "time", "created_at")
_EPOCH_SECONDS = (1e9, 1e11)
"""Between 2001 and 5138; smaller numbers are durations."""
_SPLIT_KEYS = ("mode", "split", "phase", "stage")
_EVALUATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})
_SETTLED_AFTER = 50
"""Rows after which the file's step field is no longer chosen anew."""
_MOST_TAGS = 20_000
"""Metrics of one file; more are left out, since a column costs memory before it holds a point."""


class MetricRows:
    """Collects rows of one file. The step field is settled by the first rows that have one.

    A row without the settled field is placed by its own best one; a row without any counter by
    its number. Where a field of the row says that it is of an evaluation (mmengine's
    ``"mode": "val"``), its metrics are kept apart under ``val/``.
    """

    def __init__(self, path: str, key: str | None = None, samples: bool = False) -> None:
        """``key``: the step field where it is known; ``samples``: it counts samples."""
        self.columns = Columns(path)
        self.rows = 0
        self.left_out = False
        self._tags: set[str] = set()
        self._rank = rank_in_name(path)
        self._counts: dict[str, int] = {}
        self._key = key
        self._is_fixed = key is not None
        self._samples = samples
        self._fractions = False

    def add(self, row: Mapping[str, Any], line: int | None = None) -> None:
        """Append the numeric leaves of one row."""
        place, axis, key = self._place(row)
        time_key, time = _time_of(row)
        prefix = _evaluation_prefix(row)
        for tag, value in _numbers(row):
            if tag != key and tag != time_key and self._admit(tag):
                tag = prefix + tag if prefix else tag
                self.columns.add(
                    tag, place, value, time=time, line=line, axis=axis, rank=self._rank
                )
        self.rows += 1

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
            damage.note(f"more than {_MOST_TAGS} metrics; the rest is left out")
        series = list(self.columns.series())
        problems = list(damage.problems())
        if not series and not problems:
            yield Skipped("no number in it")
        yield from series
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
        time = number_of(row[key]) if key in row else None
        if time is not None:
            if time > _EPOCH_SECONDS[1]:
                time /= 1000  # JavaScript's milliseconds
            if _EPOCH_SECONDS[0] < time < _EPOCH_SECONDS[1]:
                return key, time
    return None, None
