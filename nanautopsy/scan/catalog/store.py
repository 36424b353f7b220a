"""The catalog itself: opened, asked what it knows, and told what a scan found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from sys import intern
from types import TracebackType
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Table,
    bindparam,
    delete,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from nanautopsy.scan.catalog import schema
from nanautopsy.scan.catalog.connection import connect, write
from nanautopsy.scan.catalog.location import Location, locate
from nanautopsy.scan.catalog.rows import Row, detail_rows, given, run_row, stored
from nanautopsy.scan.catalog.tables import DETAILS, DOCUMENTS, FILES, RUNS
from nanautopsy.scan.catalog.trouble import CatalogTrouble, explained
from nanautopsy.scan.kinds import Told
from nanautopsy.scan.results import Known, Outcome, ScanResult

_AT_ONCE = 500
"""Keys in one statement: SQLite before 3.32 takes 999 values."""
_MAGIC = b"SQLite format 3\0"


class Catalog:
    """What scans found, kept. Use as a context manager; every method raises
    :class:`CatalogTrouble` where the database fails."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine = engine
        self.label = label
        """The path as it was given, or the URL without its password."""

    @classmethod
    def open(cls, url_or_path: str | os.PathLike[str], *, create: bool = True) -> Catalog:
        """The catalog at a path, or at ``postgresql://user@host/name``.

        ``create=True``: to write; it is made where there is none. ``create=False``: to read; it
        must be there, and its directory may be read-only. A catalog of an older version is brought
        to this one. Raises :class:`CatalogTrouble` where it is none, is of a newer version, or
        cannot be reached, read or (with ``create``) written.
        """
        location = locate(url_or_path)
        with explained(location.label):
            _refuse_other_files(location, create)
            engine = _ready_to_write(location) if create else _ready_to_read(location)
        return cls(engine, location.label)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the catalog from beginning to end."""
        with explained(self.label), self._engine.connect() as connection:
            yield connection

    def known(self, archive: str) -> dict[str, Known]:
        """What is held of each run of an archive, by its root."""
        columns = (RUNS.c.root, RUNS.c.fingerprint, RUNS.c.rules, RUNS.c.outcome)
        query = select(*columns).where(RUNS.c.archive == stored(archive))
        with self.reading() as connection:
            # Few different rules and outcomes among many runs: one copy of each.
            return {
                given(root): Known(fingerprint, intern(rules), cast("Outcome", intern(outcome)))
                for root, fingerprint, rules, outcome in connection.execute(query)
            }

    def record(self, results: Iterable[ScanResult]) -> None:
        """Keep the results, all or none; what was held of the same runs is replaced."""
        # In one order for all writers: two that hold rows the other waits for would never end.
        newest = {(result.archive, result.root): result for result in results}
        ordered = [newest[place] for place in sorted(newest)]
        if not ordered:
            return
        with explained(self.label):
            write(self._engine, lambda connection: _replace(connection, ordered))

    def forget(self, archive: str, roots: Iterable[str]) -> None:
        """Drop runs, all or none; those that are not held are passed over."""
        self._forget(RUNS.c.archive == stored(archive), RUNS.c.root, roots)

    def forget_kinds(self, archive: str, paths: Iterable[str]) -> None:
        """Drop what files recorded, likewise."""
        self._forget(FILES.c.archive == stored(archive), FILES.c.path, paths)

    def _forget(self, here: ColumnElement[bool], column: Column[str], names: Iterable[str]) -> None:
        gone = [stored(name) for name in names]

        def work(connection: Connection) -> None:
            for some in _portions(gone):
                connection.execute(delete(column.table).where(here, column.in_(some)))

        if gone:
            with explained(self.label):
                write(self._engine, work)

    def kinds(self, archive: str, asking: str) -> dict[str, Told]:
        """By path, what files of an archive recorded that were asked in this way."""
        columns = (FILES.c.path, FILES.c.size, FILES.c.stamp, FILES.c.kind)
        query = select(*columns).where(FILES.c.archive == stored(archive), FILES.c.asking == asking)
        with self.reading() as connection:
            return {
                given(path): Told(size, stamp, intern(kind))
                for path, size, stamp, kind in connection.execute(query)
            }

    def keep_kinds(self, archive: str, asking: str, told: Iterable[tuple[str, Told]]) -> None:
        """Keep what files recorded; what was held of the same files is replaced."""
        about = {"archive": stored(archive), "asking": asking}
        files = {stored(path): about | asdict(one) for path, one in told}
        rows = [{"path": path} | files[path] for path in sorted(files)]
        if rows:
            with explained(self.label):
                write(self._engine, lambda connection: _put(connection, FILES, rows))

    def records(self, archive: str, root: str) -> bytes:
        """What was read of a run, as the scan packed it; empty where nothing is held."""
        query = (
            select(DOCUMENTS.c.records)
            .join(RUNS, RUNS.c.id == DOCUMENTS.c.run_id)
            .where(RUNS.c.archive == stored(archive), RUNS.c.root == stored(root))
        )
        with self.reading() as connection:
            return bytes(connection.execute(query).scalar() or b"")


def _refuse_other_files(location: Location, create: bool) -> None:
    """Raise :class:`CatalogTrouble` for what is not there, or is plainly something else."""
    file, label = location.file, location.label
    if file is None:
        return
    if not os.path.lexists(file) and not create:
        raise CatalogTrouble(
            f"{label}: there is no such catalog (nanautopsy scan ARCHIVE --catalog FILE makes one)"
        )
    if file.is_dir():
        raise CatalogTrouble(f"{label}: is a directory, not a catalog")
    if not file.exists():
        return
    if not file.is_file():
        raise CatalogTrouble(f"{label}: is no regular file, so no catalog")
    with open(file, "rb") as opened:
        head = opened.read(len(_MAGIC))
    # An empty file is what a scan leaves that was killed as it began.
    if head and head != _MAGIC:
        raise CatalogTrouble(
            f"{label}: is not a catalog, nor any SQLite database; it was left as it is"
        )


def _ready_to_write(location: Location) -> Engine:
    engine = connect(location, mode="rwc")
    if _version(engine, location.label) != schema.NEWEST:
        schema.upgrade(engine, location.label)
    elif location.file is not None:
        # Better to know now that it cannot be written than when the first runs are done.
        write(engine, lambda connection: None)
    return engine


def _ready_to_read(location: Location) -> Engine:
    engine = connect(location, mode="rw")
    if location.file is not None and not _writable(location):
        engine = connect(location, mode="ro" if _has_log(location) else "immutable")
    version = _version(engine, location.label)
    if version is None:
        raise CatalogTrouble(f"{location.label}: there is no catalog in it yet")
    if version != schema.NEWEST:
        schema.upgrade(engine, location.label)
    return engine


def _version(engine: Engine, label: str) -> str | None:
    with engine.connect() as connection:
        version = schema.version_of(connection, label)
    if version is not None:
        schema.refuse_newer(version, label)
    return version


def _writable(location: Location) -> bool:
    """Whether SQLite could set its locks: they lie in files beside the catalog."""
    file = location.file
    return file is None or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _has_log(location: Location) -> bool:
    """Whether somebody writes at this moment, or was killed while writing."""
    log = f"{location.file}-wal"
    return os.path.exists(log) and os.path.getsize(log) > 0


def _replace(connection: Connection, results: Sequence[ScanResult]) -> None:
    keys = _upsert(connection, [run_row(result) for result in results])
    for some in _portions(list(keys.values())):
        for table in DETAILS:
            connection.execute(_dropping(table), {"keys": list(some)})
    gathered: dict[Table, list[Row]] = {table: [] for table in DETAILS}
    for result in results:
        key = keys[stored(result.archive), stored(result.root)]
        for table, rows in detail_rows(result, key):
            gathered[table] += rows
    for table, rows in gathered.items():
        if rows:
            connection.execute(table.insert(), [dict(row) for row in rows])


def _upsert(connection: Connection, rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Put the rows into ``runs``; their keys by archive and root."""
    place = (RUNS.c.archive, RUNS.c.root)
    upsert = _upserting(connection.dialect.name, RUNS, place).returning(*place, RUNS.c.id)
    found = connection.execute(upsert, [dict(row) for row in rows])
    return {(archive, root): key for archive, root, key in found}


def _put(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    upsert = _upserting(connection.dialect.name, table, tuple(table.primary_key))
    connection.execute(upsert, [dict(row) for row in rows])


# Statements are made once: SQLAlchemy takes longer to build one than to execute it.


@lru_cache
def _dropping(table: Table) -> Delete:
    """A DELETE of what belongs to the runs with these ``keys``."""
    return delete(table).where(table.c.run_id.in_(bindparam("keys", expanding=True)))


@lru_cache
def _upserting(name: str, table: Table, place: tuple[Column[Any], ...]) -> Any:
    """An INSERT, in a database's dialect, that replaces what stands in the same place; its key
    stays."""
    dialect: Any = postgresql if name == "postgresql" else sqlite
    insert = dialect.insert(table)
    kept = {column.name for column in (*place, *table.primary_key)}
    names = [name for name in table.c.keys() if name not in kept]
    return insert.on_conflict_do_update(
        index_elements=list(place), set_={name: insert.excluded[name] for name in names}
    )


def _portions(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
