"""The catalog of library defects: every entry is whole, and can be met by a run."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import NAN, case_of, checkpoint, make_run, series, tensor
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import nanautopsy.detectors
from nanautopsy.candidates import QUANTITY
from nanautopsy.causes.interface import Case
from nanautopsy.diagnose import assess, diagnose, load_causes
from nanautopsy.facts import FACTS
from nanautopsy.known_issues import (
    Condition,
    KnownIssue,
    load,
    matches_version,
    merged,
    page,
    read_directory,
)
from nanautopsy.model import Assessment, Fact, Finding, Onset, Run, Source

ENTRIES = sorted(
    (entry for entry in files("nanautopsy.known_issues").iterdir() if entry.name.endswith(".yaml")),
    key=lambda entry: entry.name,
)
RAW: dict[str, dict[str, Any]] = {
    entry.name: yaml.safe_load(entry.read_text(encoding="utf-8")) for entry in ENTRIES
}
ISSUES = {f"{issue.id}.yaml": issue for issue in load()}


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
    bounds = [Version(spec.version) for spec in affected]
    if issue.fixed_in is not None:
        assert not affected.contains(issue.fixed_in, prereleases=True)
        assert Version(issue.fixed_in) >= max(bounds)
    assert any(matches_version(issue, str(b)) for b in bounds) or all(
        spec.operator == "<" for spec in affected
    )


@pytest.mark.parametrize("name", ISSUES)
def test_a_run_can_meet_it(name: str) -> None:
    issue = ISSUES[name]
    assert {c.name for c in issue.conditions if c.subject == "fact"} <= FACTS
    words = {*issue.signature, *issue.also, *issue.without}
    assert words <= finding_ids()
    assert set(issue.quantity) <= {quantity for quantity, _ in QUANTITY.values()}


@pytest.mark.parametrize("name", ISSUES)
def test_it_has_a_page(name: str) -> None:
    text = page(ISSUES[name])
    assert text.startswith(f"{ISSUES[name].id}\n\n")
    assert all(link in text for link in ISSUES[name].links)


GENERIC = {"nonfinite-loss", "nonfinite-grad-norm", "nonfinite-parameters", "diverged-loss"}


@pytest.mark.parametrize("name", ISSUES)
def test_what_is_named_needs_more_than_a_version(name: str) -> None:
    issue = ISSUES[name]
    if issue.telling != "context":
        assert issue.needed
    if issue.telling == "strong":
        assert not GENERIC.issuperset(issue.signature)
        assert issue.status == "confirmed"


def test_there_are_many() -> None:
    assert len(ISSUES) >= 60


# --- in range, without the signature or the configuration ---------------------------------------


def _version_in(issue: KnownIssue) -> str:
    """A version in the affected range."""
    bounds = [spec.version for spec in SpecifierSet(issue.affected)]
    tried = [*bounds, *(f"{b}.post1" for b in bounds), "0.0.1", "1.0", "1.3.5"]
    return next(v for v in tried if matches_version(issue, v))


@pytest.mark.parametrize("name", ISSUES)
def test_in_range_without_its_configuration_it_is_never_named(name: str) -> None:
    issue = ISSUES[name]
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, NAN, NAN]),
        series("grad_norm", [1.0] * 7 + [NAN] * 2),
        packages={issue.package: _version_in(issue)},
    )
    result = _version_bug(run, issue)
    assert result.status == "quiet"
    assert issue.id in result.reason
    assert "other causes" not in result.reason


@pytest.mark.parametrize("name", ISSUES)
def test_in_range_of_a_healthy_run_it_is_never_named(name: str) -> None:
    issue = ISSUES[name]
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]),
        packages={issue.package: _version_in(issue)},
        config={"training": {c.name: c.values[0] for c in issue.needed if c.test == "is"}},
    )
    assert _version_bug(run, issue).status == "quiet"


def _version_bug(run: Run, *issues: KnownIssue) -> Assessment:
    cause = next(c for c in load_causes().parts if c.id == "version-bug")
    return assess(cause, replace(case_of(run), known_issues=issues))


TELLING = [name for name, issue in ISSUES.items() if issue.telling != "context"]


@pytest.mark.parametrize("name", TELLING)
def test_with_version_configuration_and_signature_it_is_named(name: str) -> None:
    issue = ISSUES[name]
    case = _meeting(issue)
    result = diagnose(case, load_causes().parts)
    version_bug = next(c for c in (*result.causes, *result.considered) if c.id == "version-bug")
    assert version_bug.status == "fired"
    assert issue.title in version_bug.title
    assert version_bug.remedies[: len(issue.remedies)] == issue.remedies
    for gone in issue.needed:
        without = replace(issue, conditions=(replace(gone, name="no-such-thing"),))
        assert _version_bug(case.run, without).status == "quiet"


def _meeting(issue: KnownIssue) -> Case:
    """A run that has all that the issue needs, seen through its last sign."""
    asked = {c.name: c for c in issue.needed}
    packages = {c.name: "1.0" if not c.value else str(c.value).strip("=<>") for c in issue.needed
                if c.subject == "package"}  # fmt: skip
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]),
        packages={issue.package: _version_in(issue)} | packages,
        config={"training": {c.name: c.values[0] for c in issue.needed if c.subject == "setting"}},
    )
    facts = {n: _fact(_meets(c)) for n, c in asked.items() if c.subject == "fact"}
    step = 2 if issue.within_first_steps else 500
    data = {"rank": 1} if issue.one_rank else {}
    sign = Finding(issue.signature[0], "the sign", Source("x"), step, role="initiating", data=data)
    quantity = issue.quantity[0] if issue.quantity else "loss"
    onset = Onset(step, step - 1, quantity, issue.value or "nan", True, None, (), None, False, "",
                  Source("x"))  # type: ignore[arg-type] # fmt: skip
    run = replace(run, facts={**run.facts, **facts})
    return Case(run, (sign,), onset, "non-finite", (issue,))


def _meets(condition: Condition) -> Any:
    value = condition.values[0]
    return value + 1 if condition.test == "above" and isinstance(value, (int, float)) else value


def test_one_that_is_met_is_named() -> None:
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, NAN, NAN, NAN, NAN, NAN, NAN]),
        config={"training": {"optim": "adamw_bnb_8bit"}},
        packages={"bitsandbytes": "0.38.1"},
    )
    result = _version_bug(run, *load())
    assert result.status == "fired"
    assert "bitsandbytes 0.38.1" in result.title
    fixed = replace(run.packages["bitsandbytes"], version="0.41.1")
    other = replace(run, packages={"bitsandbytes": fixed})
    assert _version_bug(other, *load()).status == "quiet"


def test_one_that_is_no_more_than_context_is_mentioned() -> None:
    run = make_run(
        series("loss", [2.0, 1.9, 1.8, NAN, NAN]),
        config={"training": {"attn_implementation": "sdpa"}},
        packages={"torch": "2.4.0"},
    )
    result = _version_bug(run, *load())
    assert result.status == "quiet"
    assert "torch-sdpa-fully-masked-row" in result.reason
    assert result.reason.endswith("has many other causes")


SLICE = tensor(
    "layer.weight", (64,), nan=8, first_nonfinite=(3,), part="moment", parameter="layer.weight",
    moment="exp_avg",
)  # fmt: skip


@pytest.mark.parametrize("ranks", [(1,), (0, 1)])
def test_damage_in_one_rank_alone(ranks: tuple[int, ...]) -> None:
    sound = replace(SLICE, nan=0, first_nonfinite=None)
    tensors = [replace(SLICE if r in ranks else sound, rank=r, name=f"r{r}") for r in (0, 1, 2)]
    run = make_run(
        checkpoint(10, *tensors),
        series("loss", [2.0] * 10),
        config={"deepspeed": {"bf16.enabled": True, "zero_optimization.stage": 2}},
        packages={"deepspeed": "0.16.0"},
    )
    issue = ISSUES["deepspeed-bf16-unchecked-overflow.yaml"]
    assert _version_bug(run, issue).status == ("fired" if ranks == (1,) else "quiet")
    checked = replace(run, facts={**run.facts, "bf16_check_grad_overflow": _fact(True)})
    assert _version_bug(checked, issue).status == "quiet"


def _fact(value: Any) -> Fact:
    return Fact(value, Source("x"))


# --- a team's own -------------------------------------------------------------------------------

OWN = """
id: our-kernel
title: our kernel is wrong
package: ours
affected: "<2"
status: confirmed
date: 2026-01
conditions:
  - {setting: kernel.version, is: 3}
signature: [nonfinite-loss]
telling: strong
remedies: ["Use kernel 4."]
links: [https://example.com/1]
"""


def test_a_directory_of_issues(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(OWN)
    (tmp_path / "b.yml").write_text(OWN.replace("our-kernel", "other"))
    (tmp_path / "c.yaml").write_text("id: [broken")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e.yaml").write_text(OWN)
    (tmp_path / "f.yaml").mkdir()
    with (tmp_path / "g.yaml").open("wb") as large:
        large.truncate(1 << 30)
    os.mkfifo(tmp_path / "h.yaml")
    (tmp_path / "notes.txt").write_text("nothing")
    catalog = read_directory(tmp_path)
    assert [issue.id for issue in catalog.issues] == ["other", "our-kernel"]
    assert len(catalog.problems) == 6
    assert all("\n" not in line and str(tmp_path) in line for line in catalog.problems)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="no such directory"):
        read_directory(tmp_path / "none")
    assert "no known issues" in read_directory(tmp_path).problems[0]


def test_own_issues_stand_beside_the_package_ones_and_replace_them() -> None:
    first = load()[0]
    own = (replace(first, title="other"), replace(first, id="zz"))
    both = merged(own)
    assert len(both) == len(load()) + 1
    assert both[0].title == "other"


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("title: our kernel is wrong\n", "", "title is missing"),
        ("date: 2026-01", "date: soon", "date: 'soon'"),
        ("status: confirmed", "status: sure", "none of reported, confirmed"),
        ('affected: "<2"', "affected: recent", "no range of versions"),
        ("telling: strong", "telling: very", "none of strong"),
        ("telling: strong", "telling: strong\nextra: 1", "extra is no field"),
        ("  - {setting: kernel.version, is: 3}", "  []", "needs a condition"),
        ("{setting: kernel.version, is: 3}", "{setting: a, is: 1, above: 2}", "not setting, is"),
        ("{setting: kernel.version, is: 3}", "{setting: a, is: [1]}", "a single value"),
        ("{setting: kernel.version, is: 3}", "{setting: a, one_of: 1}", "a list of values"),
        ("{setting: kernel.version, is: 3}", "{setting: a, within: <1}", "within is for packages"),
        ("{setting: kernel.version, is: 3}", "3", "no mapping"),
        ("signature: [nonfinite-loss]", "signature: nonfinite-loss", "no list of texts"),
        ("signature: [nonfinite-loss]", "signature: []", "must name something"),
        ("telling: strong", "telling: strong\nafter_good_steps: x", "no number of steps"),
        ("id: our-kernel", "id: Our Kernel", "id: 'Our Kernel'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, line: str, instead: str, words: str) -> None:
    assert line in OWN
    (tmp_path / "a.yaml").write_text(OWN.replace(line, instead))
    catalog = read_directory(tmp_path)
    assert not catalog.issues
    assert words in catalog.problems[0]


# --- matching -------------------------------------------------------------------------------------


def issue_of(affected: str) -> KnownIssue:
    return KnownIssue("x", "x", "torch", affected, None, "reported", "2024-01", (), (), (), ())


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
    ("test", "asked", "value", "holds", "text"),
    [
        ("is", 2, 2.0, True, "x = 2"),
        ("is", 2, "2", True, "x = 2"),
        ("is", 2, 3.0, False, "x = 2"),
        ("is", True, True, True, "x = true"),
        ("is", True, "True", True, "x = true"),
        ("is", True, False, False, "x = true"),
        ("is", "sdpa", "SDPA", True, "x = sdpa"),
        ("one_of", (1, 2), 2.0, True, "x = 1 or 2"),
        ("one_of", ("a", "b"), "c", False, "x = a or b"),
        ("above", 0, 1.0, True, "x > 0"),
        ("above", 0, "1.0", True, "x > 0"),
        ("above", 0, 0.0, False, "x > 0"),
        ("above", 0, float("nan"), False, "x > 0"),
        ("above", 0, True, False, "x > 0"),
        ("above", 0, None, False, "x > 0"),
        ("at_least", "9.0", "9.0", True, "x >= 9.0"),
        ("at_least", "9.0", "12.1", True, "x >= 9.0"),
        ("less_than", "9.0", "8.9", True, "x < 9.0"),
        ("less_than", "9.0", "12.1", False, "x < 9.0"),
        ("within", "<2", "1.9", True, "x <2"),
        ("within", "<2", "2.1", False, "x <2"),
        ("within", "", "anything", True, "x"),
        ("unless", True, False, True, "x not true"),
        ("unless", True, True, False, "x not true"),
    ],
)
def test_conditions(test: str, asked: Any, value: Any, holds: bool, text: str) -> None:
    condition = Condition("fact", "x", test, asked)
    assert condition.holds(value) is holds
    assert condition.text == text


def test_where_a_condition_looks() -> None:
    run = make_run(
        config={"training": {"kernel-args.Version": 3, "other.version": 4}},
        packages={"flax": "0.8"},
    )
    assert Condition("setting", "kernel_args.version", "is", 3).met(run)
    assert Condition("setting", "version", "is", 4).met(run)
    assert Condition("setting", "sion", "is", 4).met(run) is None
    assert Condition("package", "flax", "within", "<1").met(run)
    assert Condition("package", "jax", "within", "").met(run) is None
    missing = Condition("setting", "no.such", "unless", True)
    assert missing.met(run) is None
    assert not missing.refused(run)
    assert Condition("setting", "version", "unless", 3).refused(run)
    assert Condition("fact", "zero_stage", "is", 2).refused(run)


def test_a_defect_explains_more_than_what_it_leaves() -> None:
    """New weights that are NaN in float16, of the release that leaves them so and of another."""
    from builders import NAN, checkpoint, event, named_cause, series, tensor

    parts = (
        checkpoint(0, tensor("a.weight"), tensor("b.weight"), tensor("score.weight", nan=16)),
        event("weights-newly-initialized", keys=("score.weight",), count=1),
        series("loss", [NAN] * 5),
    )
    config = {"model": {"torch_dtype": "float16", "architectures.0": "X"}}
    found = {
        version: named_cause(*parts, config=config, packages={"transformers": version})
        for version in ("5.8.1", "5.9.0")
    }
    assert found == {"5.8.1": "version-bug", "5.9.0": "uninitialized-params"}
