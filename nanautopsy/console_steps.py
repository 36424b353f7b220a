"""Steps for a console log, from the state that the same Trainer saved.

The Trainer prints its rows without their step; ``trainer_state.json`` holds the same rows with
it, up to the last checkpoint. Where the values of both are one sequence, the console's points get
the state's steps, and those printed after the last checkpoint go on at the same interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import LogEvent, Series
from nanautopsy.wording import phrase

_MIN_OVERLAP = 3
"""Rows that must agree: fewer may agree by accident."""
_RELATIVE = 1e-3
"""The console of transformers 5 prints four significant digits."""
_ANCHORS = ("loss", "learning_rate", "grad_norm")
"""Tags whose values tell rows apart, best first."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The training rows of one console log, and the steps that the saved state gives them."""

    lines: NDArray[np.int64]
    steps: NDArray[np.int64]

    def at(self, line: NDArray[np.int64]) -> NDArray[np.int64]:
        """Step of the last row at or before each line; 0 before the first row."""
        position = np.searchsorted(self.lines, line, side="right") - 1
        return np.where(position >= 0, self.steps[np.maximum(position, 0)], 0)


def rows_of_consoles(series: Sequence[Series], notes: list[str]) -> Mapping[str, Rows]:
    """By path, every console log whose rows a saved state holds too."""
    states = [s for s in series if s.source.path.endswith("trainer_state.json")]
    found: dict[str, Rows] = {}
    for tag in _ANCHORS:
        state = max((s for s in states if s.tag == tag), key=len, default=None)
        for one in series:
            path = one.source.path
            if state is None or one.tag != tag or path in found or one.lines is None:
                continue
            if one in states:
                continue
            steps = _steps_from(state, one)
            if steps is not None:
                found[path] = Rows(one.lines, steps)
                if not np.array_equal(steps, one.steps):
                    notes.append(
                        phrase(
                            "{path}: steps are those of the same rows in {other}",
                            path=path,
                            other=state.source.path,
                        )
                    )
    return found


def with_steps(series: Series, rows: Rows | None) -> Series:
    """A series of the same log, each point at the step of the row whose line it shares.

    Rows of other kinds (evaluation, the summary) belong to the last training row before them;
    what other lines say keeps its own steps.
    """
    if rows is None or series.lines is None:
        return series
    shared = np.isin(series.lines, rows.lines)
    if series.tag.startswith(("eval_", "train_")):
        shared[:] = True
    if not shared.any() or (series.axis != "step" and not shared.all()):
        return series
    steps = np.where(shared, rows.at(series.lines), series.steps)
    return replace(series, steps=steps, axis="step")


def event_with_step(event: LogEvent, rows: Rows | None) -> LogEvent:
    """An event whose line names no step of its own stands at the row before it."""
    if rows is None or event.step_exact or event.source.line is None:
        return event
    return replace(event, step=int(rows.at(np.array([event.source.line]))[0]))


def _steps_from(state: Series, console: Series) -> NDArray[np.int64] | None:
    """Steps for each console point, when the two are one sequence of values."""
    overlap = min(len(state), len(console))
    if overlap < _MIN_OVERLAP or len(np.unique(state.values[:overlap])) < _MIN_OVERLAP:
        return None
    if not np.allclose(
        state.values[:overlap], console.values[:overlap], rtol=_RELATIVE, atol=1e-4, equal_nan=True
    ):
        return None
    interval = int(np.median(np.diff(state.steps[:overlap])))
    beyond = np.arange(1, len(console) - overlap + 1) * interval
    return np.concatenate([state.steps[:overlap], state.steps[overlap - 1] + beyond])
