"""What a cause is: a module here that defines ``CAUSE``, or an entry point of the group
``nanautopsy.causes``.

The module docstring is the page that explains the cause: what happens and why, evidence for,
evidence against, how to confirm, how to fix. ``assess`` is a pure function of the case; it opens
no file and knows no other cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nanautopsy.known_issues.parse import KnownIssue
from nanautopsy.model import (
    Assessment,
    Evidence,
    Fact,
    Finding,
    Onset,
    Run,
    Source,
    Verdict,
)
from nanautopsy.places import interval

_NEAR = 2
"""Logged points."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a cause may look at."""

    run: Run
    findings: tuple[Finding, ...]
    onset: Onset | None
    verdict: Verdict
    known_issues: tuple[KnownIssue, ...] = ()
    """The catalog of library defects; empty: the package's own."""

    def found(self, *ids: str) -> tuple[Finding, ...]:
        """Findings of these ids that do not follow the onset: cascade never votes."""
        return tuple(f for f in self.findings if f.id in ids and f.role != "cascade")

    def at_onset(self, *ids: str, since: bool = False) -> tuple[Finding, ...]:
        """Those of them that lie at the onset's step; ``since``: or behind the last finite one."""
        onset = self.onset
        if onset is None or onset.step is None:
            return ()
        first = onset.last_finite if since and onset.last_finite is not None else onset.step
        return tuple(
            f
            for f in self.found(*ids)
            if f.step is not None
            and first <= f.step <= onset.step
            and f.data.get("axis", "step") == onset.axis
        )

    def grew_alike(self, *ids: str) -> tuple[Finding, ...]:
        """Those of them that did not begin where the ranks began to disagree: what grows behind
        that is no growth of the training itself."""
        parted = [f.last_good for f in self.found("ranks-disagree") if f.last_good is not None]
        return tuple(
            f
            for f in self.found(*ids)
            if not parted or not isinstance(b := f.data.get("began"), int) or b < min(parted)
        )

    def near_onset(self, *ids: str) -> tuple[Finding, ...]:
        """Those that lie within a few logged points of the onset, on either side: what a program
        says of a step that it computed again stands behind the step's row."""
        onset = self.onset
        if onset is None or onset.step is None:
            return ()
        logged = self.run.by_role("loss", "grad_norm")
        reach = _NEAR * max((interval(s) for s in logged if s.axis == onset.axis), default=1)
        return tuple(
            f
            for f in self.findings
            if f.id in ids and f.step is not None and abs(f.step - onset.step) <= reach
        )

    def fact(self, name: str) -> Fact | None:
        """A canonical fact, if anything states it."""
        return self.run.facts.get(name)

    def states(self, name: str, value: object) -> Fact | None:
        """The fact, if it is stated and has this value."""
        fact = self.run.facts.get(name)
        return fact if fact is not None and fact.value == value else None

    @property
    def death(self) -> int | None:
        """Step of the onset, or where a finite run began to diverge."""
        if self.onset is not None:
            return self.onset.step
        return next((f.step for f in self.findings if f.id == "diverged-loss"), None)


@dataclass(frozen=True, slots=True)
class Need:
    """Evidence without which a cause cannot be judged."""

    what: str
    """As in: *not applicable: no learning rate was read*."""
    present: Callable[[Run], bool]


@dataclass(frozen=True, slots=True)
class Cause:
    """One possible cause of death."""

    id: str
    title: str
    """A phrase that completes *Probably:* ..."""
    assess: Callable[[Case], Assessment]
    """Called only for a run that failed, and only when every need is met."""
    remedies: tuple[str, ...]
    references: tuple[str, ...]
    needs: tuple[Need, ...] = ()


@dataclass(slots=True)
class Weighing:
    """Collects evidence while a cause is assessed."""

    evidence: list[Evidence] = field(default_factory=list)

    def speaks_for(self, strength: float, text: str, source: Source) -> None:
        """A fact that the cause makes likelier."""
        self.evidence.append(Evidence(True, strength, text, source))

    def speaks_against(self, strength: float, text: str, source: Source) -> None:
        """A fact that the cause makes less likely."""
        self.evidence.append(Evidence(False, strength, text, source))

    def fired(
        self, remedies: tuple[str, ...] = (), references: tuple[str, ...] = (), title: str = ""
    ) -> Assessment:
        """The assessment: strongest evidence first."""
        ordered = sorted(self.evidence, key=lambda e: (not e.supports, -e.strength))
        return Assessment(
            "fired", tuple(ordered), remedies=remedies, references=references, title=title
        )


def quiet(reason: str) -> Assessment:
    """The rule had what it needs and saw nothing that speaks for the cause."""
    return Assessment("quiet", reason=reason)
