"""The step of what a line of a log says, told by the numbers around it."""

from __future__ import annotations

import numpy as np

from nanautopsy.model import LogEvent, Run, Series
from nanautopsy.signal import index_at


def place_of(run: Run, event: LogEvent) -> tuple[int | None, bool]:
    """The step of what a line says, and whether it lies behind the last that was logged.

    A line that names no step stands behind the last step that was printed. Where that step's loss
    and gradients were finite, the line is of the next one.
    """
    losses = [s for s in run.by_role("loss", "grad_norm") if len(s) and s.axis == "step"]
    if event.step is None or event.step_exact or not losses:
        return event.step, False
    at = [(s, index_at(s, event.step)) for s in losses]
    if any(i is not None and not np.isfinite(s.values[i]) for s, i in at):
        return event.step, False
    if any(event.step in s.earlier_deaths for s in losses):
        return event.step, False  # of an attempt that another one replaced
    longest = max(losses, key=len)
    index = index_at(longest, event.step)
    if index is None:
        return event.step, False
    ends = index + 1 == len(longest)
    after = event.step + interval(longest) if ends else int(longest.steps[index + 1])
    batch = event.data.get("batch")
    if isinstance(batch, int) and event.step < batch < after:
        return batch, ends  # the batch that it names lies between what was logged
    return after, ends


def interval(series: Series) -> int:
    """Steps between two logged points."""
    return int(np.median(np.diff(series.steps))) if len(series) > 1 else 1


def is_before_training(run: Run, event: LogEvent) -> bool:
    """Whether the line stands above the first number of training in its log."""
    rows = [
        int(s.lines[0])
        for s in run.by_role("loss", "grad_norm")
        if s.lines is not None and len(s) and s.source.path == event.source.path
    ]
    return bool(rows) and event.source.line is not None and event.source.line < min(rows)
