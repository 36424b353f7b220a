"""Losses that are roots themselves, and what they say where they come to 0."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.signal import first_nonfinite, persistent
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_ROOTS = frozenset("rmse rmsle rmsd rms norm l2norm euclidean".split())
"""Names of roots of means or sums of squares: at 0 their derivative is 0 times Inf."""


def weigh_root_at_zero(case: Case, weighing: Weighing) -> None:
    """A root that was minimized to exactly 0, in the last row before it was NaN for good."""
    onset = case.onset
    if onset is None or onset.value != "nan":
        return
    for series in case.run.by_role("loss"):
        dead = first_nonfinite(series)
        if _ROOTS.isdisjoint(words(series.tag)) or dead is None or not persistent(series, dead):
            continue
        before = series.values[:dead]
        at_end = len(before) > thresholds.CALM_POINTS and before[-1] == 0
        if at_end and bool((before[:-1] > 0).all()) and np.isnan(series.values[dead]):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{tag} came to exactly 0 right before it was NaN: a root has no derivative "
                    "there",
                    tag=series.tag,
                ),
                series.at(dead - 1),
            )
            return
