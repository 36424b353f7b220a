"""What else explains that something grew, for the causes that grow."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._resume import lost_state
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.cross_entropies import absurd_at_first
from nanautopsy.learning_rates import from_a_resume
from nanautopsy.model import Finding, Run
from nanautopsy.signal import shown
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


def weigh_first_entropy(case: Case, weighing: Weighing) -> None:
    """A first loss that no rate has made."""
    absurd = absurd_at_first(case.run)
    if absurd is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "{tag} is {first} before any update: the weights or the inputs have that size",
                tag=absurd.tag,
                first=shown(float(absurd.values[0])),
            ),
            absurd.at(0),
        )


def leapt(run: Run, loss: Finding, calm_until: int) -> bool:
    """Whether the loss rose ten thousandfold from one step to the next, while the gradient had
    its usual level up to there: data, weights or their scale were changed from outside."""
    for series in run.by_role("loss"):
        at = np.flatnonzero(series.steps == loss.step)
        if series.tag != loss.source.tag or not len(at) or not at[0]:
            continue
        (before, now), step = np.abs(series.values[at[0] - 1 : at[0] + 1]), series.steps[at[0]]
        follows = step - series.steps[at[0] - 1] == 1 and calm_until >= step - 1
        if follows and 0 < thresholds.GROWTH_FACTOR**4 * before <= now < np.inf:
            return True
    return False
