"""Trackers that keep a run in an SQLite file: MLflow's ``mlflow.db`` and Trackio's projects.

MLflow's table ``metrics`` writes NaN as 0 with ``is_nan`` set, and infinity as the largest float
(``store/tracking/sqlalchemy_store.py``). Trackio's holds a JSON object a row, where NaN and
infinity are the texts that JavaScript has for them; its ``step`` counts its own rows.

The file is opened read-only and as it is. Where a write-ahead log lies beside it, as after a crash,
both are copied first, since reading the log would write into the directory of the run.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    FileHead,
    Problem,
    Record,
    Skipped,
    Source,
)
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._metric_rows import MetricRows
from nanautopsy.readers.columns import Columns
from nanautopsy.wording import phrase

_MAGIC = b"SQLite format 3\0"
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_MOST_COPIED = 1 << 30
_MOST_ROWS = 50_000_000
_MOST_RUNS = 1000
_MOST_OPERATIONS = 100_000
"""Thousands of steps of SQLite's machine, for what a hostile schema would have it do."""
_LARGEST = sys.float_info.max
_PRIVATE = frozenset({"_Username", "_Created", "_Group"})


class TrackerDatabaseReader:
    """Claims every SQLite file, and the write-ahead log beside one."""

    name = "tracker-database"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name.endswith("-wal") and file.head[:4] in _LOG_MAGIC:
            return Claim("tracker-database", 60, file.name.removesuffix("-wal"))
        # Where the schema stands in the file, nothing in its head says.
        is_database = file.head.startswith(_MAGIC)
        return Claim("tracker-database", 60, file.name) if is_database else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series and settings of every run in the database."""
        members = {path: place for path, place in artifact.members if isinstance(place, Path)}
        path = next((path for path in members if not path.endswith("-wal")), None)
        if path is None:
            yield Skipped(phrase("a write-ahead log without its database"))
            return
        with ExitStack() as stack:
            location = members[path]
            if len(members) > 1:
                if artifact.bytes > _MOST_COPIED:
                    yield Problem(
                        phrase("too large to be read with its write-ahead log"), Source(path)
                    )
                else:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    for place in members.values():
                        shutil.copyfile(place, folder / place.name)
                    location = folder / location.name
            how = "immutable=1" if location == members[path] else "mode=rw"
            uri = f"{location.resolve().as_uri()}?{how}"
            connection = stack.enter_context(closing(sqlite3.connect(uri, uri=True)))
            yield from _read(path, connection)


READER = TrackerDatabaseReader()


def _read(path: str, connection: sqlite3.Connection) -> Iterator[Record]:
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    operations = 0

    def too_long() -> int:
        nonlocal operations
        operations += 1
        return int(operations > _MOST_OPERATIONS)

    connection.set_progress_handler(too_long, 1000)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        tables = {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in ("metrics", "params", "configs")
            if _is_table(connection, name)
        }
    except sqlite3.Error as error:
        yield Skipped(phrase("cannot be read as a database: {error}", error=error))
        return
    metrics = tables.get("metrics", set())
    if {"run_uuid", "key", "step", "timestamp", "value", "is_nan"} <= metrics:
        yield from _mlflow(path, connection, "params" in tables)
    elif {"run_name", "step", "metrics", "timestamp"} <= metrics:
        yield from _trackio(path, connection, "configs" in tables)
    else:
        yield Skipped(phrase("a database, but of no tracker that is known"))


def _is_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether it is one, and no view with a query of its own."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def _rows(connection: sqlite3.Connection, query: str, damage: Damage) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, as far as the file is whole."""
    count = 0
    try:
        for row in connection.execute(query):
            count += 1
            if count > _MOST_ROWS:
                damage.note(phrase("more than {most} rows; the rest is left out", most=_MOST_ROWS))
                return
            yield row
    except sqlite3.Error as error:
        damage.note(phrase("after {count} rows: {error}", count=count, error=error))


def _mlflow(path: str, connection: sqlite3.Connection, has_params: bool) -> Iterator[Record]:
    damage = Damage(path)
    runs: dict[str, Columns] = {}
    several = _several(connection, "run_uuid")
    query = "SELECT run_uuid, key, step, timestamp, value, is_nan FROM metrics"
    for run, key, step, time, value, is_nan in _rows(connection, query, damage):
        columns = runs.get(run)
        if columns is None:
            if len(runs) >= _MOST_RUNS:
                continue
            columns = runs[run] = Columns(_path_of(path, run, several))
        if isinstance(step, int) and isinstance(value, (int, float)) and abs(step) < 1 << 53:
            number = float("nan") if is_nan else _unbounded(float(value))
            seconds = time / 1000 if isinstance(time, (int, float)) else None
            columns.add(str(key), step, number, time=seconds)
    for columns in runs.values():
        yield from columns.series()
    if has_params:
        settings: dict[str, dict[str, str]] = {}
        query = "SELECT run_uuid, key, value FROM params"
        for run, key, value in _rows(connection, query, damage):
            settings.setdefault(str(run), {})[str(key)] = str(value)
        for run, values in list(settings.items())[:_MOST_RUNS]:
            yield ConfigRecord("mlflow", values, Source(_path_of(path, run, several)))
    yield from damage.problems()


def _unbounded(value: float) -> float:
    return value if abs(value) < _LARGEST else float("inf") if value > 0 else float("-inf")


def _trackio(path: str, connection: sqlite3.Connection, has_configs: bool) -> Iterator[Record]:
    damage = Damage(path)
    runs: dict[str, MetricRows] = {}
    several = _several(connection, "run_name")
    query = "SELECT run_name, step, timestamp, metrics FROM metrics"
    for run, step, time, text in _rows(connection, query, damage):
        values = _object(text)
        if values is None:
            damage.note(phrase("a row of run {run!r} is no JSON object", run=run))
            continue
        rows = runs.get(run)
        if rows is None:
            if len(runs) >= _MOST_RUNS:
                continue
            rows = runs[run] = MetricRows(_path_of(path, str(run), several))
        rows.add({"_step": step, "_timestamp": _seconds(time), **values})
    for rows in runs.values():
        yield from rows.columns.series()
    if has_configs:
        for run, text in _rows(connection, "SELECT run_name, config FROM configs", damage):
            values = _object(text) or {}
            flat = flatten({key: v for key, v in values.items() if key not in _PRIVATE})
            if flat:
                yield ConfigRecord("trackio", flat, Source(_path_of(path, str(run), several)))
    yield from damage.problems()


def _several(connection: sqlite3.Connection, column: str) -> bool:
    """Whether the database holds more than one run."""
    try:
        found = connection.execute(f"SELECT DISTINCT {column} FROM metrics LIMIT 2").fetchall()
    except sqlite3.Error:
        return True
    return len(found) > 1


def _path_of(path: str, run: str, several: bool) -> str:
    """Where a run is cited: in the file, and among several under its name."""
    return f"{path}#{run}" if several else path


def _object(text: object) -> dict[str, Any] | None:
    if not isinstance(text, (bytes, str)):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(time: object) -> float | None:
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except (ValueError, OverflowError):
        return None
