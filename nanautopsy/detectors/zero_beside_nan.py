"""A whole number that is 0 at the points at which the loss is NaN, at all of them and at no other.

Whatever it is called, the loss is a mean over what it counts: triplets that were mined, tokens that
were masked, rows that have the second of two labels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.batch_numbers import is_element, is_length
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import stretches
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_FOLLOWS = frozenset(
    "acc accuracy correct hits hit success successes score tp ok good finite applied update updates"
    " updated stepped skipped taken lr scale loss grad norm reward".split()
)
"""What is 0 because the loss was NaN."""


def _detect(run: Run) -> Iterator[Finding]:
    counts = [s for s in run.by_role("other", "counter") if _counts(s)]
    for loss in run.by_role("loss", "eval_loss") if counts else ():
        bad = np.isnan(loss.values)
        lost = sum(1 for _ in stretches(bad))
        if lost < thresholds.ZEROES_BESIDE_NAN or 2 * lost > len(loss):
            continue
        for count in counts:
            if count.axis == loss.axis and _agree(loss, bad, count):
                yield _finding(loss, bad, count)
                return


def _counts(series: Series) -> bool:
    """Whether it is a whole number, and none that follows from the loss or is a cause's own."""
    have = frozenset(words(series.tag))
    values = series.values
    if have & _FOLLOWS or is_length(have) or is_element(have) or not len(values):
        return False
    return bool((values == np.floor(values)).all() and (values >= 0).all() and (values == 0).any())


def _agree(loss: Series, bad: np.ndarray, count: Series) -> bool:
    _, at_loss, at_count = np.intersect1d(loss.steps, count.steps, return_indices=True)
    if len(at_loss) < len(loss):
        return False
    return bool(((count.values[at_count] == 0) == bad[at_loss]).all())


def _finding(loss: Series, bad: np.ndarray, count: Series) -> Finding:
    first = int(bad.argmax())
    step = int(loss.steps[first])
    index = int(np.searchsorted(count.steps, step))
    return Finding(
        id="zero-beside-nan",
        text=phrase(
            "{count} is 0 at {place} and at each of the {n} points at which {loss} is NaN, "
            "and at no other",
            count=count.tag,
            place=position(loss.axis, step),
            n=int(bad.sum()),
            loss=loss.tag,
        ),
        source=count.at(index),
        step=step,
        last_good=int(loss.steps[first - 1]) if first else None,
        data={"tag": count.tag, "axis": loss.axis},
    )


DETECTOR = Detector("zero-beside-nan", _detect)
