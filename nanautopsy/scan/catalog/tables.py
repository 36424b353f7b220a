"""The tables of a catalog, as the newest migration leaves them.

Times are seconds since the Unix epoch; what is not known is NULL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
_BIG_KEY = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts rows by itself only where the key's type is INTEGER, which has 64 bits there."""


def _run_key() -> Column[int]:
    key = ForeignKey("runs.id", ondelete="CASCADE")
    return Column("run_id", _BIG_KEY, key, primary_key=True)


RUNS = Table(
    "runs",
    METADATA,
    Column("id", _BIG_KEY, primary_key=True),
    Column("archive", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("scanned_at", Float(53), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("version", Text),
    Column("verdict", Text),
    Column("headline", Text),
    Column("cause", Text),
    Column("probability", Float(53)),
    Column("onset_step", BigInteger),
    Column("onset_quantity", Text),
    Column("onset_layer", Text),
    Column("signature", Text),
    Column("program", Text),
    Column("model", Text),
    Column("last_step", BigInteger),
    Column("started", Float(53)),
    Column("ended", Float(53)),
    Column("wasted_steps", BigInteger),
    Column("wasted_seconds", Float(53)),
    UniqueConstraint("archive", "root", name="runs_place"),
    Index("runs_ended", "ended"),
    Index("runs_cause", "cause"),
    Index("runs_signature", "signature"),
)
"""One row a run: where it is, how the scan of it went, and what was found in short.

``cause`` and ``probability`` are the first cause's; ``program`` is the script that trained, and
``model`` the architecture, where the artifacts tell; the last four are a ``Waste``."""

CAUSES = Table(
    "causes",
    METADATA,
    _run_key(),
    Column("position", Integer, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("probability", Float(53), nullable=False),
    Index("causes_cause", "cause"),
    sqlite_with_rowid=False,
)
"""Causes that fired, most probable first, ``position`` from 0."""

FINDINGS = Table(
    "findings",
    METADATA,
    _run_key(),
    Column("position", Integer, primary_key=True),
    Column("finding", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("step", BigInteger),
    Column("layer", Text),
    Column("text", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What the detectors observed."""

PACKAGES = Table(
    "packages",
    METADATA,
    _run_key(),
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Index("packages_name", "name", "version"),
    sqlite_with_rowid=False,
)
"""Library versions, by PEP 503 normalized name."""

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    _run_key(),
    Column("position", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What lay in the run, relative to it, and whether it was read."""

DOCUMENTS = Table(
    "documents",
    METADATA,
    _run_key(),
    Column("document", LargeBinary),
    Column("settings", LargeBinary),
    Column("records", LargeBinary, nullable=False),
)
"""``document``: the whole JSON result, compressed by zlib; ``settings``: the values alone of its
configuration, facts and environment, a JSON object, compressed likewise; ``records``: what was
read, as the scan packed it."""

FILES = Table(
    "files",
    METADATA,
    Column("archive", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("asking", Text, nullable=False),
    Column("kind", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What files of archives recorded when a scan asked them, so that it need not ask again: ``stamp``
is the time or tag that they had, ``asking`` names the rules by which they were asked."""

DETAILS = (CAUSES, FINDINGS, PACKAGES, ARTIFACTS, DOCUMENTS)
"""The tables that belong to a run."""
