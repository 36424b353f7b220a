"""The labelled corpus: failures are told, healthy twins left alone, the table is current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus.score import Judged, judged, table

HERE = Path(__file__).resolve().parent
RESULTS = list(judged())


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.truth["id"])
def test_verdict_and_cause(result: Judged) -> None:
    assert result.verdict_is_right, result.autopsy.headline
    if result.truth["cause"] is None:
        assert not result.autopsy.causes
    else:
        assert result.named == result.truth["cause"]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.truth["id"])
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
        assert (truth["cause"] is None) == (truth["healthy_twin_of"] is not None)
