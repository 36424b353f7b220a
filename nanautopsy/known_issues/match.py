"""Whether a run shows a known issue: its version, its configuration, its signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanautopsy.circumstances import at_first_steps
from nanautopsy.known_issues import load, matches_version
from nanautopsy.known_issues.parse import KnownIssue
from nanautopsy.model import Finding

if TYPE_CHECKING:
    from nanautopsy.causes.interface import Case


def in_range(case: Case) -> list[KnownIssue]:
    """The issues whose range holds the version that was read."""
    packages = case.run.packages
    return [
        issue
        for issue in case.known_issues or load()
        if issue.package in packages and matches_version(issue, packages[issue.package].version)
    ]


def configured(case: Case, issue: KnownIssue) -> bool:
    """Whether the run states all that the issue needs, and nothing that rules it out."""
    return not any(condition.refused(case.run) for condition in issue.conditions)


def possible(case: Case) -> list[KnownIssue]:
    """Issues that fit in every way but are not telling enough to be named; confirmed ones first.

    One that needs no setting fits half of all runs, and is left out.
    """
    fitting = [
        issue
        for issue in in_range(case)
        if issue.needed and configured(case, issue) and signature(case, issue) is not None
    ]
    return sorted(fitting, key=lambda issue: (issue.status != "confirmed", issue.id))


def signature(case: Case, issue: KnownIssue) -> Finding | None:
    """A finding of the defect's signature, where the onset is as the defect makes it."""
    if not _onset_fits(case, issue):
        return None
    there = {f.id for f in case.findings}
    if not there.issuperset(issue.also) or not there.isdisjoint(issue.without):
        return None
    # The signature may unfold over the first steps after the onset (grad norm, then loss).
    found = [f for f in case.findings if f.id in issue.signature]
    if issue.one_rank:
        found = [f for f in found if isinstance(f.data.get("rank"), int)]
    return found[0] if found else None


def _onset_fits(case: Case, issue: KnownIssue) -> bool:
    onset = case.onset
    if onset is None:
        return False
    if issue.after_good_steps:
        if onset.last_finite is None or onset.last_finite < issue.after_good_steps:
            return False
    if issue.within_first_steps and not at_first_steps(case.run, onset):
        return False
    if issue.quantity and onset.quantity not in issue.quantity:
        return False
    return issue.value is None or onset.value == issue.value
