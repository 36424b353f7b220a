"""Labels that are outside the range that all others keep, where the loss is lost.

A class that a model does not have picks no logit: JAX gives NaN for it, a table of weights what
lies behind its end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_LABEL = frozenset("label labels target targets class classes y gt".split())
_HIGH, _LOW = frozenset({"max", "maximum", "largest"}), frozenset({"min", "minimum", "smallest"})
_NOT_A_LABEL = frozenset("loss len length count num n prob score logit logits lr grad per".split())


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("other", "counter"):
        have = frozenset(words(series.tag))
        if not have & _LABEL or have & _NOT_A_LABEL or not have & (_HIGH | _LOW):
            continue
        index = _outside(series.values if have & _HIGH else -series.values)
        if index is not None:
            yield _finding(series, index)


def _outside(values: np.ndarray) -> int | None:
    """The one whole number above a bound that several others reach and none passes."""
    if len(values) <= thresholds.INPUT_HISTORY or not np.isfinite(values).all():
        return None
    if (values != np.floor(values)).any():
        return None
    highest = int(values.argmax())
    others = np.delete(values, highest)
    reached = int((others == others.max()).sum())
    alone = values[highest] > others.max()
    return highest if alone and reached >= thresholds.RECURRENCES else None


def _finding(series: Series, index: int) -> Finding:
    others = np.delete(series.values, index)
    return Finding(
        id="odd-input",
        text=phrase(
            "{tag} is {value} at {place}, and from {least} to {most} at all others",
            tag=series.tag,
            value=shown(float(series.values[index])),
            place=position(series.axis, int(series.steps[index])),
            least=shown(float(others.min())),
            most=shown(float(others.max())),
        ),
        source=series.at(index),
        step=int(series.steps[index]),
        last_good=int(series.steps[index - 1]) if index else None,
        data={"tag": series.tag, "axis": series.axis, "stays": False, "passing": True},
    )


DETECTOR = Detector("label-range", _detect)
