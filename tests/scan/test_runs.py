"""`runs` and the DataFrame: what a catalog holds, filtered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nanautopsy.cli import nanautopsy
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.query import Filters, UnclearQuery, frame, rows
from nanautopsy.scan.results import ScanResult, Waste

JANUARY, MARCH = 1_736_900_000.0, 1_741_000_000.0
"""2025-01-15 and 2025-03-03."""


def result(root: str, ended: float, cause: str | None, deepspeed: str | None) -> ScanResult:
    packages = {} if deepspeed is None else {"deepspeed": {"version": deepspeed}}
    document: Mapping[str, Any] = {
        "verdict": "healthy" if cause is None else "non-finite",
        "causes": [] if cause is None else [{"id": cause, "probability": 0.9}],
        "findings": [],
        "run": {"artifacts": []},
        "environment": {"packages": packages, "facts": {}},
    }
    return ScanResult(
        "/archive", root, "f", "r", "analyzed", MARCH, 0.5, 1000,
        document=document, signature=cause or "", waste=Waste(ended=ended),
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> str:
    path = tmp_path / "catalog.db"
    with Catalog.open(path) as catalog:
        catalog.record(
            [
                result("old", JANUARY, "version-bug", "0.12.6"),
                result("new", MARCH, "fp16-overflow", "0.14.3"),
                result("fine", MARCH, None, None),
            ]
        )
    return str(path)


@pytest.mark.parametrize(
    ("filters", "roots"),
    [
        (Filters(), ["fine", "new", "old"]),
        (Filters(cause="fp16-overflow"), ["new"]),
        (Filters(verdict="healthy"), ["fine"]),
        (Filters(since="2025-02"), ["fine", "new"]),
        (Filters(until="2025-01"), ["old"]),
        (Filters(since="2025-01-15", until="2025-01-15"), ["old"]),
        (Filters(until="2024"), []),
        (Filters(packages=("deepspeed>=0.12.4,<0.14.3",)), ["old"]),
        (Filters(packages=("DeepSpeed",)), ["new", "old"]),
        (Filters(signature="version-bug"), ["old"]),
        (Filters(archive="/elsewhere"), []),
    ],
)
def test_filters(place: str, filters: Filters, roots: list[str]) -> None:
    with Catalog.open(place, create=False) as catalog:
        assert [row["root"] for row in rows(catalog, filters)] == roots


@pytest.mark.parametrize("filters", [Filters(since="May"), Filters(since="2025-13")])
def test_a_date_that_is_none(place: str, filters: Filters) -> None:
    with Catalog.open(place) as catalog, pytest.raises(UnclearQuery):
        list(rows(catalog, filters))


def test_the_frame_has_times_and_every_run(place: str) -> None:
    with Catalog.open(place) as catalog:
        table = frame(catalog)
    assert len(table) == 3
    assert str(table["ended"].dtype).startswith("datetime64")
    assert table.set_index("root").loc["old", "cause"] == "version-bug"


def call(place: str, *arguments: str) -> Result:
    return CliRunner().invoke(nanautopsy, ["runs", "--catalog", place, *arguments])


def test_the_formats(place: str, tmp_path: Path) -> None:
    table = call(place).stdout.splitlines()
    assert table[0].split()[:3] == ["root", "verdict", "cause"]
    assert len(table) == 4
    assert "2025-03-03" in table[1]
    assert len(json.loads(call(place, "--format", "json").stdout)) == 3
    assert call(place, "--format", "csv", "--columns", "root,cause", "--limit", "2").stdout == (
        "root,cause\nfine,\nnew,fp16-overflow\n"
    )
    import pyarrow.parquet

    target = tmp_path / "runs.parquet"
    assert call(place, "--format", "parquet", "-o", str(target)).exit_code == 0
    assert pyarrow.parquet.read_table(target).num_rows == 3


def test_a_column_that_holds_what_another_program_wrote(tmp_path: Path) -> None:
    """SQLite keeps text where numbers belong; it is shown as it is."""
    path = tmp_path / "catalog.db"
    with Catalog.open(path) as catalog:
        catalog.record([result("old", JANUARY, "version-bug", "0.12.6")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE runs SET ended = 'long ago'")
    told = CliRunner().invoke(nanautopsy, ["runs", "--catalog", str(path)])
    assert told.exit_code == 0, told.output
    assert "long ago" in told.stdout


def test_wrong_usage_is_one_line(place: str, tmp_path: Path) -> None:
    for arguments in (
        ("--since", "May"),
        ("--package", "deep speed"),
        ("--columns", "nothing"),
        ("--format", "parquet"),
    ):
        assert call(place, *arguments).exit_code == 2
    none = call(str(tmp_path / "none.db"))
    assert none.exit_code == 2
    assert "there is no such catalog" in none.output


def test_an_export_does_not_say_whose_home_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "catalog.db")
    with Catalog.open(path) as catalog:
        catalog.record([replace(result("r", MARCH, None, None), archive="/home/zaphod/runs")])
    for format_name in ("table", "csv", "json"):
        asked = ["runs", "--catalog", path, "--format", format_name, "--columns", "archive,root"]
        shown = CliRunner().invoke(nanautopsy, asked).output
        assert "~/runs" in shown
        assert "zaphod" not in shown
        assert "/home/zaphod/runs" in CliRunner().invoke(nanautopsy, [*asked, "--no-redact"]).output
