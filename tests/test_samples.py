"""The sample runs: each failure is diagnosed, each healthy twin is left alone.

What is expected was measured while the runs trained, by hooks of their generators.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from gallery import SAMPLE_RUNS, sample_names

from nanautopsy import analyze
from nanautopsy.diagnose import load_causes
from nanautopsy.model import Autopsy
from nanautopsy.render.json import render


@dataclass(frozen=True)
class Expected:
    """Truth of one failing sample."""

    cause: str
    step: int
    """First step at which its artifacts show it."""
    last_finite: int | None
    layer: str | None
    """A part of the first layer's name, where the artifacts can tell it."""
    masked: bool = False


EXPECTED = {
    "paligemma-zero-projector": Expected("zero-init", 1, 0, "llm/layers/3/"),
    "blip2-opt-wrong-checkpoint": Expected("wrong-checkpoint", 1, None, None),
    "minigemini-deepspeed": Expected(
        "version-bug", 12, 11, "model.layers.0.mlp.up_proj", masked=True
    ),
    "nanovlm-fp16": Expected("fp16-overflow", 50, 40, None),
    "qwen25vl-attention": Expected("attention-overflow", 74, 73, "layers.2"),
    "lr-spike": Expected("lr-spike", 125, 124, None),
}
TWINS = sorted(name + "-healthy" for name in EXPECTED)


@cache
def autopsy_of(name: str) -> Autopsy:
    return analyze(SAMPLE_RUNS / name)


def test_every_sample_has_an_expectation() -> None:
    assert sample_names() == sorted([*EXPECTED, *TWINS])


def test_every_cause_has_a_failing_sample_and_a_healthy_twin() -> None:
    truths = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (Path(__file__).parent / "corpus" / "truth").glob("*.json")
    ]
    failing = {e.cause for e in EXPECTED.values()} | {t["cause"] for t in truths} - {None}
    twins = {e.cause for e in EXPECTED.values()} | {t["healthy_twin_of"] for t in truths} - {None}
    assert {cause.id for cause in load_causes().parts} == failing == twins


@pytest.mark.parametrize("name", EXPECTED)
def test_the_failure_is_diagnosed(name: str) -> None:
    expected, autopsy = EXPECTED[name], autopsy_of(name)
    assert autopsy.verdict == "non-finite"
    onset = autopsy.onset
    assert onset is not None
    assert (onset.last_finite, onset.step) == (expected.last_finite, expected.step)
    assert onset.masked is expected.masked
    if expected.layer is None:
        assert onset.layer is None
    else:
        assert onset.layer is not None
        assert expected.layer in onset.layer
    assert autopsy.causes[0].id == expected.cause
    assert len([e for e in autopsy.causes[0].evidence if e.supports]) >= 2


@pytest.mark.parametrize("name", TWINS)
def test_the_healthy_twin_is_left_alone(name: str) -> None:
    autopsy = autopsy_of(name)
    assert autopsy.verdict == "healthy"
    assert autopsy.onset is None
    assert autopsy.causes == ()
    assert all(c.status in ("quiet", "not-applicable") for c in autopsy.considered)


@pytest.mark.parametrize("name", sorted([*EXPECTED, *TWINS]))
def test_the_json_follows_its_schema(name: str) -> None:
    text = (files("nanautopsy") / "schema" / "autopsy-1.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(render(autopsy_of(name)), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("name", sorted([*EXPECTED, *TWINS]))
def test_every_statement_cites_an_artifact(name: str) -> None:
    autopsy = autopsy_of(name)
    known = {report.path for report in autopsy.run.artifacts}
    cited = [e.source.path for c in autopsy.causes for e in c.evidence]
    cited += [f.source.path for f in autopsy.findings]
    for path in cited:
        assert any(report == path or path in report or report in path for report in known), path


@pytest.mark.parametrize("name", sorted([*EXPECTED, *TWINS]))
def test_nothing_of_a_sample_is_lost_in_reading(name: str) -> None:
    for report in autopsy_of(name).run.artifacts:
        assert report.status in ("read", "skipped"), report.problems
