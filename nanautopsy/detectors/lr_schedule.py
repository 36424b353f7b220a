"""Learning rates that jump against their own history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.checkpoints.states import state_series
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.signal import first_nonfinite, point_above, shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("learning_rate"):
        yield from _negative(series)
        yield from _jump(run, series)
    if not run.by_role("learning_rate"):
        saved = state_series(run.checkpoints, "learning_rate", "learning_rate")
        if saved is not None:
            yield from _jump(run, saved)
    if not any(len(s) > thresholds.LR_WARMUP_POINTS for s in run.by_role("learning_rate")):
        yield from _stated_jump(run)


def _death(run: Run, rate: Series) -> int | None:
    """The first step at which a loss is non-finite: what the rate does behind it is nothing to
    the run."""
    first = [
        int(s.steps[index])
        for s in run.by_role("loss")
        if s.axis == rate.axis and (index := first_nonfinite(s)) is not None
    ]
    return min(first, default=None)


def _negative(series: Series) -> Iterator[Finding]:
    """A schedule that runs past its end: with a rate below 0 every step climbs the loss."""
    below = np.flatnonzero(series.values < 0)
    if not len(below) or not below[0]:
        return
    index = int(below[0])
    before = float(series.values[:index].max())
    yield Finding(
        id="lr-jump",
        text=phrase(
            "{tag} is negative from step {step} on: every step climbs the loss",
            tag=series.tag,
            step=int(series.steps[index]),
        ),
        source=series.at(index),
        step=int(series.steps[index]),
        last_good=int(series.steps[index - 1]),
        data={"negative": True, "to": float(series.values[index]), "from": before},
    )


def _jump(run: Run, series: Series) -> Iterator[Finding]:
    """The largest rise between neighbours that no warmup explains, or, where a loss dies, the last
    one before trouble began.

    A linear warmup multiplies by k/(k-1) at its k-th logged point, so from its third point on by
    1.5 at most; points at the beginning and zeros are no history. A jump back to a level that the
    schedule had held before (a cyclic schedule, warm restarts) is a schedule too.
    """
    usable = np.isfinite(series.values) & (series.values > 0)
    death = _death(run, series)
    if death is not None:
        usable &= series.steps <= death
    steps, values = series.steps[usable], series.values[usable]
    if len(values) <= thresholds.LR_WARMUP_POINTS:
        return
    ratios = values[1:] / values[:-1]
    peak_before = np.maximum.accumulate(values)[:-1]
    jumps = ratios >= thresholds.LR_JUMP_FACTOR
    jumps &= values[1:] > peak_before * thresholds.LR_JUMP_FACTOR
    jumps[: thresholds.LR_WARMUP_POINTS - 1] = False
    if not jumps.any():
        return
    rises = np.flatnonzero(jumps)
    trouble = _trouble(run, series, int(steps[rises[0]]))
    early = rises if trouble is None else rises[steps[rises + 1] <= trouble]
    last = int(early[-1] if len(early) else rises[-1])
    at = int(np.where(jumps, ratios, 0.0).argmax()) if death is None else last
    index = int(np.flatnonzero(usable)[at + 1])
    yield Finding(
        id="lr-jump",
        text=phrase(
            "{tag} jumps from {before} at step {step} to {after} at step {next_step}, "
            "{ratio:.0f} times",
            tag=series.tag,
            before=shown(float(values[at])),
            step=int(steps[at]),
            after=shown(float(values[at + 1])),
            next_step=int(steps[at + 1]),
            ratio=float(ratios[at]),
        ),
        source=series.at(index),
        step=int(steps[at + 1]),
        last_good=int(steps[at]),
        data={
            "ratio": float(ratios[at]),
            "to": float(values[at + 1]),
            "from": float(values[at]),
            "axis": series.axis,
            "began": float((steps[at + 1] - series.steps[0]) / len(series)),
            "ended": float((steps[at + 1] - series.steps[0] + 2) / len(series)),
        },
    )


def _trouble(run: Run, rate: Series, first: int) -> int | None:
    """The first step at which a loss or a norm lies far above its median up to ``first``, and above
    all that it was in the later half of that: the rate that rises again behind it did not begin it.
    What an untrained model began at is no level of it."""
    found: list[int] = []
    for series in run.by_role("loss", "grad_norm"):
        if series.axis != rate.axis:
            continue
        values = np.abs(series.values)
        before = values[(series.steps <= first) & np.isfinite(values)]
        if len(before):
            usual = thresholds.GROWTH_FACTOR * float(np.median(before))
            limit = max(usual, float(before[len(before) // 2 :].max()))
            above = (series.steps > first) & (values > limit)
            found += series.steps[above][:1].tolist()
    return min(found, default=None)


def _stated_jump(run: Run) -> Iterator[Finding]:
    """The first rate that the program says it sets far above all that it had set before."""
    set_first = run.facts.get("learning_rate")
    known = set_first is not None and isinstance(set_first.value, (int, float))
    highest = float(set_first.value) if known else 0.0  # type: ignore[union-attr, arg-type]
    for event in run.events_of("rate-set"):
        value, before = event.data.get("value"), event.data.get("before")
        if not isinstance(value, float):
            continue
        if isinstance(before, float):
            highest = max(highest, before)
        step = _place(run, event)
        if step is not None and 0 < highest <= value / thresholds.LR_JUMP_FACTOR:
            yield Finding(
                id="lr-jump",
                text=phrase(
                    "the learning rate is set to {after}, {ratio:.0f} times what it had been: "
                    "{line}",
                    after=shown(value),
                    ratio=value / highest,
                    line=event.text,
                ),
                source=event.source,
                step=step,
                last_good=step,
                data={"ratio": value / highest, "to": value, "from": highest},
            )
            return
        highest = max(highest, value)


def _place(run: Run, event: LogEvent) -> int | None:
    """The step at which a line stands, else the epoch of the row above it."""
    if event.step is not None:
        return event.step
    above = point_above(run.by_role("loss"), event.source)
    return None if above is None else int(above[0].steps[above[1]])


DETECTOR = Detector("lr-schedule", _detect)
