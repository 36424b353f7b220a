"""W&B's history: rows of numbers in, series out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Series, Source
from nanautopsy.readers import _wandb_proto as proto
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._json_numbers import number_of
from nanautopsy.readers._protowire import WireError
from nanautopsy.readers._wandb_items import HistoryBatch, Numbers, path_of
from nanautopsy.readers._wandb_values import NOT_METRICS, points, whole
from nanautopsy.wording import phrase

_MOST_TAGS = 100_000
_LARGEST_STEP = 2**62
_EXACT = 2.0**53
"""Larger whole numbers are not all float64."""

_Block = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]


@dataclass(slots=True)
class _Track:
    """One metric: blocks of (rows, values, missing), and single points."""

    blocks: list[_Block] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    missing: array[int] = field(default_factory=lambda: array("b"))

    def columns(self) -> _Block:
        """In order of rows; of several points of one row the last counts."""
        singles = (
            np.array(self.rows, dtype=np.int64),
            np.array(self.values, dtype=np.float64),
            np.array(self.missing, dtype=np.bool_),
        )
        rows, values, missing = (
            np.concatenate(column) for column in zip(*self.blocks, singles, strict=True)
        )
        if (np.diff(rows) <= 0).any():
            order = np.argsort(rows, kind="stable")
            order = order[np.append(np.diff(rows[order]) > 0, True)]
            return rows[order], values[order], missing[order]
        return rows, values, missing


@dataclass(slots=True)
class _Places:
    """Where rows (n,) stand."""

    steps: NDArray[np.int64]
    known: NDArray[np.bool_]
    """Whether the row states its step."""
    stamps: NDArray[np.float64]
    """Seconds since 1970; NaN where the row does not say."""
    runtimes: NDArray[np.float64]
    """Seconds since the run started; NaN likewise."""

    @classmethod
    def unknown(cls, count: int) -> _Places:
        """Of rows that have said nothing yet."""
        nothing = np.full(count, np.nan)
        return cls(np.zeros(count, np.int64), np.zeros(count, np.bool_), nothing, nothing.copy())


class History:
    """Collects rows: 17 bytes a point, 25 a row."""

    def __init__(self, path: str) -> None:
        self.rows = 0
        self.left_out = 0
        """Points of keys beyond the first 100 000."""
        self.started: float | None = None
        """When the run started, seconds since 1970."""
        self._path = path
        self._tracks: dict[str, _Track] = {}
        self._places: list[_Places] = []

    def add(self, batch: HistoryBatch, offsets: Sequence[int], damage: Damage) -> None:
        """Take in rows; ``offsets``: where each row's record stands in the file."""
        places = _Places.unknown(len(batch))
        for part in batch.numbers():
            self._add_numbers(part, places)
        for row, message in batch.rest():
            items: dict[str, Any] = {}
            try:
                proto.add_items(items, message)
            except WireError as error:
                damage.note(
                    phrase("a record that is broken inside: {error}", error=error), offsets[row]
                )
            self._add_items(row, items, places)
        for row in np.flatnonzero(~places.known).tolist():
            self._look_for_step(row, batch.message(row), places)
        self._finish(places)

    def add_row(self, items: Mapping[str, Any]) -> None:
        """One row of nested items, as the summary holds them."""
        places = _Places.unknown(1)
        self._add_items(0, items, places)
        self._finish(places)

    def series(self) -> Iterator[Series]:
        """The series in order of first appearance, those without steps apart."""
        if not self._places:
            return
        steps = np.concatenate([part.steps for part in self._places])
        known = np.concatenate([part.known for part in self._places])
        times = np.concatenate([part.stamps for part in self._places])
        found = [(tag, self._tracks.pop(tag).columns()) for tag in list(self._tracks)]
        for tag, (rows, values, missing) in sorted(found, key=lambda item: int(item[1][0][0])):
            for which in (True, False):
                chosen = known[rows] == which
                if not chosen.any():
                    continue
                here = rows[chosen]
                nulls, stamps = missing[chosen], times[here]
                yield Series(
                    tag=tag,
                    steps=steps[here] if which else here,
                    values=values[chosen],
                    source=Source(self._path, tag=tag),
                    times=None if np.isnan(stamps).all() else stamps,
                    missing=nulls if nulls.any() else None,
                    axis="step" if which else "record",
                )

    def _finish(self, places: _Places) -> None:
        if self.started is not None:
            unstamped = np.isnan(places.stamps)
            places.stamps[unstamped] = self.started + places.runtimes[unstamped]
        self._places.append(places)
        self.rows += len(places.steps)

    def _add_numbers(self, part: Numbers, places: _Places) -> None:
        path = path_of(part.key)
        if path == ["_step"]:
            sound = ~part.missing & (np.abs(part.values) < _EXACT)
            places.steps[part.rows[sound]] = part.values[sound].astype(np.int64)
            places.known[part.rows[sound]] = True
        elif path == ["_timestamp"]:
            places.stamps[part.rows] = np.where(part.missing, np.nan, part.values)
        elif path == ["_runtime"]:
            places.runtimes[part.rows] = np.where(part.missing, np.nan, part.values)
        if path and path[0] not in NOT_METRICS:
            track = self._track(".".join(path), len(part.rows))
            if track is not None:
                values = np.where(part.missing, np.nan, part.values)
                track.blocks.append((part.rows + self.rows, values, part.missing))

    def _add_items(self, row: int, items: Mapping[str, Any], places: _Places) -> None:
        step = whole(items.get("_step"))
        if step is not None:
            places.steps[row], places.known[row] = step, True
        for name, column in (("_timestamp", places.stamps), ("_runtime", places.runtimes)):
            number = number_of(items.get(name))
            if number is not None:
                column[row] = number
        for key, item in items.items():
            if key not in NOT_METRICS:
                for tag, number in points(key, item):
                    self._add_point(tag, row, number)

    def _add_point(self, tag: str, row: int, number: float | None) -> None:
        track = self._track(tag, 1)
        if track is not None:
            track.rows.append(row + self.rows)
            track.values.append(float("nan") if number is None else number)
            track.missing.append(number is None)

    def _track(self, tag: str, count: int) -> _Track | None:
        track = self._tracks.get(tag)
        if track is None:
            if len(self._tracks) >= _MOST_TAGS:
                self.left_out += count
                return None
            track = self._tracks[tag] = _Track()
        return track

    def _look_for_step(self, row: int, message: bytes, places: _Places) -> None:
        """A step beyond float64, or the record's own field where no item says it (wandb 0.19)."""
        items: dict[str, Any] = {}
        with suppress(WireError):
            proto.add_items(items, message)
        step = whole(items.get("_step"))
        with suppress(WireError):
            if step is None:
                step = next((proto.numbers(p).get(1, 0) for p in proto.parts(message, 2)), None)
        if step is not None and abs(step) < _LARGEST_STEP:
            places.steps[row], places.known[row] = step, True
