"""Assessments in, ranked causes or *undetermined* out.

Each fired cause has log-odds: the prior plus its evidence for, minus its evidence against. Causes
that explain the same death compete with each other and with *something else*, whose odds are 1:
``share(i) = odds(i) / (1 + sum of all odds)``, which calibration makes a probability. Below the
floor a cause is not named.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause
from nanautopsy.model import Assessment, RankedCause
from nanautopsy.plugins import Parts, load_parts
from nanautopsy.wording import Phrase, listed, phrase


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The ranking."""

    causes: tuple[RankedCause, ...]
    """At or above the floor, most probable first."""
    considered: tuple[RankedCause, ...]
    """The others: rivals below the floor first, then quiet and not applicable ones."""


def load_causes() -> Parts:
    """Our causes, then third parties'."""
    return load_parts(("nanautopsy.causes",), "CAUSE", "nanautopsy.causes")


def diagnose(case: Case, causes: Iterable[Cause]) -> Diagnosis:
    """Ask every cause and rank those that fired."""
    assessed = [(cause, assess(cause, case)) for cause in causes]
    odds = {c.id: _odds(a) for c, a in assessed if a.status == "fired"}
    total = 1.0 + sum(odds.values())
    # Rounded, since the last digits of a sum differ between Python versions.
    ranked = [_ranked(c, a, round(calibrated(odds.get(c.id, 0.0) / total), 6)) for c, a in assessed]
    ranked.sort(key=lambda r: (-r.probability, r.status != "quiet", r.id))
    named = tuple(r for r in ranked if r.probability >= thresholds.PROBABILITY_FLOOR)
    return Diagnosis(named, tuple(r for r in ranked if r not in named))


def calibrated(share: float) -> float:
    """A share of the odds as the probability that it turns out to be: its own odds to the power
    of ``thresholds.SHARPNESS``. One half stays one half, and the order stays."""
    sure: float = share**thresholds.SHARPNESS
    rest: float = (1.0 - share) ** thresholds.SHARPNESS
    return min(sure / (sure + rest), thresholds.SUREST)


def assess(cause: Cause, case: Case) -> Assessment:
    """One cause's answer; one that fails becomes a visible failure, not a crash."""
    if case.verdict not in ("non-finite", "diverged"):
        return Assessment("quiet", reason=phrase("the run did not fail"))
    missing = [need.what for need in cause.needs if not need.present(case.run)]
    if missing:
        return Assessment("not-applicable", reason=_unread(missing))
    try:
        return cause.assess(case)
    except Exception as error:
        return Assessment(
            "failed",
            reason=phrase("the rule failed: {error}", error=f"{type(error).__name__}: {error}"),
        )


def _unread(missing: Sequence[str]) -> Phrase:
    none = [phrase("no {what}", what=what) for what in missing]
    return phrase("{none} was read", none=listed(none))


def _odds(assessment: Assessment) -> float:
    weight = sum(e.strength if e.supports else -e.strength for e in assessment.evidence)
    return math.exp(thresholds.PRIOR + weight)


def _ranked(cause: Cause, assessment: Assessment, probability: float) -> RankedCause:
    fired = assessment.status == "fired"
    reason = assessment.reason
    if fired and probability < thresholds.PROBABILITY_FLOOR:
        reason = reason or phrase("possible, but the evidence does not reach the floor")
    return RankedCause(
        id=cause.id,
        title=assessment.title or cause.title,
        probability=probability,
        status=assessment.status,
        evidence=assessment.evidence,
        remedies=_unique(assessment.remedies, cause.remedies) if fired else (),
        references=_unique(assessment.references, cause.references) if fired else (),
        reason=reason,
    )


def _unique(*groups: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for group in groups for text in group))
