"""Gradients of what is not trained: programs write NaN where there is none."""

from __future__ import annotations

import numpy as np

from nanautopsy.model import Run, Series

_LIVED = 3
"""Points that a run goes on for: a second one could be the loss of the step itself."""


def is_untrained(series: Series, run: Run) -> bool:
    """Whether ``series`` is the gradient of one layer that was never finite, while the training
    went on soundly and other layers had gradients.

    A parameter that is trained with such a gradient is NaN after one step, and the loss with it.
    """
    if series.role != "layer_gradient" or not len(series) or np.isfinite(series.values).any():
        return False
    first = int(series.steps[0])
    lived = any(
        _points(loss, first) >= _LIVED for loss in run.by_role("loss") if loss.axis == series.axis
    )
    return lived and any(
        _points(other, first) >= _LIVED
        for other in run.by_role("layer_gradient")
        if other.axis == series.axis and other.source.path == series.source.path
    )


def _points(series: Series, after: int) -> int:
    """Finite points behind a step, up to the first that is not finite."""
    values = series.values[series.steps > after]
    bad = ~np.isfinite(values)
    return int(bad.argmax()) if bad.any() else len(values)
