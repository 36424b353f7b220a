"""The labelled corpus: failures are told, healthy runs left alone, the table is current.

A cause that could be told and is not named counts in the table and fails nothing; a wrong one does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus.score import PARTS, Judged, judged, table

HERE = Path(__file__).resolve().parent
RESULTS = list(judged())


@pytest.fixture(params=RESULTS, ids=lambda result: result.truth["id"])
def result(request: pytest.FixtureRequest) -> Judged:
    judgement: Judged = request.param
    return judgement


def test_verdict_is_right_and_no_cause_is_wrong(result: Judged) -> None:
    if result.asks("verdict"):
        assert result.verdict_is_right, result.autopsy.headline
    assert not result.is_wrong, f"{result.named} named, {result.truth['cause']} is true"


def test_nothing_failed_inside(result: Judged) -> None:
    assert not [f.text for f in result.autopsy.findings if f.id == "detector-failed"]
    assert not [c.reason for c in result.autopsy.considered if c.status == "failed"]


def test_the_committed_table_is_current() -> None:
    assert (HERE / "score.md").read_text(encoding="utf-8") == table(RESULTS)


def test_every_run_has_its_truth_apart_from_it() -> None:
    runs = {path.name for path in (HERE / "runs").iterdir()}
    truths: dict[str, Any] = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (HERE / "truth").glob("*.json")
    }
    assert runs == truths.keys()
    for name, truth in truths.items():
        assert truth["id"] == name
        assert truth["part"] in PARTS
        assert (truth["cause"] is None) == (truth["healthy_twin_of"] is not None)


def test_no_family_and_framework_stands_in_both_parts() -> None:
    sides = {(r.truth["family"], r.truth["framework"], r.truth["part"]) for r in RESULTS}
    assert len(sides) == len({side[:2] for side in sides})
