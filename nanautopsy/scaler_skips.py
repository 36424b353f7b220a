"""Which non-finite gradients are steps that a loss scaler skipped by design.

A dynamic loss scale is found by trial: the scaler doubles it until gradients overflow, skips that
step and halves it. Such a step leaves no trace: the loss around it is finite and the gradients
come back. That holds episode by episode, so that a search at the beginning stays benign in a run
that dies later of something else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.signal import stretches


def is_scaled(run: Run) -> bool:
    """Whether something shows a loss scaler, or float16, which needs one."""
    dtype = run.facts.get("compute_dtype")
    # One that is switched off saves no state.
    saved = any("growth_tracker" in checkpoint.state for checkpoint in run.checkpoints)
    return saved or "loss_scaler" in run.facts or (dtype is not None and dtype.value == "F16")


def skipped_points(run: Run, norm: Series) -> NDArray[np.bool_]:
    """(n,) True where a non-finite gradient is a skipped step.

    With a scaler known, or float16, every short episode counts that comes back beside a finite
    loss. Where nothing states the precision, the search at the very beginning shows a scaler;
    single points after a search of two and more are then its probes. bfloat16 and float32 need no
    scaler.
    """
    skipped = np.zeros(len(norm), dtype=bool)
    dtype = run.facts.get("compute_dtype")
    known = is_scaled(run)
    if dtype is not None and not known:
        return skipped
    # A scale that was logged scales, though its rows may miss that it moves.
    known = known or any((s.values > 1).any() for s in run.by_role("loss_scale"))
    probing = False
    for start, end in stretches(~np.isfinite(norm.values)):
        length = end - start
        if end == len(norm) and not (start == 0 and _is_searching(run)):
            continue
        if not _loss_is_sound(run, norm, start, min(end, len(norm) - 1)):
            continue
        if start == 0 and length <= thresholds.SCALER_WARMUP_SKIPS:
            skipped[start:end] = True
            probing = length >= _SEARCH
        elif (known and length <= thresholds.SCALER_WARMUP_SKIPS) or (probing and length <= _PROBE):
            skipped[start:end] = True
    most = max(len(norm) / 2, thresholds.SCALER_WARMUP_SKIPS + 1)
    return skipped if skipped.sum() < most else np.zeros(len(norm), dtype=bool)


_SEARCH = 2
"""Leading skips that are a search for the scale; one alone may be anything."""
_PROBE = 1
"""Points that one doubling of a settled scale costs."""


def _is_searching(run: Run) -> bool:
    """Whether the last scale that was logged is still where sound models have theirs: a log that
    ends there was cut short, and tells no failure."""
    scales = [s for s in run.by_role("loss_scale") if len(s)]
    return bool(scales) and all(s.values[-1] >= thresholds.SEARCHING_SCALE for s in scales)


def _loss_is_sound(run: Run, norm: Series, start: int, end: int) -> bool:
    """Every training loss from the episode to the step where it is over: finite, and not masked.

    Losses that were not logged within it are judged as a whole.
    """
    losses = [s for s in run.by_role("loss") if len(s) and s.axis == norm.axis]
    within = [_between(s, int(norm.steps[start]), int(norm.steps[end])) for s in losses]
    seen = [w for w in within if len(w)] or [s.values for s in losses]
    return bool(
        seen
        and all(np.isfinite(values).all() for values in seen)
        and any((values != 0.0).all() for values in seen)
    )


def _between(series: Series, first: int, last: int) -> NDArray[np.float64]:
    return series.values[(series.steps >= first) & (series.steps <= last)]
