"""What Alembic runs around the scripts, in the transaction of the connection handed in."""

from __future__ import annotations

from alembic import context

from nanautopsy.scan.catalog.schema import VERSION_TABLE
from nanautopsy.scan.catalog.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    # SQLite's is too, once a transaction was begun explicitly.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
