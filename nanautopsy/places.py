"""The step of what a line of a log says, told by the numbers around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanautopsy.model import LogEvent, Run, Series
from nanautopsy.signal import first_nonfinite, index_at


def place_of(run: Run, event: LogEvent) -> tuple[int | None, bool]:
    """The step of what a line says, and whether it lies behind the last that was logged.

    A line that names no step stands behind the last step that was printed. Where that step's loss
    and gradients were finite, the line is of the next one.
    """
    losses = [s for s in run.by_role("loss", "grad_norm") if len(s) and s.axis == "step"]
    if event.step is None or event.step_exact or not losses:
        return event.step, False
    # Gradients follow the forward pass: what that one says behind them is of the next step.
    forward = event.data.get("stage") == "forward"
    asked = [s for s in losses if s.role == "loss"] if forward else losses
    at = [(s, index_at(s, event.step)) for s in asked]
    if any(i is not None and not np.isfinite(s.values[i]) for s, i in at):
        return event.step, False
    if any(event.step in s.earlier_deaths for s in losses):
        return event.step, False  # of an attempt that another one replaced
    longest = max(losses, key=len)
    index = index_at(longest, event.step)
    if index is None:
        return event.step, False
    ends = index + 1 == len(longest)
    if ends and _is_out_of_turn(longest, event):
        return event.step, True
    after = event.step + interval(longest) if ends else int(longest.steps[index + 1])
    batch = event.data.get("batch")
    if isinstance(batch, int) and event.step < batch < after:
        return batch, ends  # the batch that it names lies between what was logged
    return (_of_the_loss(losses, after) if event.data.get("quantity") == "loss" else after), ends


def _is_out_of_turn(series: Series, event: LogEvent) -> bool:
    """Whether the last row breaks the interval of all others, right above the line: it was printed
    for what the line says."""
    gaps, line = np.diff(series.steps), event.source.line
    if len(gaps) < _ROWS_OF_AN_INTERVAL or series.lines is None or line is None:
        return False
    behind = series.source.path == event.source.path and 0 < line - int(series.lines[-1]) <= 2
    return behind and bool((gaps[:-1] == gaps[0]).all()) and bool(gaps[-1] < gaps[0])


_ROWS_OF_AN_INTERVAL = 3
"""Gaps between rows that show how many steps lie between two of them."""


def _of_the_loss(losses: Sequence[Series], step: int) -> int:
    """Of a line that says that the loss is non-finite: where a log with closer rows shows that it
    was finite at ``step`` still, the step at which it no longer was."""
    for series in losses:
        index, dead = index_at(series, step), first_nonfinite(series)
        if series.role == "loss" and index is not None and dead is not None and index < dead:
            return int(series.steps[dead])
    return step


def interval(series: Series) -> int:
    """Steps between two logged points."""
    return int(np.median(np.diff(series.steps))) if len(series) > 1 else 1


def is_before_training(run: Run, event: LogEvent) -> bool:
    """Whether the line stands above the first number of training in its log; where nothing is known
    to be a loss or a gradient norm, above the first row of any metric."""
    rows = [
        (series.role in ("loss", "grad_norm"), int(series.lines[0]))
        for series in run.series
        if series.lines is not None and len(series) and series.source.path == event.source.path
    ]
    known = [line for of_training, line in rows if of_training] or [line for _, line in rows]
    return bool(known) and event.source.line is not None and event.source.line < min(known)
