"""A finite loss that ends far above where it began or had been, and stays there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.attempts import take
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.lr_schedule import DETECTOR as LR_SCHEDULE
from nanautopsy.kept_success import keeps_success
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_moving_target, is_unbound
from nanautopsy.objectives import minimized
from nanautopsy.signal import shown
from nanautopsy.stages import is_any_unplaced, stage_changes
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    objectives = minimized(run)
    stages = stage_changes(run) if objectives else []
    resumes = [e.step for e in run.events_of("run-resumed") if e.step is not None]
    jumps = _jumps(run) if objectives else []
    changes = _Changes(jumps, stages, resumes, is_any_unplaced(run))
    for series in objectives:
        if series.begins:
            series = take(series, slice(series.begins[-1], None))
        diverged = _diverged(series, is_moving_target(run, series), changes)
        if diverged is not None and (_is_beyond(series) or not keeps_success(run, series)):
            yield diverged


@dataclass(frozen=True, slots=True)
class _Changes:
    """What changed in the run, by step."""

    jumps: list[int]
    """Where a learning rate jumps."""
    stages: list[int]
    """Where something else begins to be trained."""
    resumes: list[int]
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

    def most(self, series: Series, at: int) -> float:
        """By how much another objective may lift the loss at point ``at``."""
        first = series.steps[max(0, at - thresholds.STAGE_WINDOW)]
        resumed = any(first <= step <= series.steps[at] for step in self.resumes)
        return thresholds.RESUMED_OBJECTIVE_MAX if resumed else thresholds.NEW_OBJECTIVE_MAX


def _jumps(run: Run) -> list[int]:
    """Steps at which a learning rate jumps."""
    return [f.step for f in LR_SCHEDULE.detect(run) if f.step is not None]


def _diverged(series: Series, moving_target: bool, changes: _Changes) -> Finding | None:
    """A finite loss that ends far above where it began or had been, and stays there.

    A run that had learned must lie high throughout its tail, so that a spike that came back, or
    one noisy last point, is none. One that never got better than it began may fall back to its
    beginning between spikes. The level must be one that training can lose: positive throughout.
    """
    values = series.values
    if is_unbound(series) or (values <= 0).any():
        return None
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return None
    tail = _tail(values)
    initial, level = float(values[0]), float(np.median(tail))
    even = _evened(series, changes)
    rises = not moving_target and _rises(even.values, _tail(even.values))
    rose = rises and not _is_new_objective(even, changes)
    lost = None if moving_target else _loses_it(even, changes)
    if _is_beyond(series):
        text = phrase("where the squares of its gradients are past float32's maximum")
    elif rose:
        text = phrase(
            "{ratio:.3g} times its first value {initial}, and does not come back",
            ratio=level / initial,
            initial=shown(initial),
        )
    elif lost is not None:
        text = phrase(
            "after it had come from {initial} to {best}: what was learned is lost",
            initial=shown(initial),
            best=shown(float(values.min())),
        )
    else:
        return None
    high = values >= min(level, thresholds.NEVER_LEARNED_FACTOR * initial)
    start = int(high.argmax()) if lost is None else lost
    return Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} ends at about {level}, {how}", tag=series.tag, level=shown(level), how=text
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={"from": initial, "to": level, "best": float(values.min())},
    )


def _tail(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The end of a run, by which it is judged."""
    return values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]


def _is_beyond(series: Series) -> bool:
    """Whether squares of its gradients are past the largest float32 throughout its tail."""
    return float(_tail(series.values).min()) >= thresholds.FLOAT32_SQUARE_MAX


def _evened(series: Series, changes: _Changes) -> Series:
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
        ratio = float(np.median(after) / np.median(before))
        if 1 < ratio <= changes.most(series, at):
            values[at:] /= ratio
    return replace(series, values=values)


def _rises(values: NDArray[np.float64], tail: NDArray[np.float64]) -> bool:
    """A loss that left the range in which it had been, or never got better than it began."""
    initial, level = float(values[0]), float(np.median(tail))
    body = values[: -len(tail)]
    smoothed = np.convolve(values, np.ones(3) / 3, mode="valid")
    reference = max(initial, float(smoothed[: -len(tail)].min(initial=initial)))
    # Losses of small batches scatter by factors, and the first may be a low draw; none is that of
    # a softmax which gives its label nothing.
    saturates = np.isclose(values, thresholds.SATURATED_SOFTMAX, rtol=1e-5).any()
    if not saturates and np.log(level / reference) <= thresholds.NOISE_DEVIATIONS * _noise(body):
        return False
    if level >= thresholds.DIVERGED_FACTOR * reference and tail.min() >= reference:
        return True
    return (
        len(values) >= thresholds.NEVER_LEARNED_POINTS
        and level >= thresholds.NEVER_LEARNED_FACTOR * initial
        and float(smoothed.min()) >= thresholds.NEVER_LEARNED_BEST * initial
    )


def _noise(values: NDArray[np.float64]) -> float:
    """Standard deviation of the logarithm from point to point, apart from any trend: differences
    of neighbors have twice the variance of one."""
    steps = np.diff(np.log(values))
    spread = float(np.median(np.abs(steps - np.median(steps)))) if len(steps) else 0.0
    return thresholds.NORMAL_MAD * spread / float(np.sqrt(2))


def _is_new_objective(series: Series, changes: _Changes) -> bool:
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


def _loses_it(series: Series, changes: _Changes) -> int | None:
    """Index at which a loss loses, at once and for good, half of what had been learned.

    A bounded loss (cross-entropy) cannot rise far above its first value: it falls back to the
    level of chance. A new stage of training steps up too; what tells a collapse is a peak above
    the new level, the beginning's level itself, or a learning rate that jumped right before. And
    it does not learn any more.
    """
    values = series.values
    settle = max(3, len(values) // 50)
    blocks = np.array_split(values, max(1, len(values) // settle))
    initial, best = float(np.median(values[:3])), min(float(np.median(b)) for b in blocks)
    if best > thresholds.LEARNED_SHARE * initial:
        return None
    middle = (initial + best) / 2
    start = int(np.flatnonzero(values < middle)[-1]) + 1
    learned = int(np.flatnonzero(values < best + (initial - best) / 4)[-1])
    after = values[start:]
    if len(after) < max(thresholds.DIVERGED_MIN_POINTS, len(values) * thresholds.DIVERGED_TAIL):
        return None
    third = len(after) // 3
    level, then = float(np.median(after[-third:])), float(np.median(after[third : 2 * third]))
    sudden = start - learned <= max(2 * settle, len(values) // 20)
    if not sudden or level < thresholds.STILL_LEARNING * then:
        return None
    if changes.rate_jumped(series, start):
        return start
    if changes.stage_began(series, start) and _is_new_objective(series, changes):
        return None
    peak = float(after[: 2 * settle].max())
    back = abs(level / initial - 1) <= thresholds.BACK_AT_START
    return start if back or peak >= thresholds.OVERSHOOT_FACTOR * level else None


DETECTOR = Detector("divergence", _detect)
