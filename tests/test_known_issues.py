"""The catalog of library defects: every entry is whole, and can be met by a run."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import nanautopsy.detectors
from nanautopsy.facts import FACTS
from nanautopsy.known_issues import Condition, KnownIssue, load, matches_version

ENTRIES = sorted(
    (entry for entry in files("nanautopsy.known_issues").iterdir() if entry.name.endswith(".yaml")),
    key=lambda entry: entry.name,
)
RAW: dict[str, dict[str, Any]] = {
    entry.name: yaml.safe_load(entry.read_text(encoding="utf-8")) for entry in ENTRIES
}
ISSUES = {f"{issue.id}.yaml": issue for issue in load()}
REQUIRED = {
    "id",
    "title",
    "package",
    "affected",
    "status",
    "date",
    "signature",
    "remedies",
    "links",
}
OPTIONAL = {"fixed_in", "conditions", "after_good_steps", "within_first_steps"}


def finding_ids() -> set[str]:
    """Every text in the detectors that can be the id of a finding."""
    found = set()
    for path in nanautopsy.detectors.__path__:
        for module in Path(path).glob("*.py"):
            tree = ast.parse(module.read_text(encoding="utf-8"))
            found |= {
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    return {text for text in found if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", text)}


def test_every_file_is_an_issue_named_as_its_id() -> None:
    assert set(ISSUES) == set(RAW)
    assert len(RAW) > 0


def test_the_fields_are_those_that_the_loader_knows() -> None:
    assert {field.name for field in fields(KnownIssue)} == REQUIRED | OPTIONAL


@pytest.mark.parametrize("name", RAW)
def test_an_entry_has_its_fields_and_no_others(name: str) -> None:
    raw = RAW[name]
    assert set(raw) >= REQUIRED
    assert set(raw) <= REQUIRED | OPTIONAL
    for condition in raw.get("conditions", ()):
        assert "fact" in condition
        assert len(condition.keys() & {"is", "above"}) == 1
        assert condition.keys() <= {"fact", "is", "above"}


@pytest.mark.parametrize("name", ISSUES)
def test_an_entry_is_sound(name: str) -> None:
    issue = ISSUES[name]
    assert issue.status in ("reported", "confirmed")
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])(-\d\d)?", issue.date)
    assert issue.package == canonicalize_name(issue.package)
    assert issue.title
    assert not issue.title.endswith(".")
    assert issue.remedies
    assert issue.links
    assert all(re.match(r"https://[\w.-]+/\S+$", link) for link in issue.links)
    assert issue.after_good_steps >= 0
    assert not (issue.after_good_steps and issue.within_first_steps)


@pytest.mark.parametrize("name", ISSUES)
def test_the_range_is_one_and_ends_where_it_was_fixed(name: str) -> None:
    issue = ISSUES[name]
    affected = SpecifierSet(issue.affected)
    assert len(affected) >= 1
    assert any(spec.operator in (">", ">=", "==", "~=") for spec in affected)
    first = min(Version(spec.version) for spec in affected if spec.operator in (">=", "==", "~="))
    assert matches_version(issue, str(first))
    if issue.fixed_in is not None:
        assert not affected.contains(issue.fixed_in, prereleases=True)
        assert Version(issue.fixed_in) > first


@pytest.mark.parametrize("name", ISSUES)
def test_a_run_can_meet_it(name: str) -> None:
    issue = ISSUES[name]
    assert {condition.fact for condition in issue.conditions} <= FACTS
    assert issue.signature
    assert set(issue.signature) <= finding_ids()


# --- matching -------------------------------------------------------------------------------------


def issue_of(affected: str) -> KnownIssue:
    return KnownIssue(
        "x", "x", "torch", affected, None, "reported", "2024-01", (), (), 0, False, (), ()
    )


@pytest.mark.parametrize(
    ("version", "inside"),
    [
        ("2.0.0", True),
        ("2.0.1+cu118", True),
        ("2.1.0a0+git1234", False),
        ("2.1.0", False),
        ("2.1", False),
        ("1.13.1", False),
        ("v2.0.1", True),
        ("unknown", False),
        ("", False),
        ("2.0.0 (editable)", False),
    ],
)
def test_versions_against_a_range(version: str, inside: bool) -> None:
    assert matches_version(issue_of(">=2.0.0,<2.1"), version) is inside


@pytest.mark.parametrize(
    ("condition", "value", "holds", "text"),
    [
        (Condition("zero_stage", 2), 2.0, True, "zero_stage = 2"),
        (Condition("zero_stage", 2), 3.0, False, "zero_stage = 2"),
        (Condition("overlap_comm", True), True, True, "overlap_comm = true"),
        (Condition("overlap_comm", True), False, False, "overlap_comm = true"),
        (Condition("clipping", above=0), 1.0, True, "clipping > 0"),
        (Condition("clipping", above=0), 0.0, False, "clipping > 0"),
        (Condition("clipping", above=0), float("nan"), False, "clipping > 0"),
        (Condition("clipping", above=0), "1.0", False, "clipping > 0"),
        (Condition("clipping", above=0), True, False, "clipping > 0"),
        (Condition("clipping", above=0), None, False, "clipping > 0"),
    ],
)
def test_conditions(condition: Condition, value: Any, holds: bool, text: str) -> None:
    assert condition.holds(value) is holds
    assert condition.text == text
