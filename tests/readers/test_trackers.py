"""MLflow's file store and database, Trackio's database: values as their own clients read them."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from reading import of_type, read_file

from nanautopsy.discover import discover
from nanautopsy.model import (
    Artifact,
    ConfigRecord,
    FileHead,
    Reading,
    Record,
    Series,
    Skipped,
)
from nanautopsy.read import read
from nanautopsy.readers.mlflow import READER as MLFLOW
from nanautopsy.readers.tracker_database import READER as DATABASE

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tables"
EXPECTED = json.loads((FIXTURES / "trackers.json").read_text())
RUN = "0123456789abcdef0123456789abcdef"
VALUES = {
    "train/loss": [2.0, 1.5, math.inf, math.nan, math.nan],
    "grad_norm": [1.0, 2.0, 3.0, -math.inf, math.nan],
}


def read_store(root: Path) -> list[Reading]:
    """Every artifact of a directory that the file store's reader claims."""
    discovery = discover(root, [MLFLOW])
    return [read(artifact, {MLFLOW.name: MLFLOW}) for artifact in discovery.artifacts]


def database(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    with sqlite3.connect(path) as connection:
        connection.executescript((FIXTURES / script).read_text())
    connection.close()
    return path


def history(series: Series) -> list[list[str]]:
    assert series.times is not None
    times = [round(time * 1000) for time in series.times]
    points = zip(series.steps.tolist(), times, series.values.tolist(), strict=True)
    return [[str(step), str(time), repr(value)] for step, time, value in points]


def test_file_store() -> None:
    readings = read_store(FIXTURES / "mlruns")
    records = [record for reading in readings for record in reading.records]
    assert {s.tag: history(s) for s in of_type(records, Series)} == EXPECTED["files"]
    loss = next(s for s in of_type(records, Series) if s.tag == "train/loss")
    assert loss.source.path == f"1/{RUN}/metrics/train/loss"
    assert loss.lines is not None and loss.lines.tolist() == [1, 2, 3, 4, 5]
    configs = {record.kind: dict(record.values) for record in of_type(records, ConfigRecord)}
    assert configs["mlflow"] == {"fp16": "True", "lr": "0.001", "optimizer": "adamw"}
    assert configs["mlflow_run"]["status"] == "FINISHED"
    assert all(reading.status == "read" for reading in readings if reading.records)


def test_a_run_s_own_directory() -> None:
    readings = read_store(FIXTURES / "mlruns" / "1" / RUN)
    records = [record for reading in readings for record in reading.records]
    assert {s.tag for s in of_type(records, Series)} == set(VALUES)
    assert "mlflow" in {record.kind for record in of_type(records, ConfigRecord)}


def test_lines_of_other_versions_and_damage(tmp_path: Path) -> None:
    folder = tmp_path / RUN / "metrics"
    folder.mkdir(parents=True)
    (folder / "old").write_text("1700000000000 0.5\n1700000000001 nan\n")
    (folder / "new").write_text("1700000000000 0.5 7 data d1gest\nxx\n1700000000001 0.2")
    records: list[Record] = []
    problems = []
    for reading in read_store(tmp_path):
        records += reading.records
        problems += [(p.text, p.source.line, p.source.offset) for p in reading.problems]
    series = {s.tag: s for s in of_type(records, Series)}
    assert (series["old"].axis, series["old"].steps.tolist()) == ("record", [0, 1])
    assert (series["new"].axis, series["new"].steps.tolist()) == ("step", [7])
    assert problems == [("not a time, a value and a step", 2, 32), ("a line is cut off", 3, 35)]


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("metrics/readme", b"some text\n"),
        (f"{RUN}/metrics/a", b"1700000000000 \0\n"),
        ("meta.yaml", b"name: x\n"),
        ("params/model.safetensors", b"x"),
        (f"{RUN}/tags/other", b"x"),
        (f"{RUN}/params/big", b"x" * 70000),
    ],
)
def test_what_is_not_of_the_store(path: str, head: bytes) -> None:
    assert MLFLOW.claim(FileHead(path, len(head), head)) is None


def test_mlflow_database(tmp_path: Path) -> None:
    records = read_file(DATABASE, database(tmp_path, "mlflow.db", "mlflow_db.sql"))
    # The client gives the largest float for the infinity that was logged.
    found = {
        s.tag: [[*p[:2], p[2].replace("inf", repr(sys.float_info.max))] for p in history(s)]
        for s in of_type(records, Series)
    }
    assert found == EXPECTED["database"]
    (config,) = of_type(records, ConfigRecord)
    assert dict(config.values) == {"lr": "0.001", "fp16": "True", "optimizer": "adamw"}


def test_trackio_database(tmp_path: Path) -> None:
    records = read_file(DATABASE, database(tmp_path, "tiny.db", "trackio_db.sql"))
    found = {s.tag: s for s in of_type(records, Series)}
    assert {tag: [repr(v) for v in s.values.tolist()] for tag, s in found.items()} == {
        tag: [repr(v) for v in values] for tag, values in VALUES.items()
    }
    assert found["grad_norm"].steps.tolist() == [0, 1, 2, 3, 4]
    assert found["grad_norm"].times is not None
    (config,) = of_type(records, ConfigRecord)
    assert dict(config.values) == {"lr": 0.001, "fp16": True, "optimizer": "adamw"}


def test_several_runs_stay_apart(tmp_path: Path) -> None:
    path = database(tmp_path, "tiny.db", "trackio_db.sql")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE metrics SET run_name = 'other' WHERE step > 2")
    connection.close()
    paths = {s.source.path for s in of_type(read_file(DATABASE, path), Series)}
    assert paths == {"tiny.db#tiny", "tiny.db#other"}


def test_write_ahead_log_of_a_crash(tmp_path: Path) -> None:
    path = database(tmp_path, "tiny.db", "trackio_db.sql")
    live = sqlite3.connect(path)
    live.execute("PRAGMA journal_mode = WAL")
    live.execute(
        "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics)"
        """ VALUES ('a', '2026-01-01T00:00:00+00:00', 'tiny', 5, '{"grad_norm": 9.0}')"""
    )
    live.commit()
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("tiny.db", "tiny.db-wal"):
        shutil.copyfile(tmp_path / name, crashed / name)
    live.close()
    (artifact,) = discover(crashed, [DATABASE]).artifacts
    records = read(artifact, {DATABASE.name: DATABASE}).records
    norm = next(s for s in of_type(records, Series) if s.tag == "grad_norm")
    assert norm.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert sorted(place.name for place in crashed.iterdir()) == ["tiny.db", "tiny.db-wal"]


def test_hostile_and_broken_databases(tmp_path: Path) -> None:
    path = database(tmp_path, "tiny.db", "trackio_db.sql")
    whole = path.read_bytes()
    for size in range(100, len(whole), 1536):
        path.write_bytes(whole[:size])
        read_file(DATABASE, path)  # whatever it gives
    for place in range(0, len(whole), 512):
        path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
        if place:
            read_file(DATABASE, path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE VIEW metrics AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
            " SELECT i AS run_name, i AS step, i AS metrics, i AS timestamp FROM n"
        )
    connection.close()
    assert [type(record) for record in read_file(DATABASE, path)] == [Skipped]
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert [type(record) for record in read_file(DATABASE, path)] == [Skipped]
    alone = Artifact("a-wal", "tracker-database", "tracker-database", (("a-wal", path),), 1)
    assert isinstance(next(iter(DATABASE.read(alone))), Skipped)
