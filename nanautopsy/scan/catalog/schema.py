"""Which version of the schema a database holds, and bringing it to the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from nanautopsy.scan.catalog.connection import keep_log, write
from nanautopsy.scan.catalog.tables import METADATA
from nanautopsy.scan.catalog.trouble import CatalogTrouble

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST = "0002"
VERSION_TABLE = "nanautopsy_schema"
"""Its own, since a shared database may hold other programs' migrations."""
_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6E616E61
"""Of PostgreSQL's advisory locks: one migration at a time."""


def version_of(connection: Connection, label: str) -> str | None:
    """The schema's version; ``None`` where there is nothing yet.

    Raises :class:`CatalogTrouble` for a database of something else.
    """
    present = set(inspect(connection).get_table_names())
    if VERSION_TABLE in present:
        row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()
        return None if row is None else str(row[0])
    # A file is a catalog as a whole; a server's database may be shared with other programs.
    foreign = present if connection.dialect.name == "sqlite" else present & set(METADATA.tables)
    if foreign:
        names = ", ".join(sorted(foreign)[:3])
        raise CatalogTrouble(
            f"{label}: is not a catalog: it holds other tables ({names}); it was left as it is"
        )
    return None


def refuse_newer(version: str, label: str) -> None:
    """Raise :class:`CatalogTrouble` for a version that no script here leads from."""
    if version != NEWEST and version not in _known_versions():
        raise CatalogTrouble(
            f"{label}: was written by a newer nanautopsy (schema {version}, this one knows up to "
            f"{NEWEST}): upgrade nanautopsy to use it; it was left as it is"
        )


def upgrade(engine: Engine, label: str) -> None:
    """Make the tables or bring them to the newest version: all of it or nothing."""
    if engine.dialect.name == "sqlite":
        keep_log(engine)

    def work(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Somebody else may have done it since this process looked.
        version = version_of(connection, label)
        if version is not None:
            refuse_newer(version, label)
        if version != NEWEST:
            _run_scripts(connection)

    write(engine, work)


def _run_scripts(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, NEWEST)


def _known_versions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    # Alembic interpolates options: a percent sign in the path must be doubled.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config
