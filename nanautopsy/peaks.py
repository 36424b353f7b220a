"""Metrics that stood at their highest where the loss was NaN: what grew is no bad batch's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Onset, Run, Series
from nanautopsy.signal import index_at
from nanautopsy.tag_words import words

_NOT_OF_THE_MODEL = frozenset(
    "input inputs data target targets label labels tokens samples batch length len time mem memory"
    " seconds sec ms speed lr rate epoch step iter count best momentum temperature progress".split()
)
"""Words of what is fed, scheduled or counted."""


def peaks_at(run: Run, onset: Onset) -> Iterator[tuple[Series, int]]:
    """Metrics of the model that are finite at the onset's step, and clearly higher in magnitude
    than ever before; each with the index of that point.

    Batches are alike, so that of twenty values without a trend one in twenty is the highest; what
    exceeds all others by a tenth right where the loss dies has grown.
    """
    if onset.step is None:
        return
    for series in run.by_role("other", "layer_activation", "attention_logit"):
        index = index_at(series, onset.step)
        if series.axis != onset.axis or index is None or index < thresholds.DIVERGED_MIN_POINTS:
            continue
        if _NOT_OF_THE_MODEL & frozenset(words(series.tag)):
            continue
        value, before = abs(float(series.values[index])), np.abs(series.values[:index])
        if np.isfinite(value) and np.isfinite(before).all():
            if value >= thresholds.PEAK_FACTOR * float(before.max()) > 0:
                yield series, index
