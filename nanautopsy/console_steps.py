"""Steps for a console log, from the state that the same Trainer saved.

The Trainer prints its rows without their step; ``trainer_state.json`` holds the same rows with
it, up to the last checkpoint. Where the values of both are one sequence, the console's points get
the state's steps, and those printed after the last checkpoint go on at the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Series

_MIN_OVERLAP = 3
"""Rows that must agree: fewer may agree by accident."""
_RELATIVE = 1e-3
"""The console of transformers 5 prints four significant digits."""
_ANCHORS = ("loss", "learning_rate", "grad_norm")
"""Tags whose values tell rows apart, best first."""


def with_state_steps(series: Sequence[Series], notes: list[str]) -> list[Series]:
    """The series, with steps for console rows that a saved state holds too."""
    states = [s for s in series if s.source.path.endswith("trainer_state.json")]
    if not states:
        return list(series)
    shifts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    for tag in _ANCHORS:
        state = max((s for s in states if s.tag == tag), key=len, default=None)
        for one in series:
            path = one.source.path
            if state is None or one.tag != tag or path in shifts or one.lines is None:
                continue
            steps = _steps_from(state, one)
            if steps is not None:
                shifts[path] = one.lines, steps
                if not np.array_equal(steps, one.steps):
                    notes.append(f"{path}: steps are those of the same rows in {state.source.path}")
    return [_moved(one, shifts.get(one.source.path)) for one in series]


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


def _moved(series: Series, shift: tuple[NDArray[np.int64], NDArray[np.int64]] | None) -> Series:
    """A series of the same log, each point at the step of the row whose line it shares."""
    if shift is None or series.lines is None:
        return series
    lines, steps = shift
    summary = series.tag.startswith(("eval_", "train_"))
    if not summary and not np.isin(series.lines, lines).all():
        return series
    # Rows of other kinds (evaluation, the summary) belong to the last training row before them.
    position = np.searchsorted(lines, series.lines, side="right") - 1
    moved = np.where(position >= 0, steps[np.maximum(position, 0)], 0)
    return replace(series, steps=moved, axis="step")
