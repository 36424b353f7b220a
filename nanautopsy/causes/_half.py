"""What tells that weights themselves are float16, and what the first steps did to them."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case
from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.circumstances import at_first_steps, gradients_were_finite_at
from nanautopsy.model import Checkpoint, Series
from nanautopsy.signal import first_nonfinite


def half_weights(case: Case) -> Checkpoint | None:
    """A checkpoint that training saved and whose weights are float16 throughout."""
    for checkpoint in case.run.checkpoints:
        floats = weights(checkpoint)
        if checkpoint.step and checkpoint.holds == "model" and len(floats) > 1:
            return checkpoint if all(t.dtype == "F16" for t in floats) else None
    return None


def updated_soundly(case: Case) -> bool:
    """Whether the first steps had sound gradients up to the one before the onset: none of them
    went into the weights as Inf."""
    onset = case.onset
    if onset is None or onset.step is None or onset.last_finite != onset.step - 1:
        return False
    early = onset.quantity == "loss" and at_first_steps(case.run, onset)
    return early and gradients_were_finite_at(case.run, onset.last_finite)


def skipped_before(case: Case) -> bool:
    """Whether gradients were non-finite before the onset: something skipped those steps."""
    death = case.death
    return death is not None and any(
        not np.isfinite(series.values[series.steps < death]).all()
        for series in case.run.by_role("grad_norm")
    )


def survivor(case: Case) -> Checkpoint | None:
    """Sound weights from after the step at which the loss died for good: steps are skipped since,
    and neither a bad batch nor bad weights explain why the loss stays so."""
    onset = case.onset
    if onset is None or onset.step is None or onset.quantity != "loss":
        return None
    if not onset.persistent and not any(
        (first := first_nonfinite(s)) is not None and _stays_dead(s, first)
        for s in case.run.by_role("loss")
        if s.tag == onset.source.tag
    ):
        return None
    later = [c for c in case.run.checkpoints if c.step is not None and c.step > onset.step]
    sound = [c for c in later if c.tensors and c.holds == "model" and not damaged(c)]
    return sound[0] if sound else None


def _stays_dead(series: Series, first: int) -> bool:
    """Whether nearly all points from the first that is non-finite on are: where magnitudes lie at
    the edge of the format, a batch now and then has smaller ones."""
    after = ~np.isfinite(series.values[first:])
    return bool(after.mean() >= thresholds.STAYS_DEAD)


def kept_by_scaler(case: Case) -> Series | None:
    """A loss that was finite and is non-finite to the end, in float16 and with a loss scaler, which
    skips each step whose gradients are: the weights are those of the last sound step.

    Batches that are bad on their own would let others pass.
    """
    if case.states("compute_dtype", "F16") is None:
        return None
    if "loss_scaler" not in case.run.facts and not case.run.by_role("loss_scale"):
        return None
    if any(damaged(c) for c in case.run.checkpoints):
        return None
    for series in case.run.by_role("loss"):
        first = first_nonfinite(series)
        if first and _stays_dead(series, first) and len(series) - first >= thresholds.CALM_POINTS:
            return series
    return None
