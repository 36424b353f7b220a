"""What can go wrong with a catalog, in one line for people."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL's serialization failure, deadlock and lock not available: another try may do."""
_SQLITE = (
    ("not a database", "is not a catalog, nor any SQLite database; it was left as it is"),
    ("malformed", "is damaged: a tool such as `sqlite3 FILE .recover` may save what is left"),
    ("readonly", "cannot be written: the file or its directory is read-only"),
    ("unable to open", "cannot be opened: is its directory there, and may it be written?"),
    ("is full", "the disk is full: nothing of this step was written, all before it is kept"),
    (
        "disk I/O error",
        "the disk refuses to write (full, over a quota, or failing): nothing of this step was "
        "written, all before it is kept",
    ),
    ("locked", "is held by another program for too long; nothing was written"),
    ("busy", "is held by another program for too long; nothing was written"),
)
"""What SQLite says, and what that means here."""


class CatalogTrouble(Exception):
    """A catalog cannot be opened, read or written; its text is one line that says why."""


@contextmanager
def explained(label: str) -> Iterator[None]:
    """Errors of the database and the disk become :class:`CatalogTrouble` about ``label``."""
    try:
        yield
    except DBAPIError as error:
        raise CatalogTrouble(f"{label}: {_meaning(error)}") from error
    except OSError as error:
        raise CatalogTrouble(f"{label}: {error.strerror or error}") from error


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    cause = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return "locked" in str(cause) or "busy" in str(cause)
    return error.connection_invalidated or getattr(cause, "sqlstate", None) in _TRANSIENT_STATES


def _meaning(error: DBAPIError) -> str:
    text = " ".join(str(error.orig).split())
    if not isinstance(error.orig, sqlite3.Error):
        return text
    known = (meaning for sign, meaning in _SQLITE if sign in text)
    return next(known, f"the database failed: {text}")
