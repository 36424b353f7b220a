"""What a failed run went on to spend after its onset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy.model import Autopsy, Series
from nanautopsy.scan.results import Waste

_EARLIEST = 946_684_800.0
"""2000-01-01: clocks before that were never set."""


def waste_of(autopsy: Autopsy) -> Waste:
    """Steps and seconds from the onset to the last point; of a run that did not fail, only when
    it ran."""
    run, onset = autopsy.run, autopsy.onset
    axis = "step" if onset is None else onset.axis
    counted = [s for s in run.series if s.axis == axis and len(s) and s.role != "eval_loss"]
    last = max((int(s.steps.max()) for s in counted), default=None)
    said = [event.time for event in run.events if event.time is not None]
    clocks = [*_clocks(run.series), *(time for time in said if time > _EARLIEST)]
    started, ended = (min(clocks), max(clocks)) if clocks else (None, None)
    if onset is None or onset.step is None or not autopsy.failed:
        return Waste(last, None, started, ended, None)
    steps = None if last is None else max(0, last - onset.step)
    turned = min(_times_from(counted, onset.step), default=None)
    seconds = None if turned is None or ended is None else max(0.0, ended - turned)
    return Waste(last, steps, started, ended, seconds)


def _clocks(series: tuple[Series, ...]) -> Iterator[float]:
    """The earliest and the latest clock of each series."""
    for one in series:
        if one.times is not None:
            known = one.times[np.isfinite(one.times) & (one.times > _EARLIEST)]
            if len(known):
                yield float(known.min())
                yield float(known.max())


def _times_from(series: list[Series], step: int) -> Iterator[float]:
    """When each series reached the step."""
    for one in series:
        if one.times is not None:
            reached = one.times[(one.steps >= step) & (one.times > _EARLIEST)]
            if len(reached):
                yield float(reached.min())
