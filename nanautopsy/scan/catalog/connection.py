"""Engines and transactions: what makes a catalog survive kills, and two writers at once.

SQLite keeps a write-ahead log: a transaction whose commit did not return is not there when the
file is opened again, and readers go on while somebody writes. A transaction that will write takes
the lock at its beginning, so that two writers wait for each other in place of failing halfway.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from nanautopsy.own_reports import CATALOG_ID
from nanautopsy.scan.catalog.location import Location
from nanautopsy.scan.catalog.trouble import CatalogTrouble, is_transient

PATIENCE = 60.0
"""Seconds that a writer waits for the others."""
_CONNECT_SECONDS = 10
"""For a server that does not answer."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

T = TypeVar("T")


def connect(location: Location, *, mode: str) -> Engine:
    """An engine, not connected yet.

    ``mode`` is SQLite's: ``rwc`` makes the file, ``rw`` and ``ro`` do not, and ``immutable`` reads
    one that nobody else writes where not even a lock can be set.
    """
    if location.file is None:
        return _server(location)
    file = quote(str(location.file))
    query = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"

    def open_file() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{file}?{query}",
            uri=True,
            timeout=PATIENCE,
            # SQLAlchemy says when a transaction begins: see _begin.
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(location.url, creator=open_file)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _server(location: Location) -> Engine:
    waits = {} if "connect_timeout" in location.url.query else {"connect_timeout": _CONNECT_SECONDS}
    try:
        return create_engine(location.url, pool_pre_ping=True, connect_args=waits)
    except (ImportError, NoSuchModuleError):
        raise CatalogTrouble(
            f"{location.label}: needs psycopg: pip install 'nanautopsy[postgresql]'"
        ) from None


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # With a write-ahead log this is safe against kills; a power failure may lose the last commits,
    # never the file.
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def keep_log(engine: Engine) -> None:
    """Give a new SQLite catalog its write-ahead log; the file remembers it.

    Where two do so at once, SQLite refuses one of them without waiting.
    """
    deadline = time.monotonic() + PATIENCE
    raw = engine.raw_connection()
    try:
        while True:
            try:
                # First: it must stand in the file itself, by which a scan knows it for its own.
                raw.cursor().execute(f"PRAGMA application_id = {CATALOG_ID}")
                raw.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(_FIRST_PAUSE)
    finally:
        raw.close()


def write(engine: Engine, work: Callable[[Connection], T]) -> T:
    """What ``work`` gives, in one transaction; tried again while others stand in its way."""
    deadline = time.monotonic() + PATIENCE
    pause = _FIRST_PAUSE
    options: Mapping[str, Any] = {"writes": True}
    while True:
        try:
            with engine.execution_options(**options).begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if not is_transient(error) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
