"""Where a catalog is: a file, or a database on a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nanautopsy.scan.catalog.trouble import CatalogTrouble

DEFAULT = "nanautopsy-catalog.db"
"""The catalog in the current directory, where none is named."""
_SERVERS = frozenset({"postgresql", "postgres"})


@dataclass(frozen=True, slots=True)
class Location:
    """A catalog's place, understood."""

    label: str
    """For people: the path as it was given, or the URL without its password."""
    file: Path | None
    """Of an SQLite catalog, absolute; ``None`` for one on a server."""
    url: URL
    """For SQLAlchemy, its driver included."""


def locate(text: str | os.PathLike[str]) -> Location:
    """A path, ``sqlite:///path`` or ``postgresql://user@host/name``.

    Raises :class:`CatalogTrouble` for any other URL.
    """
    given = os.fspath(text)
    if "://" not in given:
        return _file(given, given)
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise CatalogTrouble(f"{given.partition('://')[0]}://...: is no URL of a catalog") from None
    label = url.render_as_string(hide_password=True)
    kind = url.get_backend_name() if url.drivername != "postgres" else "postgres"
    if kind == "sqlite" and url.database and url.database != ":memory:":
        return _file(url.database, given)
    if kind not in _SERVERS:
        raise CatalogTrouble(f"{label}: a catalog is a file or at postgresql://user@host/name")
    return Location(label, None, url.set(drivername="postgresql+psycopg"))


def _file(path: str, label: str) -> Location:
    if not path:
        raise CatalogTrouble("the catalog's path is empty")
    file = Path(os.path.abspath(os.path.expanduser(path)))
    return Location(label, file, URL.create("sqlite", database=str(file)))
