"""Asking a catalog for runs: filters, and rows of plain values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from sqlalchemy import Connection, Row, Select, func, select

from nanautopsy.scan.catalog import DEFAULT, Catalog
from nanautopsy.scan.catalog.rows import given
from nanautopsy.scan.catalog.tables import CAUSES, PACKAGES, RUNS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = tuple(column.name for column in RUNS.columns if column.name != "id")
"""Of a row, in order."""
TIMES = ("scanned_at", "started", "ended")
"""Those that are seconds since the Unix epoch."""
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


class UnclearQuery(ValueError):
    """A filter that says nothing, in one line."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs; what is not given does not filter."""

    cause: str | None = None
    """Among the causes that were named, at any place."""
    verdict: str | None = None
    outcome: str | None = None
    signature: str | None = None
    archive: str | None = None
    since: str | None = None
    """``2025``, ``2025-01`` or ``2025-01-31``, in UTC: runs whose last time is not before."""
    until: str | None = None
    """Likewise: not after the end of that year, month or day."""
    packages: tuple[str, ...] = ()
    """PEP 508: ``deepspeed>=0.12.4,<0.14.3``. A run that does not tell its version is left out."""


def rows(catalog: Catalog, filters: Filters | None = None) -> Iterator[dict[str, Any]]:
    """A row of :data:`COLUMNS` for each run, the latest first.

    Raises :class:`UnclearQuery` for a date or a requirement that is none, and
    :class:`~nanautopsy.scan.catalog.CatalogTrouble`.
    """
    with catalog.reading() as connection:
        for row in matching(connection, filters):
            yield _plain(row)


def matching(connection: Connection, filters: Filters | None = None) -> Iterator[Row[Any]]:
    """The rows of ``runs`` as the database holds them, their keys included, the latest first.

    Raises :class:`UnclearQuery` as :func:`rows` does.
    """
    filters = filters or Filters()
    wanted = [_requirement(text) for text in filters.packages]
    query = _filtered(filters)
    versions = [_versions(connection.execute(_of_package(r)).all()) for r in wanted]
    for row in connection.execute(query):
        known = [found.get(row.id) for found in versions]
        if all(_fits(r, v) for r, v in zip(wanted, known, strict=True)):
            yield row


def frame(catalog: Catalog, filters: Filters | None = None) -> pd.DataFrame:
    """The rows as a DataFrame; times as timestamps in UTC."""
    import pandas as pd

    table = pd.DataFrame(list(rows(catalog, filters)), columns=list(COLUMNS))
    for name in TIMES:
        table[name] = pd.to_datetime(table[name], unit="s", utc=True)
    return table


def catalog_frame(catalog: str | os.PathLike[str] = DEFAULT, **filters: Any) -> pd.DataFrame:
    """The runs of the catalog at a path or URL as a DataFrame, in one call.

    ``filters`` are the fields of :class:`Filters`: ``cause="lr-spike"``, ``since="2025-01"``,
    ``packages=("torch>=2",)``. Raises as :func:`rows` does, and ``TypeError`` for any other name.
    """
    with Catalog.open(catalog, create=False) as opened:
        return frame(opened, Filters(**filters))


def _filtered(filters: Filters) -> Select[Any]:
    query = select(RUNS)
    for name in ("verdict", "outcome", "signature", "archive"):
        value = getattr(filters, name)
        if value is not None:
            query = query.where(RUNS.c[name] == value)
    if filters.cause is not None:
        named = select(CAUSES.c.run_id).where(CAUSES.c.cause == filters.cause)
        query = query.where(RUNS.c.id.in_(named))
    when = func.coalesce(RUNS.c.ended, RUNS.c.started)
    if filters.since is not None:
        query = query.where(when >= _span(filters.since)[0])
    if filters.until is not None:
        query = query.where(when < _span(filters.until)[1])
    return query.order_by(when.desc().nulls_last(), RUNS.c.archive, RUNS.c.root)


def _span(text: str) -> tuple[float, float]:
    """Beginning of a year, month or day, and of the one after it."""
    if not _DATE.fullmatch(text):
        raise UnclearQuery(f"{text}: a date is 2025, 2025-01 or 2025-01-31")
    parts = [int(part) for part in text.split("-")]
    year, month, day = (*parts, 1, 1)[:3]
    try:
        first = datetime(year, month, day, tzinfo=timezone.utc).timestamp()
        if len(parts) == 3:
            return first, first + 86400
        over = month // 12 if len(parts) == 2 else 1
        following = month % 12 + 1 if len(parts) == 2 else 1
        return first, datetime(year + over, following, 1, tzinfo=timezone.utc).timestamp()
    except (ValueError, OverflowError):
        raise UnclearQuery(f"{text}: there is no such date") from None


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise UnclearQuery(f"{text}: a package is said like deepspeed>=0.12.4,<0.14.3") from None


def _of_package(requirement: Requirement) -> Select[Any]:
    name = canonicalize_name(requirement.name)
    return select(PACKAGES.c.run_id, PACKAGES.c.version).where(PACKAGES.c.name == name)


def _versions(pairs: Iterable[Any]) -> Mapping[int, str]:
    return dict(pairs)


def _fits(requirement: Requirement, version: str | None) -> bool:
    if version is None:
        return False
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not str(requirement.specifier)


def _plain(row: Row[Any]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in COLUMNS}
    return values | {"root": given(row.root), "archive": given(row.archive)}
