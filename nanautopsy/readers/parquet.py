"""Parquet tables with a counter: history exports of W&B, and metrics that people kept so.

A null in a column says that the row did not log that metric: it is no value, and neither is it
NaN. W&B's history artifact has a column a key, ``_step`` and ``_timestamp`` among them; texts such
as ``"NaN"`` are numbers there. Any other table needs a column that counts and one that is a
metric by its name; the rest are datasets, of which nothing but the footer is read.

Needs pyarrow, the extra ``parquet``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Artifact, Axis, Claim, FileHead, Record, Series, Skipped, Source
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._parquet import MAGIC, ParquetFile, Unreadable, open_parquet
from nanautopsy.readers._step_keys import axis_of, is_training_log, step_key
from nanautopsy.readers._tracks import Tracks
from nanautopsy.readers._wandb_values import NOT_METRICS, points
from nanautopsy.wording import phrase

_ROW = "_step"
_TIMES = ("_timestamp", "timestamp", "wall_time")
_EPOCH_SECONDS = (1e9, 1e11)
_WANDB_PATH = re.compile(r"wandb|(?:\A|/)\d{4}\.parquet\Z")
_MOST_COLUMNS = 5000
_LARGEST_STEP = 2.0**53


class _Parquet:
    name = "parquet"

    def claim(self, file: FileHead) -> Claim | None:
        if not file.head.startswith(MAGIC):
            return None
        # The columns stand at the end of the file; the name is all there is to tell.
        return Claim("wandb-parquet" if _WANDB_PATH.search(file.path) else "parquet", 95)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        try:
            file = open_parquet(artifact.location)
        except Unreadable as reason:
            yield Skipped(str(reason))
            return
        names = file.names[:_MOST_COLUMNS]
        key = _counter(names, artifact.kind == "wandb-parquet")
        if key is None:
            yield Skipped(phrase("a table without a step column and metrics: data, not a history"))
            return
        damage = Damage(artifact.path)
        if len(file.names) > len(names):
            damage.note(
                phrase("{count} further columns are left out", count=len(file.names) - len(names))
            )
        table = _Table(artifact.path, key)
        try:
            for columns in file.batches(_wanted(file, names, key)):
                table.add(columns)
        except Unreadable as reason:
            damage.note(str(reason))
        yield from table.series()
        yield from damage.problems()


def _counter(names: Sequence[str], is_wandb: bool) -> str | None:
    """The column that counts; ``None`` where the table is no history."""
    if _ROW in names and is_wandb:
        return _ROW  # Which counter is the training step is settled with the rest of the run.
    if _ROW in names or is_training_log(names):
        return step_key(names)
    return None


def _wanted(file: ParquetFile, names: Sequence[str], key: str) -> list[str]:
    """Columns that can hold numbers. Arrow tells the types, so datasets' blobs are not read."""
    import pyarrow.types as types

    def may_count(kind: Any) -> bool:
        plain = types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_decimal(kind)
        return bool(plain or text or types.is_struct(kind) or types.is_list(kind))

    schema = file.file.schema_arrow
    kinds = {name: schema.field(i).type for i, name in enumerate(file.names)}
    return [name for name in names if name == key or may_count(kinds[name])]


class _Table:
    """Columns in, series out."""

    def __init__(self, path: str, key: str) -> None:
        self._path = path
        self._key = key
        self._tracks = Tracks(path)
        self._rows = 0
        self._last = 0.0
        """The latest count, for rows without one."""

    def add(self, columns: dict[str, Any]) -> None:
        """Take in a batch of rows: Arrow arrays of equal length by name."""
        count = len(columns[self._key])
        steps = self._steps(_numbers(columns[self._key]), count)
        times = _times(columns, count)
        places = np.arange(self._rows, self._rows + count)
        for name, column in columns.items():
            if name == self._key or name in NOT_METRICS or column.null_count == count:
                continue
            values = _numbers(column)
            if values is not None:
                there = np.flatnonzero(~np.asarray(column.is_null()))
                self._tracks.add_block(
                    name, places[there], steps[there], values[there], times[there]
                )
                continue
            for row, value in enumerate(column.to_pylist()):
                for tag, number in () if value is None else points(name, value):
                    if number is not None:
                        at = int(places[row])
                        self._tracks.add(tag, at, int(steps[row]), number, float(times[row]))
        self._rows += count

    def series(self) -> Iterator[Series]:
        """The series, on what the key counts."""
        axis: Axis = axis_of(self._key)
        for one in self._tracks.series():
            unknown = one.times is None or bool(np.isnan(one.times).all())
            times = None if unknown else one.times
            yield Series(
                one.tag, one.steps, one.values, Source(self._path, tag=one.tag), times, axis=axis
            )

    def _steps(self, counts: NDArray[np.float64] | None, count: int) -> NDArray[np.int64]:
        """Whole steps; a row that states none belongs to the last that was stated."""
        if counts is None:
            counts = np.full(count, np.nan)
        sound = np.abs(counts) < _LARGEST_STEP
        latest = np.maximum.accumulate(np.where(sound, np.arange(count), -1))
        filled = np.where(latest >= 0, counts[np.maximum(latest, 0)], self._last)
        if count:
            self._last = float(filled[-1])
        return filled.astype(np.int64)


def _numbers(column: Any) -> NDArray[np.float64] | None:
    """(n,) the numbers of an Arrow array, NaN where it is null; ``None`` for other types."""
    import pyarrow.types as types

    kind = column.type
    if types.is_floating(kind) or types.is_integer(kind):
        found = column.cast("float64", safe=False).to_numpy(zero_copy_only=False)
        return np.asarray(found, dtype=np.float64)
    if types.is_boolean(kind) or types.is_decimal(kind):
        plain = [None if value is None else float(value) for value in column.to_pylist()]
        return np.array(plain, dtype=np.float64)
    return None


def _times(columns: dict[str, Any], count: int) -> NDArray[np.float64]:
    """(n,) seconds since 1970, NaN where no column tells."""
    for name in _TIMES:
        times = _numbers(columns[name]) if name in columns else None
        if times is not None:
            return np.where(
                (times > _EPOCH_SECONDS[0]) & (times < _EPOCH_SECONDS[1]), times, np.nan
            )
    return np.full(count, np.nan)


READER = _Parquet()
