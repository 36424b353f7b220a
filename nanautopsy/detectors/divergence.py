"""A finite loss that ends far above where it began or had been, and stays there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.attempts import take
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.lr_schedule import DETECTOR as LR_SCHEDULE
from nanautopsy.difficulty import is_made_harder
from nanautopsy.kept_success import keeps_success
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_moving_target, is_unbound
from nanautopsy.objective_changes import Changes, changes_of, evened, is_back, is_new_objective
from nanautopsy.objectives import minimized
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    objectives = minimized(run)
    if not objectives:
        return
    changes = changes_of(run, [f.step for f in LR_SCHEDULE.detect(run) if f.step is not None])
    for series in objectives:
        if series.begins:
            series = take(series, slice(series.begins[-1], None))
        moves = is_moving_target(run, series) or is_made_harder(run, series)
        diverged = _diverged(series, moves, changes)
        if diverged is not None and (_is_beyond(series) or not keeps_success(run, series)):
            yield diverged
    yield from _never_back(run)


def _never_back(run: Run) -> Iterator[Finding]:
    """An evaluation before training that every later one lies far above."""
    starts = [int(s.steps[0]) for s in run.by_role("loss") if len(s) and s.axis == "step"]
    for series in run.by_role("eval_loss"):
        values = series.values
        long = len(values) >= thresholds.EARLY_POINTS and bool(np.isfinite(values).all())
        if not long or series.axis != "step" or not starts or series.steps[0] >= min(starts):
            continue
        first, least = float(values[0]), float(values[1:].min())
        if 0 < first and least >= thresholds.DIVERGED_FACTOR**4 * first:
            yield Finding(
                id="diverged-loss",
                text=phrase(
                    "{tag} was {first} before training and never came below {least} again",
                    tag=series.tag,
                    first=shown(first),
                    least=shown(least),
                ),
                source=series.at(1),
                step=int(series.steps[1]),
                last_good=int(series.steps[0]),
                data={"from": first, "to": float(values[-1]), "best": first},
            )
            return


def _diverged(series: Series, moving_target: bool, changes: Changes) -> Finding | None:
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
    even = evened(series, changes)
    rises = not moving_target and _rises(even.values, _tail(even.values))
    rose = rises and not is_new_objective(even, changes)
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


def _rises(values: NDArray[np.float64], tail: NDArray[np.float64]) -> bool:
    """A loss that left the range in which it had been, or never got better than it began."""
    initial, level = float(values[0]), float(np.median(tail))
    body = values[: -len(tail)]
    if _leaps_at_once(values):
        return True
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


def _leaps_at_once(values: NDArray[np.float64]) -> bool:
    """A loss that is far above its first value from the second on, however it scatters there: of so
    many draws the first is not by chance the lowest by so much."""
    return (
        len(values) >= thresholds.NEVER_LEARNED_POINTS
        and float(values[1:].min()) >= thresholds.DIVERGED_FACTOR * float(values[0])
        and float(values.max()) >= thresholds.LEAP_FACTOR * float(values[0])
    )


def _noise(values: NDArray[np.float64]) -> float:
    """Standard deviation of the logarithm from point to point, apart from any trend: differences
    of neighbors have twice the variance of one."""
    steps = np.diff(np.log(values))
    spread = float(np.median(np.abs(steps - np.median(steps)))) if len(steps) else 0.0
    return thresholds.NORMAL_MAD * spread / float(np.sqrt(2))


def _loses_it(series: Series, changes: Changes) -> int | None:
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
    if len(after) < thresholds.DIVERGED_MIN_POINTS // 2:
        return None
    jumped = changes.rate_jumped(series, start)
    # Behind a rate that jumped a few points will do, where the level is another one altogether.
    few = jumped and float(after.min()) >= thresholds.DIVERGED_FACTOR**2 * float(values[start - 1])
    least = thresholds.DIVERGED_MIN_POINTS // (2 if few else 1)
    if len(after) < max(least, len(values) * thresholds.DIVERGED_TAIL):
        return None
    third = len(after) // 3
    level, then = float(np.median(after[-third:])), float(np.median(after[third : 2 * third]))
    sudden = start - learned <= max(2 * settle, len(values) // 20)
    if not sudden or level < thresholds.STILL_LEARNING * then:
        return None
    if jumped:
        return start
    back = abs(level / initial - 1) <= thresholds.BACK_AT_START
    lost = changes.resumed(series, start) and is_back(values, start)
    if not lost and changes.stage_began(series, start) and is_new_objective(series, changes):
        return None
    peak = float(after[: 2 * settle].max())
    return start if back or lost or peak >= thresholds.OVERSHOOT_FACTOR * level else None


DETECTOR = Detector("divergence", _detect)
