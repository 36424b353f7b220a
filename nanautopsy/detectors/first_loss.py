"""A loss that was already far up where a log with wide rows first shows what the updates did.

Rows every 5 or 10 steps, or once an epoch, leave out the climb of a run that breaks in its first
steps: what is left is one absurd number, and then NaN.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_running_sum, is_unbound
from nanautopsy.signal import first_nonfinite, shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("loss"):
        if is_unbound(series) or is_running_sum(series) or len(series) < 2:
            continue
        end = first_nonfinite(series)
        if end is None or not 0 < end <= thresholds.EARLY_POINTS:
            continue
        yield from _huge(series)
        yield from _evaluated(run, series, end)


def _huge(series: Series) -> Iterator[Finding]:
    """Behind updates, a level that no objective has and no scale of the data explains easily."""
    first = float(abs(series.values[0]))
    updates = series.axis == "epoch" or int(series.steps[0]) > 1
    if updates and first >= thresholds.HUGE_FIRST_LOSS:
        yield Finding(
            id="huge-first-loss",
            text=phrase(
                "{tag} is already {value} where it is first logged, at {axis} {step}",
                tag=series.tag,
                value=shown(first),
                axis=series.axis,
                step=int(series.steps[0]),
            ),
            source=series.at(0),
            step=int(series.steps[0]),
            data={"to": first, "began": int(series.steps[0])},
        )


def _evaluated(run: Run, series: Series, end: int) -> Iterator[Finding]:
    """An evaluation behind the last finite epoch that lies far above the mean over that epoch."""
    step, level = int(series.steps[end - 1]), float(abs(series.values[end - 1]))
    for other in run.by_role("eval_loss"):
        if (other.source.path, other.axis) != (series.source.path, series.axis):
            continue
        at = np.flatnonzero((other.steps == step) & np.isfinite(other.values))
        if not len(at):
            continue
        then = float(abs(other.values[at[0]]))
        if level > 0 and then >= thresholds.GROWTH_FACTOR**4 * level:
            yield Finding(
                id="loss-growth",
                text=phrase(
                    "{tag} is {then} behind {axis} {step}, over which {loss} is {level} on average",
                    tag=other.tag,
                    then=shown(then),
                    axis=series.axis,
                    step=step,
                    loss=series.tag,
                    level=shown(level),
                ),
                source=other.at(int(at[0])),
                step=step,
                data={"from": level, "to": then, "ratio": then / level, "began": step},
            )
            return


DETECTOR = Detector("first-loss", _detect)
