"""A loss that was thrown up where the run resumed, and has not come back to where it had been.

The rows behind a resume are often few: somebody looked and stopped. What tells a broken state from
another objective, whose level may be as far above, is that it swings: wrong moments throw the
weights far away, and each row shows another place. Or it begins just where the run had begun:
weights that were not restored are those of an initializer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.resumes import behind, places, with_earlier
from nanautopsy.kept_success import keeps_success
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.moving_targets import is_moving_target, is_running_sum, is_unbound
from nanautopsy.signal import shown
from nanautopsy.stages import is_any_unplaced
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    if is_any_unplaced(run):
        return
    for event in run.events_of("run-resumed"):
        for axis, step in places(event):
            for series in run.by_role("loss"):
                if series.axis != axis or is_unbound(series) or is_running_sum(series):
                    continue
                found = _collapse(with_earlier(run, series, step), event, step)
                excused = is_moving_target(run, series) or keeps_success(run, series)
                excused = excused or _is_stage(run, found)
                if found is not None and not excused:
                    yield found
                    return


def _is_stage(run: Run, found: Finding | None) -> bool:
    """Whether the log says, around the resume, that something else is trained behind it."""
    if found is None or found.step is None or found.last_good is None:
        return False
    margin = thresholds.STAGE_WINDOW * (found.step - found.last_good)
    stages = [e.step for e in run.events_of("stage-changed") if e.step is not None]
    return any(found.last_good - margin <= s <= found.step + margin for s in stages)


def _collapse(series: Series, event: LogEvent, step: int) -> Finding | None:
    later = behind(series, event, step)
    values = series.values
    before, after = values[~later], values[later]
    if len(before) < 2 * thresholds.RESUME_WINDOW or len(after) < thresholds.LOST_POINTS:
        return None
    if not np.isfinite(values).all() or (values <= 0).any():
        return None
    first = float(np.median(before[:3]))
    recent = before[-2 * thresholds.RESUME_WINDOW :]
    level = float(np.median(recent))
    if level > thresholds.LEARNED_SHARE * first or after.min() <= recent.max():
        return None
    if after[: thresholds.RESUME_WINDOW].max() >= thresholds.GROWTH_FACTOR * before.max():
        lost = _swings(recent, after)
    else:
        lost = _is_back(before, level, after)
    if not lost:
        return None
    at = int(np.argmax(later))
    return Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} rises from about {old} to {peak} where the run resumed at step {step}, and does "
            "not come back",
            tag=series.tag,
            old=shown(level),
            peak=shown(float(after.max())),
            step=step,
        ),
        source=series.at(at),
        step=int(series.steps[at]),
        last_good=int(series.steps[at - 1]),
        data={"from": first, "to": float(np.median(after[-3:])), "best": float(before.min())}
        | {"resumed": str(event.source)},
    )


def _swings(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a row lies above the one before it by far more than rows did before the resume."""
    rise = float(np.diff(np.log(after)).max())
    usual = float(np.abs(np.diff(np.log(before))).max())
    return rise >= max(float(np.log(thresholds.SUDDEN_FACTOR)), 2 * usual)


def _is_back(before: np.ndarray, level: float, after: np.ndarray) -> bool:
    """Whether the rows behind the resume begin on the level of the run's own beginning, which
    another objective hardly has, and half of what had been learned does not return."""
    if len(after) < 2 * thresholds.LOST_POINTS:
        return False
    begin = float(np.median(after[: thresholds.RESUME_WINDOW]))
    near = 1 - thresholds.BACK_AT_START <= begin / before[0] <= thresholds.ABOVE_START
    return bool(near and after.min() >= (float(np.median(before[:3])) + level) / 2)


DETECTOR = Detector("resume-collapse", _detect)
