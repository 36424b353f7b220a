"""The first schema: runs and what belongs to each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _run_key() -> sa.Column[int]:
    return sa.Column("run_id", KEY, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


def upgrade() -> None:
    """Make the tables."""
    _runs()
    op.create_table(
        "causes",
        _run_key(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("probability", sa.Float(53), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("causes_cause", "causes", ["cause"])
    op.create_table(
        "findings",
        _run_key(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger),
        sa.Column("layer", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "packages",
        _run_key(),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("packages_name", "packages", ["name", "version"])
    _files()


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("scanned_at", sa.Float(53), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("verdict", sa.Text),
        sa.Column("headline", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("probability", sa.Float(53)),
        sa.Column("onset_step", sa.BigInteger),
        sa.Column("onset_quantity", sa.Text),
        sa.Column("onset_layer", sa.Text),
        sa.Column("signature", sa.Text),
        sa.Column("program", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("last_step", sa.BigInteger),
        sa.Column("started", sa.Float(53)),
        sa.Column("ended", sa.Float(53)),
        sa.Column("wasted_steps", sa.BigInteger),
        sa.Column("wasted_seconds", sa.Float(53)),
        sa.UniqueConstraint("archive", "root", name="runs_place"),
    )
    for column in ("ended", "cause", "signature"):
        op.create_index(f"runs_{column}", "runs", [column])


def _files() -> None:
    op.create_table(
        "artifacts",
        _run_key(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "documents",
        _run_key(),
        sa.Column("document", sa.LargeBinary),
        sa.Column("settings", sa.LargeBinary),
        sa.Column("records", sa.LargeBinary, nullable=False),
    )
