"""Questions to a run's learning rate: how high it went, and against what is usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Finding, LogEvent, Run, Series, Source
from nanautopsy.signal import up_to


@dataclass(frozen=True, slots=True)
class Rate:
    """A learning rate and the place that says it."""

    value: float
    source: Source


def highest(run: Run, before: int | None) -> Rate | None:
    """The highest rate logged or stated before step ``before`` (all, when ``None``), else the one
    that the settings hold."""
    best: Rate | None = None
    for series in run.by_role("learning_rate"):
        values = up_to(series, None if before is None else before + 1)
        if len(values) and (best is None or float(values.max()) > best.value):
            best = Rate(float(values.max()), series.at(int(np.nanargmax(series.values))))
    for event in run.events_of("rate-set"):
        value = event.data.get("value")
        early = before is None or event.step is None or event.step <= before
        if isinstance(value, float) and early and (best is None or value > best.value):
            best = Rate(value, event.source)
    if best is not None:
        return best
    fact = run.facts.get("learning_rate")
    if fact is None or not isinstance(fact.value, (int, float)):
        return None
    return Rate(float(fact.value), fact.source)


def how_high(run: Run, rate: float) -> float:
    """``rate`` over the upper end of what is usual for the run's optimizer.

    Where nothing tells the optimizer, over the highest of all, SGD's.
    """
    optimizer = run.facts.get("optimizer")
    name = str(optimizer.value).lower() if optimizer is not None else ""
    known = [usual for word, usual in thresholds.USUAL_LR.items() if word in name]
    return rate / (min(known) if known else max(thresholds.USUAL_LR.values()))


def rising_before(run: Run, step: int | None) -> Series | None:
    """A logged learning rate that rose at its last points up to ``step``, as in a warmup."""
    if step is None:
        return None
    for series in run.by_role("learning_rate"):
        values = series.values[series.steps <= step]
        if len(values) >= thresholds.GROWTH_POINTS and (np.diff(values[-3:]) > 0).all():
            return series
    return None


def from_the_start(run: Run, growth: Finding) -> bool:
    """Whether what grew began to within the first points of what was logged."""
    began = growth.data.get("began")
    steps = [step for step in (growth.step, began) if isinstance(step, int)]
    return bool(steps) and min(steps) <= _start_ends(run)


def from_a_resume(run: Run, growth: Finding) -> LogEvent | None:
    """The resume within a few logged points of which a growth began, if any: what was restored
    did it, or what was not."""
    # Growth from the first row on has no usual level that it left.
    name = "began" if from_the_start(run, growth) else "left"
    began = growth.data.get(name)
    for event in run.events_of("run-resumed"):
        stated = event.data.get("step")
        step = stated if isinstance(stated, int) else event.step
        if step is None and from_the_start(run, growth):
            return event  # said before the first row
        if step is None or not isinstance(began, int):
            continue
        for series in run.by_role("loss", "grad_norm"):
            behind = series.steps[series.steps > step][: thresholds.RESUME_WINDOW]
            if len(behind) and step - 1 <= began <= int(behind[-1]) and _knows(series, step):
                return event
    return None


def _knows(series: Series, step: int) -> bool:
    """Whether a series reaches back to a step, or begins right behind it."""
    interval = int(np.median(np.diff(series.steps))) if len(series) > 1 else 1
    return bool(series.steps[0] <= step + interval)


def _start_ends(run: Run) -> int:
    """Step up to which a run is at its start."""
    ends = []
    for series in run.by_role("loss", "grad_norm"):
        if len(series):
            points = max(thresholds.EARLY_POINTS, int(len(series) * thresholds.EARLY_SHARE))
            ends.append(int(series.steps[min(points, len(series)) - 1]))
    return max(ends, default=0)
