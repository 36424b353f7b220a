"""Counters of steps that were skipped because their gradients were not finite, which stand still in
a sound run and keep step with the steps in one that learns nothing more.

Samples: ``overflows: 145`` beside ``iter: 150``; optax's ``total_notfinite``. What is counted once
a step grows by one a step at most; a count of elements, or of samples, does not keep to that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_NOT_FINITE = frozenset("overflow overflows nonfinite notfinite nan nans".split())
_OF_ELEMENTS = frozenset(
    "frac fraction ratio percent rate pct grad grads weight weights label labels target targets"
    " data sample samples token tokens pixel pixels input inputs feature features value values"
    " row rows cell cells buffer capacity time".split()
)
_MOST_OFTEN = 0.5
"""Share of the steps that were skipped: half of them is no search for a scale."""
_FEWEST_POINTS = 3


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("other", "skipped_steps"):
        have = frozenset(words(series.tag))
        if series.axis != "step" or not have & _NOT_FINITE or have & _OF_ELEMENTS:
            continue
        start = _start(series)
        if start is None:
            continue
        first, last = int(series.steps[start]), int(series.steps[-1])
        counted = int(series.values[-1] - (series.values[start - 1] if start else 0))
        yield Finding(
            id="steps-skipped",
            text=phrase(
                "{tag} rises by {n} up to step {last}, the end: from step {first} on most "
                "steps were skipped",
                tag=series.tag,
                n=counted,
                first=first,
                last=last,
            ),
            source=series.at(start),
            step=first,
            last_good=int(series.steps[start - 1]) if start else None,
            data={"axis": series.axis, "count": counted, "persistent": True, "value": "nan"},
        )


def _start(series: Series) -> int | None:
    """Index of the first point from which on the counter rises with the steps, to the end."""
    values, steps = series.values, series.steps
    if len(values) < _FEWEST_POINTS or not np.isfinite(values).all() or (values < 0).any():
        return None
    gaps, rises = np.diff(steps), np.diff(values)
    if (gaps <= 0).any() or (rises < 0).any() or (rises > gaps).any():
        return None
    if not np.equal(values, np.floor(values)).all():
        return None
    often = rises >= _MOST_OFTEN * gaps
    quiet = np.flatnonzero(~often)
    start = int(quiet[-1]) + 2 if len(quiet) else 1
    if start == 1 and steps[0] > 0 and _MOST_OFTEN * steps[0] <= values[0] <= steps[0] + 1:
        start = 0  # as often before the first point
    if start >= len(values):
        return None
    skipped = values[-1] - (values[start - 1] if start else 0)
    return start if skipped >= thresholds.SCALE_EXHAUSTED_SKIPS else None


DETECTOR = Detector("overflow-counts", _detect)
