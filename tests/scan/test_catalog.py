"""The catalog keeps what scans found, whatever happens to those who write it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Server, start
from scan.catalogs import KILLS, assert_sound, counted, when

from nanautopsy import analyze
from nanautopsy.render.json import document as as_document
from nanautopsy.scan.catalog import Catalog, CatalogTrouble
from nanautopsy.scan.kinds import Told
from nanautopsy.scan.packing import pack, unpack
from nanautopsy.scan.results import Known, ScanResult, Waste

SAMPLE = Path(__file__).resolve().parents[2] / "sample_runs" / "minigemini-deepspeed"


@pytest.fixture(scope="module")
def server() -> Iterator[Server | None]:
    with start() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A catalog that is not there yet."""
    if request.param == "sqlite":
        return str(tmp_path / "catalog.db")
    server: Server | None = request.getfixturevalue("server")
    if server is None:
        pytest.skip("no PostgreSQL server is installed")
    return server.new_database()


@pytest.fixture(scope="module")
def failed() -> ScanResult:
    document = as_document(analyze(SAMPLE))
    waste = Waste(last_step=60, steps=48, started=1.0e9, ended=1.1e9, seconds=900.0)
    common = {"fingerprint": "f1", "rules": "r1", "scanned_at": 1.7e9, "seconds": 0.5}
    return ScanResult(
        "/archive", "a", outcome="analyzed", size=10, document=document, signature="s1",
        waste=waste, records=b"\x00\xff", **common,  # type: ignore[arg-type]
    )  # fmt: skip


def lost(root: str, reason: str = "took longer than 5 s") -> ScanResult:
    return ScanResult("/archive", root, "f", "r1", "timed-out", 1.7e9, 5.0, 3, reason=reason)


def test_what_is_recorded_is_known(place: str, failed: ScanResult) -> None:
    with Catalog.open(place) as catalog:
        catalog.record([failed, lost("b"), lost("name \udcff\x00")])
    with Catalog.open(place, create=False) as catalog:
        assert catalog.known("/archive") == {
            "a": Known("f1", "r1", "analyzed"),
            "b": Known("f", "r1", "timed-out"),
            "name \udcff\x00": Known("f", "r1", "timed-out"),
        }
        assert catalog.known("/elsewhere") == {}
        assert catalog.records("/archive", "a") == b"\x00\xff"
        assert catalog.records("/archive", "none") == b""


def test_a_run_is_replaced_and_forgotten_with_all_that_belongs_to_it(
    place: str, failed: ScanResult
) -> None:
    from sqlalchemy import func, select

    from nanautopsy.scan.catalog.tables import DETAILS, RUNS

    def rows() -> list[int]:
        with catalog.reading() as connection:
            tables = (RUNS, *DETAILS)
            return [
                connection.execute(select(func.count()).select_from(t)).scalar() for t in tables
            ]  # type: ignore[misc]

    with Catalog.open(place) as catalog:
        catalog.record([failed])
        first = rows()
        assert all(first)
        catalog.record([failed])
        assert rows() == first
        catalog.forget("/archive", ["a", "never there"])
        assert rows() == [0] * len(first)


def test_nothing_of_a_batch_is_kept_when_part_of_it_fails(place: str) -> None:
    with Catalog.open(place) as catalog:
        broken = ScanResult("/archive", "c", "f", "r", "crashed", 0.0, 0.0, 0, records=object())  # type: ignore[arg-type]
        with pytest.raises(Exception):  # noqa: B017
            catalog.record([lost("b"), broken])
        assert catalog.known("/archive") == {}


def test_a_catalog_is_no_run_of_the_archive_that_it_lies_in(tmp_path: Path) -> None:
    from scan.archives import LOG, found, lay

    lay(tmp_path, {"run/train.log": LOG})
    with Catalog.open(tmp_path / "nanautopsy-catalog.db") as catalog:
        assert list(found(tmp_path)) == ["run"]
        catalog.record([lost("b")])
    assert list(found(tmp_path)) == ["run"]


def test_two_writers_lose_nothing(place: str) -> None:
    Catalog.open(place).close()
    writers = [_writer(place, name, 20) for name in ("x", "y")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    with Catalog.open(place) as catalog:
        assert len(catalog.known("/archive")) == 40


def test_a_writer_that_is_killed_leaves_a_sound_catalog(tmp_path: Path) -> None:
    place = tmp_path / "catalog.db"
    for attempt in range(KILLS):
        before = counted(place)
        writer = _writer(str(place), f"w{attempt}", 100_000)
        try:
            when(lambda: counted(place) > before)  # noqa: B023
            time.sleep(random.random() / 10)
        finally:
            writer.kill()
            writer.wait()
        now = counted(place)
        assert now > before
        with Catalog.open(place) as catalog:
            assert len(catalog.known("/archive")) == now
        assert_sound(place)


_WRITER = """
import sys
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.results import ScanResult
place, name, many = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Catalog.open(place) as catalog:
    for i in range(many):
        catalog.record([ScanResult("/archive", f"{name}/{i}", "f", "r", "crashed", 0.0, 0.0, 0)])
"""


def _writer(place: str, name: str, many: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, place, name, str(many)])


# --- what is no catalog, or cannot be written -----------------------------------------------------


def trouble(place: object, **how: bool) -> str:
    with pytest.raises(CatalogTrouble) as caught:
        Catalog.open(str(place), **how)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_that_is_no_catalog_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("mine")
    assert "is not a catalog" in trouble(text)
    assert text.read_text() == "mine"
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    content = other.read_bytes()
    assert "holds other tables (mine)" in trouble(other)
    assert other.read_bytes() == content
    assert "is a directory" in trouble(tmp_path)


def test_a_newer_catalog_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "catalog.db"
    Catalog.open(place).close()
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE nanautopsy_schema SET version_num = '9999'")
    assert "newer nanautopsy (schema 9999" in trouble(place)
    assert "newer nanautopsy" in trouble(place, create=False)


def test_one_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no such catalog" in trouble(tmp_path / "none.db", create=False)
    assert "cannot be opened" in trouble(tmp_path / "no" / "directory" / "c.db")
    assert "a catalog is a file or at postgresql://" in trouble("mysql://u:secret@h/db")


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="is root")
def test_a_read_only_directory_can_be_read_and_not_written(tmp_path: Path) -> None:
    place = tmp_path / "catalog.db"
    with Catalog.open(place) as catalog:
        catalog.record([lost("b")])
    script = (
        "from nanautopsy.scan.catalog import Catalog, CatalogTrouble\n"
        f"print(len(Catalog.open({str(place)!r}, create=False).known('/archive')))\n"
        f"try: Catalog.open({str(place)!r})\n"
        "except CatalogTrouble as error: print(error)\n"
    )
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    tmp_path.chmod(0o555)
    place.chmod(0o444)
    as_nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    try:
        command = [*as_nobody, sys.executable, "-c", script]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        tmp_path.chmod(0o755)
    count, message = shown.splitlines()
    assert count == "1"
    assert "read-only" in message


def test_a_full_disk_costs_the_step_alone(tmp_path: Path, failed: ScanResult) -> None:
    place = tmp_path / "catalog.db"
    with Catalog.open(place) as catalog:
        catalog.record([lost("b")])

        from sqlalchemy import event

        def fill(connection: sqlite3.Connection, *_: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")

        catalog.close()
        event.listen(catalog._engine, "connect", fill)
        with pytest.raises(CatalogTrouble, match="the disk is full"):
            catalog.record([failed])
    with Catalog.open(place) as catalog:
        assert set(catalog.known("/archive")) == {"b"}


def test_a_packed_value_that_is_none_or_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpack(pack({"a": [1, "\udcff"]})) == {"a": [1, "\udcff"]}
    with pytest.raises(ValueError, match="not compressed"):
        unpack(b"no")
    monkeypatch.setattr("nanautopsy.scan.packing.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="larger than"):
        unpack(pack("x" * 2000))


# --- the schema and its older versions ------------------------------------------------------------


def test_what_files_recorded_is_held(place: str) -> None:
    weird = "a/name \udcff"
    with Catalog.open(place) as catalog:
        catalog.keep_kinds("/archive", "now", [("a/x.log", Told(1, "5", "log"))])
        catalog.keep_kinds(
            "/archive", "now", [("a/x.log", Told(2, "6", "")), (weird, Told(3, "7", "table"))]
        )
        assert catalog.kinds("/archive", "now") == {
            "a/x.log": Told(2, "6", ""),
            weird: Told(3, "7", "table"),
        }
        catalog.forget_kinds("/elsewhere", [weird])
        catalog.forget_kinds("/archive", ["a/x.log", "never there"])
        assert catalog.kinds("/archive", "now").keys() == {weird}
        assert catalog.kinds("/archive", "otherwise") == catalog.kinds("/elsewhere", "now") == {}


def test_the_newest_migration_leaves_the_tables_that_are_used(place: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from nanautopsy.scan.catalog.schema import VERSION_TABLE
    from nanautopsy.scan.catalog.tables import METADATA

    with Catalog.open(place) as catalog, catalog.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []


def test_an_older_catalog_becomes_a_new_one(
    place: str, failed: ScanResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanautopsy.scan.catalog import schema

    with monkeypatch.context() as then:
        then.setattr(schema, "NEWEST", "0001")
        with Catalog.open(place) as catalog:
            catalog.record([failed])
    with Catalog.open(place, create=False) as catalog:
        assert catalog.known("/archive").keys() == {"a"}
        assert catalog.records("/archive", "a") == failed.records
        catalog.keep_kinds("/archive", "now", [("x", Told(1, "5", "log"))])
