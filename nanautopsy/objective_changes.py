"""What changes the level of a loss without breaking the run: another objective, harder data.

Where the run says that something else begins to be trained its loss may step up; where it says
nothing, the shape of the step tells. A learning rate that jumps there excuses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.stages import is_any_unplaced, stage_changes


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in the run, by step."""

    jumps: Sequence[int]
    """Where a learning rate jumps."""
    stages: Sequence[int]
    """Where something else begins to be trained."""
    resumes: Sequence[int]
    """Which of these are resumes."""
    unplaced: bool
    """Whether the log says so without a step."""

    def rate_jumped(self, series: Series, at: int) -> bool:
        """Whether a rate jumped shortly before point ``at``."""
        first = series.steps[max(0, at - thresholds.LR_JUMP_WINDOW)]
        return any(first <= step <= series.steps[at] for step in self.jumps)

    def stage_began(self, series: Series, at: int) -> bool:
        """Whether something else began to be trained right before point ``at``."""
        first = series.steps[max(0, at - thresholds.STAGE_WINDOW)]
        return self.unplaced or any(first <= step <= series.steps[at] for step in self.stages)

    def resumed(self, series: Series, at: int) -> bool:
        """Whether the run resumed right before point ``at``."""
        first = series.steps[max(0, at - thresholds.STAGE_WINDOW)]
        return any(first <= step <= series.steps[at] for step in self.resumes)

    def most(self, series: Series, at: int) -> float:
        """By how much another objective may lift the loss at point ``at``."""
        if self.resumed(series, at):
            return thresholds.RESUMED_OBJECTIVE_MAX
        return thresholds.NEW_OBJECTIVE_MAX


def changes_of(run: Run, jumps: Sequence[int]) -> Changes:
    """``jumps``: the steps at which a learning rate jumps."""
    resumes = [e.step for e in run.events_of("run-resumed") if e.step is not None]
    return Changes(jumps, stage_changes(run), resumes, is_any_unplaced(run))


def evened(series: Series, changes: Changes) -> Series:
    """As if the loss had kept its level where the run says that something else begins to be
    trained; what it does behind such a change is left as it is."""
    values = series.values.copy()
    for step in changes.stages:
        at = int(np.searchsorted(series.steps, step, side="right"))
        before = series.values[max(0, at - thresholds.STAGE_POINTS) : at]
        after = series.values[at : at + thresholds.STAGE_POINTS]
        if min(len(before), len(after)) < thresholds.STAGE_POINTS or changes.rate_jumped(
            series, at
        ):
            continue
        # At chance where the run resumed: no other objective, but what was not restored.
        if changes.resumed(series, at) and is_back(series.values, at):
            continue
        ratio = float(np.median(after) / np.median(before))
        if 1 < ratio <= changes.most(series, at):
            values[at:] /= ratio
    return replace(series, values=values)


def is_back(values: NDArray[np.float64], at: int) -> bool:
    """Whether the level from ``at`` on is that of the beginning, which in a run that learns fast
    only its first row shows."""
    level = float(np.median(values[at:]))
    begun = (float(values[0]), float(np.median(values[:3])))
    return any(abs(level / initial - 1) <= thresholds.BACK_AT_START for initial in begun)


def is_new_objective(series: Series, changes: Changes) -> bool:
    """A step from one level to another, from which the loss does not climb on.

    A term that is added to the objective, or harder data, lift it so; a run that was broken climbs,
    overshoots or stays. The level before must have been held, and no learning rate have jumped.
    Where the run says that a stage begins, a few points on either side will do, and the loss may
    stay.
    """
    values = series.values
    at = _largest_step(values)
    before, after = values[:at], values[at:]
    stated = changes.stage_began(series, at)
    least = thresholds.STAGE_POINTS if stated else len(values) // 5
    least = least if stated else max(thresholds.DIVERGED_MIN_POINTS, least)
    if min(len(before), len(after)) < least or changes.rate_jumped(series, at):
        return False
    first, middle, last = (float(np.median(part)) for part in np.array_split(after, 3))
    if first > changes.most(series, at) * float(np.median(before)):
        return False
    calm = float(before.max()) < thresholds.GROWTH_FACTOR / 2 * float(np.median(before))
    overshoots = _peak(after) >= thresholds.OVERSHOOT_FACTOR * first
    if overshoots or (not stated and not calm):
        return False
    falls = middle < thresholds.STILL_LEARNING * first and last < thresholds.STILL_LEARNING * middle
    stays = last <= first / thresholds.STILL_LEARNING
    return falls or (stated and stays)


def _peak(values: NDArray[np.float64]) -> float:
    """The highest level of several points: losses of harder data are noisier."""
    parts = np.array_split(values, max(1, len(values) // 5))
    return max(float(np.median(part)) for part in parts)


def _largest_step(values: NDArray[np.float64]) -> int:
    """Index from which the level of a few points is most above that of a few before it, so that
    a single spike is no step."""
    logs = np.log(values)
    width = max(1, min(thresholds.STAGE_POINTS, len(values) // 8))
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    means = (sums[width:] - sums[:-width]) / width
    return int((means[width:] - means[:-width]).argmax()) + width
