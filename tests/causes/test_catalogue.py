"""Every cause is whole: its page, its references, a run that it kills and one that it leaves."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from nanautopsy.causes.interface import Cause
from nanautopsy.diagnose import load_causes
from nanautopsy.experiments import EXPERIMENTS
from nanautopsy.known_issues import load
from nanautopsy.next_steps import deciding

CAUSES = load_causes().parts
PARTS = ("What happens:", "Evidence for:", "Evidence against:", "Confirm:", "Fix:")
TRUTH = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent.parent / "corpus" / "truth").glob("*.json"))
]
DESIGNED = frozenset(
    "zero-init fp16-overflow attention-overflow optimizer-epsilon uninitialized-params "
    "wrong-checkpoint corrupt-checkpoint resume-mismatch lr-spike lr-too-high gradient-explosion "
    "bad-input-data empty-targets fully-masked-attention loss-domain-error singular-gradient "
    "moe-router rl-collapse version-bug communication-race hardware-fault".split()
)

each = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.id)


def page_of(cause: Cause) -> str:
    return importlib.import_module("nanautopsy.causes." + cause.id.replace("-", "_")).__doc__ or ""


def test_all_twenty_one_are_there() -> None:
    assert {cause.id for cause in CAUSES} == DESIGNED


@each
def test_the_page_has_every_part_in_order_and_none_is_empty(cause: Cause) -> None:
    page = page_of(cause)
    places = [page.find(part) for part in PARTS]
    assert -1 not in places and places == sorted(places)
    for part, begin, end in zip(PARTS, places, [*places[1:], len(page)], strict=True):
        said = page[begin + len(part) : end].split()
        assert len(said) >= 5, f"{part} says {' '.join(said)!r}"


@each
def test_references_are_links(cause: Cause) -> None:
    """A known issue brings its own."""
    links = cause.references or tuple(link for issue in load() for link in issue.links)
    assert links
    assert all(re.fullmatch(r"https://\S+", link) for link in links)


@each
def test_remedies_and_an_experiment_are_there(cause: Cause) -> None:
    assert cause.remedies
    assert deciding(cause.id, cause.id) in EXPERIMENTS


@each
def test_a_run_dies_of_it_and_its_twin_does_not(cause: Cause) -> None:
    assert [t["id"] for t in TRUTH if t["cause"] == cause.id], "no failing run"
    assert [t["id"] for t in TRUTH if t["healthy_twin_of"] == cause.id], "no healthy twin"
