"""The labelled corpus: the committed table is what judging it anew gives.

Verdicts, steps, layers and causes, right and wrong ones, all stand in the table; so a change that
lowers or lifts any of them shows in the diff of ``score.md``.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from corpus.score import PARTS, Judged, judged, table

HERE = Path(__file__).resolve().parent
RESULTS = list(judged())


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.truth["id"])
def test_nothing_failed_inside(result: Judged) -> None:
    assert not [f.text for f in result.autopsy.findings if f.id == "detector-failed"]
    assert not [c.reason for c in result.autopsy.considered if c.status == "failed"]


def test_the_committed_table_is_current() -> None:
    assert (HERE / "score.md").read_text(encoding="utf-8") == table(RESULTS)


def test_every_run_is_planned_and_has_its_truth_apart_from_it() -> None:
    runs = {path.name for path in (HERE / "runs").iterdir()}
    truths: dict[str, Any] = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (HERE / "truth").glob("*.json")
    }
    with open(HERE / "runs.csv", encoding="utf-8", newline="") as file:
        planned = {row["id"]: row for row in csv.DictReader(file)}
    assert runs == truths.keys() == planned.keys()
    for name, truth in truths.items():
        assert truth["id"] == name
        assert (truth["style"], truth["keep"]) == (planned[name]["style"], planned[name]["keep"])
        assert truth["part"] in PARTS
        assert (truth["cause"] is None) == (truth["healthy_twin_of"] is not None)


def test_it_is_large_and_even_enough() -> None:
    truths = [r.truth for r in RESULTS]
    failed = [t for t in truths if t["cause"] is not None]
    assert len(truths) >= 300
    for part in PARTS:
        own = [t for t in failed if t["part"] == part]
        assert sum(t["part"] == part for t in truths) - len(own) >= len(own) / 2
    told = Counter(t["cause"] for t in failed if t["knowable"]["cause"])
    assert len(told) == 21 and min(told.values()) >= 4


def test_no_family_and_framework_stands_in_both_parts() -> None:
    sides = {(r.truth["family"], r.truth["framework"], r.truth["part"]) for r in RESULTS}
    assert len(sides) == len({side[:2] for side in sides})
