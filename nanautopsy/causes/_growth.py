"""What else explains that something grew, for the causes that grow."""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes._resume import lost_state
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.learning_rates import from_a_resume
from nanautopsy.model import Finding
from nanautopsy.wording import phrase

EXPLANATIONS = (
    "lr-jump",
    "loss-scale-collapse",
    "projection-growth",
    "resume-jump",
    "policy-divergence",
    "value-runaway",
    "update-divergence",
    "router-growth",
)
"""Findings that explain why loss or gradients grew."""


def weigh_resume(case: Case, growth: Finding, weighing: Weighing) -> None:
    """A resumed run begins with what was restored, and grows by what was not."""
    resumed = from_a_resume(case.run, growth)
    if resumed is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("it began where the run resumed: {line}", line=resumed.text),
            resumed.source,
        )
    event = lost_state(case)
    if event is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("the program says what was lost: {line}", line=event.text),
            event.source,
        )
