"""A finite loss that was still exploding when the log ended (a run killed or cut short), or that
ended at a level which no objective has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.attempts import take
from nanautopsy.detectors.divergence import DETECTOR as DIVERGENCE
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.rl_metrics import is_reinforcement
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_running_sum, is_unbound
from nanautopsy.objectives import is_named_total
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    """Where the longer history of a loss shows that it diverged, nothing is added."""
    losses = [s for s in run.by_role("loss") if len(s)]
    totals = [s for s in losses if is_named_total(s.tag)] or (losses if len(losses) == 1 else [])
    found = [f for series in totals for f in _runaway(series)]
    if not found and not is_reinforcement(run):  # returns may be as large, and squared
        found = [f for series in losses for f in _beyond_measure(series)]
    if found and not any(True for _ in DIVERGENCE.detect(run)):
        yield found[0]


def _runaway(series: Series) -> Iterator[Finding]:
    if series.begins:
        series = take(series, slice(series.begins[-1], None))
    values, doublings = series.values, thresholds.RUNAWAY_DOUBLINGS
    before, end = values[: -doublings - 1], values[-doublings - 1 :]
    if is_unbound(series) or is_running_sum(series) or len(before) < 2:
        return
    if not np.isfinite(values).all() or (values <= 0).any():
        return
    ratio = float(end[-1] / before.max())
    if (end[1:] < 2 * end[:-1]).any() or ratio < thresholds.RUNAWAY_FACTOR:
        return
    start = len(before)
    yield Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} is {last} at its end, {ratio:.3g} times what it had been before, and still"
            " grows by factors",
            tag=series.tag,
            last=shown(float(end[-1])),
            ratio=ratio,
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]),
        data={"from": float(values[0]), "to": float(end[-1]), "best": float(values.min())},
    )


def _beyond_measure(series: Series) -> Iterator[Finding]:
    """Of either sign: an objective without a bound falls for ever, and a game's may cross 0."""
    values = np.abs(series.values)
    if is_running_sum(series) or len(values) < thresholds.DIVERGED_MIN_POINTS:
        return
    tail = values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    level, first = float(np.median(tail)), float(np.median(values[:3]))
    ordinary = first <= thresholds.ABSURD_LOSS / thresholds.RUNAWAY_FACTOR
    if not np.isfinite(values).all() or level < thresholds.ABSURD_LOSS or not ordinary:
        return
    start = int((values >= thresholds.GROWTH_FACTOR * max(first, 1.0)).argmax())
    yield Finding(
        id="diverged-loss",
        text=phrase(
            "{tag} comes from {first} to about {level}, which measures nothing any more",
            tag=series.tag,
            first=shown(float(series.values[0])),
            level=shown(float(np.median(series.values[-len(tail) :]))),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={
            "from": float(values[0]),
            "to": level,
            "best": float(values.min()),
            "descends": bool(np.median(series.values[-len(tail) :]) < 0),
        },
    )


DETECTOR = Detector("runaway", _detect)
