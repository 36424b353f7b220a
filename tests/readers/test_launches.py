"""Columns that name the process which wrote a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from reading import of_type, read_file

from nanautopsy.model import LogEvent
from nanautopsy.readers.json_lines import READER as JSON
from nanautopsy.readers.table import READER as TABLE


def _table(folder: Path, name: str, values: Sequence[object], steps: Sequence[int]) -> Path:
    path = folder / "log.csv"
    rows = [f"{step},{value},{2.0 - step / 1e4}" for step, value in zip(steps, values, strict=True)]
    path.write_text("\n".join([f"step,{name},loss", *rows]) + "\n", encoding="utf-8")
    return path


def _resumes(folder: Path, name: str, values: Sequence[object], steps: Sequence[int]) -> list[int]:
    found = of_type(read_file(TABLE, _table(folder, name, values, steps)), LogEvent)
    return [event.step or 0 for event in found if event.kind == "run-resumed"]


STEPS = range(0, 200, 10)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("run_id", "a1f3", "b77c"), ("attempt", 0, 1), ("slurm_job_id", 8812, 8990), ("pid", 71, 904)],
)
def test_another_process_goes_on(tmp_path: Path, name: str, first: object, second: object) -> None:
    assert _resumes(tmp_path, name, [first] * 12 + [second] * 8, STEPS) == [110]


def test_what_is_none(tmp_path: Path) -> None:
    assert not _resumes(tmp_path, "run_id", ["a"] * 20, STEPS)
    assert not _resumes(tmp_path, "run_id", ["a", "b"] * 10, STEPS)  # two that write at once
    again = [*range(0, 120, 10), *range(0, 80, 10)]
    assert not _resumes(tmp_path, "run_id", ["a"] * 12 + ["b"] * 8, again)  # another run
    assert not _resumes(tmp_path, "batch_id", ["a"] * 12 + ["b"] * 8, STEPS)


def test_rows_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [{"step": s, "run_id": "a" if s < 120 else "b", "loss": 2.0} for s in STEPS]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    (event,) = (e for e in of_type(read_file(JSON, path), LogEvent) if e.kind == "run-resumed")
    assert event.step == 110
    assert event.text == "run_id is b from step 120 on, and a up to there"
