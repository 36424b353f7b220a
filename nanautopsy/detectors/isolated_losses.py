"""Losses that are non-finite at single points, after which training goes on as before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import every, position
from nanautopsy.signal import first_nonfinite, index_at, kind_of, persistent, stretches
from nanautopsy.wording import Phrase, phrase

Gradient = Literal["zero", "finite", "non-finite", "unknown"]


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("loss"):
        points = _isolated(series)
        if points:
            yield _finding(run, series, points)
        elif (index := first_nonfinite(series)) is not None:
            running = _kept_by_a_sum(run, series, index)
            if running is not None:
                yield running


def _isolated(series: Series) -> list[int]:
    """Indices of non-finite points between finite ones; empty when the series ends non-finite."""
    bad = list(stretches(~np.isfinite(series.values)))
    if not bad or bad[-1][1] == len(series):
        return []
    short = all(end - start <= thresholds.ISOLATED_POINTS for start, end in bad)
    alone = 2 * sum(end - start for start, end in bad) < len(series)
    return [start for start, _ in bad] if short and alone else []


def _finding(run: Run, series: Series, points: list[int]) -> Finding:
    first = points[0]
    steps = [int(series.steps[i]) for i in points]
    period = _period(steps)
    gradient = _gradient(run, series, points)
    values = {kind_of(float(series.values[i])) for i in points}
    told = ", ".join(str(step) for step in steps[:4]) + (", ..." if len(steps) > 4 else "")
    text = phrase(
        "{tag} is non-finite at {place} and finite right after each time{period}{gradient}",
        tag=series.tag,
        place=position(series.axis, told),
        period="" if period is None else every(series.axis, period),
        gradient=_BESIDE.get(gradient, ""),
    )
    return Finding(
        id="isolated-losses",
        text=text,
        source=series.at(first),
        step=steps[0],
        last_good=int(series.steps[first - 1]) if first else None,
        data={
            "count": len(points),
            "period": period,
            "gradient": gradient,
            "value": "nan" if values == {"nan"} else "inf",
            "axis": series.axis,
        },
    )


def _kept_by_a_sum(run: Run, series: Series, index: int) -> Finding | None:
    """A loss that stays NaN from a step without any gradient on, while gradients are finite behind
    it: what is logged is a sum that keeps the NaN, and training went on."""
    step = int(series.steps[index])
    for norm in run.by_role("grad_norm"):
        at = index_at(norm, step) if norm.axis == series.axis else None
        if at is None or norm.values[at] != 0 or len(norm) - at < thresholds.RECURRENCES:
            continue
        # More batches of the kind may follow; before, there was none.
        others = np.delete(norm.values, at)
        learned = np.count_nonzero(others[at:]) >= thresholds.RECURRENCES
        went_on = np.isfinite(others).all() and others[:at].all() and learned
        if went_on and persistent(series, index):
            return Finding(
                id="isolated-losses",
                text=phrase(
                    "{tag} is NaN from {place} on, where {norm} is exactly 0, and gradients are "
                    "finite behind it: a running sum keeps the NaN of one step",
                    tag=series.tag,
                    place=position(series.axis, step),
                    norm=norm.tag,
                ),
                source=series.at(index),
                step=step,
                last_good=int(series.steps[index - 1]) if index else None,
                data={
                    "count": 1,
                    "period": None,
                    "gradient": "zero",
                    "value": kind_of(float(series.values[index])),
                    "axis": series.axis,
                    "summed": True,
                },
            )
    return None


_BESIDE: dict[Gradient, Phrase] = {
    "zero": phrase("; the gradient norm there is exactly 0"),
    "non-finite": phrase("; the gradient norm there is non-finite"),
}


def _period(steps: list[int]) -> int | None:
    """The distance between them, where it is always the same."""
    gaps = {after - before for before, after in pairwise(steps)}
    regular = len(steps) >= thresholds.RECURRENCES and len(gaps) == 1
    return gaps.pop() if regular else None


def _gradient(run: Run, series: Series, points: list[int]) -> Gradient:
    """What gradient norms say at these steps: all zero, any non-finite, else finite."""
    seen: list[float] = []
    for norm in run.by_role("grad_norm"):
        if norm.axis != series.axis:
            continue
        at = [index_at(norm, int(series.steps[i])) for i in points]
        seen += [float(norm.values[i]) for i in at if i is not None]
    if not seen:
        return "unknown"
    if not np.isfinite(seen).all():
        return "non-finite"
    return "zero" if not any(seen) else "finite"


DETECTOR = Detector("isolated-losses", _detect)
