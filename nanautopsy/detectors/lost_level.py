"""A loss that lost what was learned in ways that few rows show: a rate that jumped or kept rising,
a first row that is past what float32 can square.

:mod:`nanautopsy.detectors.divergence` asks for a long log and judges it by its shape alone. Where
the rate says what happened, a few rows at or above the first level will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.attempts import take
from nanautopsy.detectors.divergence import DETECTOR as DIVERGENCE
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.lr_schedule import DETECTOR as LR_SCHEDULE
from nanautopsy.detectors.resumes import behind
from nanautopsy.difficulty import is_made_harder
from nanautopsy.kept_success import keeps_success, never_rose
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_moving_target, is_running_sum, is_unbound
from nanautopsy.objectives import is_named_total
from nanautopsy.signal import shown
from nanautopsy.stages import is_any_unplaced, stage_changes
from nanautopsy.tag_words import words
from nanautopsy.wording import Phrase, phrase


def _detect(run: Run) -> Iterator[Finding]:
    losses = [s for s in run.by_role("loss") if len(s)]
    totals = [s for s in losses if is_named_total(s.tag)] or (losses if len(losses) == 1 else [])
    jumps = [f.step for f in LR_SCHEDULE.detect(run) if f.step is not None]
    for whole in totals:
        series = take(whole, slice(whole.begins[-1], None)) if whole.begins else whole
        values = series.values
        if is_unbound(series) or is_running_sum(series) or is_moving_target(run, series):
            continue
        if not np.isfinite(values).all() or (values <= 0).any():
            continue
        found = _behind_a_jump(series, jumps) or _behind_a_resume(run, series)
        if found is None and not stage_changes(run) and not is_any_unplaced(run):
            found = _with_the_rate(run, series) or _at_the_peak(run, series)
        if found is not None and keeps_success(run, series):
            found = None
        found = found or _past_squares(run, series) or _beyond_chance(run, series)
        if found is not None and not any(True for _ in DIVERGENCE.detect(run)):
            yield found
            return


def _behind_a_jump(series: Series, jumps: Sequence[int]) -> Finding | None:
    """All rows behind a jump of the rate lie at or above the level of the beginning, from which
    the loss had come a good way."""
    values = series.values
    for step in jumps:
        # The row of the jump itself may hold the loss before the step that was too long.
        at = int(np.searchsorted(series.steps, step))
        at += int(at < len(values) and values[at] < values[0])
        before, after = values[:at], values[at:]
        if len(before) < thresholds.LOST_POINTS or len(after) < thresholds.LOST_POINTS:
            continue
        initial, best = float(np.median(before[:3])), float(before[1:].min())
        if best > thresholds.LEARNED_SHARE * initial:
            continue
        share = len(after) >= thresholds.DIVERGED_TAIL * len(values)
        if (share and after.min() >= before[0]) or _fell_back(after, initial, best):
            how = phrase(
                "since the learning rate jumped it never came below {first}, where it began, "
                "after it had come to {best}",
                first=shown(min(float(before[0]), float(after.min()))),
                best=shown(best),
            )
            return _finding(series, at, how)
    return None


def _fell_back(after: NDArray[np.float64], initial: float, best: float) -> bool:
    """Whether a loss was thrown above its beginning and settled at that level again, that of
    chance, around which small batches scatter."""
    if len(after) < 2 * thresholds.LOST_POINTS:
        return False
    level = float(np.median(after[-len(after) // 4 :]))
    thrown = float(after[: len(after) // 2].max()) >= thresholds.OVERSHOOT_FACTOR * initial
    return (
        thrown
        and level >= (1 - thresholds.BACK_AT_START) * initial
        and float(after.min()) >= (initial + best) / 2
    )


def _behind_a_resume(run: Run, series: Series) -> Finding | None:
    """Rows behind a resume that begin far above all that the loss had ever been, and end many times
    above where it had come to. A new task may begin above the old one's beginning, not a hundred
    times as high."""
    values = series.values
    resumes = run.events_of("run-resumed")
    staged = set(stage_changes(run)) - {event.step for event in resumes}
    for event in resumes if not staged else ():
        if event.step is None:
            continue
        resumed = behind(series, event, event.step)
        before, after = values[~resumed], values[resumed]
        if len(before) < thresholds.LOST_POINTS or len(after) < thresholds.LOST_POINTS:
            continue
        usual = float(np.median(before[-thresholds.RESUME_WINDOW :]))
        thrown = float(after[: thresholds.RESUME_WINDOW].max())
        lost = float(after.min()) >= thresholds.DIVERGED_FACTOR * usual
        if lost and thrown >= thresholds.GROWTH_FACTOR**2 * float(before.max()):
            how = phrase(
                "since it resumed, where it went from {usual} to {thrown}",
                usual=shown(usual),
                thrown=shown(thrown),
            )
            return _finding(series, int(np.argmax(resumed)), how)
    return None


def _with_the_rate(run: Run, series: Series) -> Finding | None:
    """A loss that turned while the rate rose, and stays on a level above all that it had been."""
    values = series.values
    if len(values) < thresholds.RISEN_MIN_POINTS:
        return None
    tail = values[-max(thresholds.LOST_POINTS, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    best, level = int(values.argmin()), float(np.median(tail))
    middle = (float(values[best]) + level) / 2
    if values[best] >= middle:
        return None
    turned = int(np.flatnonzero(values < middle)[-1]) + 1
    before = values[:turned]
    if turned > len(values) - len(tail) or best >= turned or tail.min() <= before.max():
        return None
    high = level >= thresholds.RISEN_FACTOR * max(float(values[0]), float(np.median(before)))
    flat = _is_flat(values[turned:])
    if not high or not flat or not _rate_rose(run, series, best, turned):
        return None
    how = phrase(
        "above all that it had been, since the learning rate rose on past what had taken it to "
        "{best}",
        best=shown(float(values[best])),
    )
    return _finding(series, turned, how, with_rate=True)


def _at_the_peak(run: Run, series: Series) -> Finding | None:
    """A loss that gave back half of what it had learned while the rate rose, and lies there
    long after the rate rose last. A sweep of the rate ends on its way up; a cycle comes back."""
    values = series.values
    if len(values) < 2 * thresholds.RISEN_MIN_POINTS or is_made_harder(run, series):
        return None
    smooth = np.convolve(values, np.ones(3) / 3, mode="valid")
    at = int(smooth.argmin())
    initial, best = float(np.median(values[:3])), float(smooth[at])
    count = max(thresholds.LOST_POINTS, int(len(values) * thresholds.DIVERGED_TAIL))
    tail, above = values[-count:], thresholds.DIVERGED_FACTOR * best
    level = float(np.median(tail))
    if level < max((initial + best) / 2, thresholds.DIVERGED_FACTOR * above) or tail.min() < above:
        return None
    if level < thresholds.STILL_LEARNING * float(np.median(values[-2 * count : -count])):
        return None
    turned = min(int(np.flatnonzero(smooth < above)[-1]) + 2, len(values) - count)
    if not _rate_rose(run, series, at + 1, turned) or not _held_a_peak(run, series, at, count):
        return None
    how = phrase(
        "though it had come to {best} before the learning rate rose on, and stays there",
        best=shown(best),
    )
    return _finding(series, turned, how, with_rate=True)


def _held_a_peak(run: Run, series: Series, best: int, count: int) -> bool:
    """Whether the rate had never been as high when the loss was lowest, and rose no more over the
    last ``count`` rows of the loss."""
    for rate in run.by_role("learning_rate"):
        if rate.axis != series.axis:
            continue
        before = rate.values[rate.steps <= series.steps[best]]
        late = rate.values[rate.steps >= series.steps[-count]]
        if len(before) and len(late) >= 2 and late[-1] <= late[0]:
            return bool(np.nanmax(rate.values) > before.max())
    return False


def _is_flat(values: NDArray[np.float64]) -> bool:
    half = len(values) // 2
    return float(np.median(values[half:])) >= thresholds.STILL_LEARNING * float(
        np.median(values[:half]) if half else values[0]
    )


def _rate_rose(run: Run, series: Series, best: int, turned: int) -> bool:
    """Whether a logged rate at least doubled between two rows of the loss, without a fall."""
    first, last = series.steps[best], series.steps[turned]
    for rate in run.by_role("learning_rate"):
        if rate.axis != series.axis:
            continue
        between = rate.values[(rate.steps >= first) & (rate.steps <= last)]
        if len(between) >= 2 and (np.diff(between) >= 0).all():
            return bool(between[0] > 0 and between[-1] >= 2 * between[0])
    return False


def _past_squares(run: Run, series: Series) -> Finding | None:
    """A loss past what float32 can square within its first rows, or thrown up a thousandfold there
    and never below its beginning again, behind which nothing is learned: only weights that blew up
    give it, however far it falls with them."""
    first = series.values[: thresholds.EARLY_POINTS]
    at = int(first.argmax())
    whole = len(series) >= thresholds.LOST_POINTS
    if whole and series.values.min() >= thresholds.FLOAT32_SQUARE_MAX:
        return _finding(series, 0, phrase("and so it was from its first row on"))
    if len(series) <= thresholds.EARLY_POINTS or not never_rose(run, series):
        return None
    if first[at] < thresholds.FLOAT32_SQUARE_MAX and not _thrown(series, at):
        return None
    how = phrase(
        "after it was {value} within its first rows, and nothing was learned since",
        value=shown(float(first[at])),
    )
    return _finding(series, at, how)


def _thrown(series: Series, at: int) -> bool:
    values = series.values
    if len(values) < thresholds.NEVER_LEARNED_POINTS:
        return False
    smoothed = np.convolve(values[at + 1 :], np.ones(3) / 3, mode="valid")
    stays = float(smoothed.min()) >= thresholds.NEVER_LEARNED_BEST * values[0]
    return bool(values[at] >= thresholds.GROWTH_FACTOR**3 * values[0]) and stays


def _beyond_chance(run: Run, series: Series) -> Finding | None:
    """A cross-entropy that never came down to what guessing gives; that it is one per symbol tells
    the perplexity beside it, which is its exponential."""
    values = series.values
    if len(values) < thresholds.RISEN_MIN_POINTS or values.min() < thresholds.BEYOND_CHANCE:
        return None
    for other in run.by_role("eval_loss"):
        if not {"ppl", "perplexity"} & frozenset(words(other.tag)):
            continue
        if other.source.path != series.source.path or len(other) != len(values):
            continue
        exponents = np.log(other.values[np.isfinite(other.values)])
        if len(exponents) and np.allclose(
            exponents, values[np.isfinite(other.values)], rtol=0.01, atol=0.1
        ):
            how = phrase(
                "as in all of its rows: guessing among {symbols:.0e} symbols gives less",
                symbols=float(np.exp(thresholds.BEYOND_CHANCE)),
            )
            return _finding(series, 0, how)
    return None


def _finding(series: Series, at: int, how: Phrase, *, with_rate: bool = False) -> Finding:
    values = series.values
    level = float(np.median(values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]))
    return Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} ends at about {level}, {how}", tag=series.tag, level=shown(level), how=how
        ),
        source=series.at(at),
        step=int(series.steps[at]),
        last_good=int(series.steps[at - 1]) if at else None,
        data={
            "from": float(values[0]),
            "to": level,
            "best": float(values.min()),
            "with_rate": with_rate,
        },
    )


DETECTOR = Detector("lost-level", _detect)
