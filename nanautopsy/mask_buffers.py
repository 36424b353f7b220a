"""Extremes of what is masked: -Inf by design, in every batch, whatever training does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanautopsy.model import Series
from nanautopsy.tag_words import words

_SMALLEST = frozenset(("min", "amin", "minimum", "smallest"))
_FEWEST_POINTS = 2
"""Of one point nobody can say that it stays."""


def is_mask_buffer(series: Series, everything: Sequence[Series]) -> bool:
    """Whether ``series`` is an extreme of a histogram that is -Inf throughout, beside a largest
    value that never changes.

    A weight that turned to -Inf was finite before, or has neighbors that are trained; causal masks
    and the like are the same from the first point to the last. ``everything``: the run's series.
    """
    if len(series) < _FEWEST_POINTS or not np.isneginf(series.values).all():
        return False
    base, sign, extreme = series.tag.rpartition("#")
    if not sign and not _SMALLEST.isdisjoint(words(series.tag)):
        return True  # scores_min: of masked scores in every batch
    if extreme not in ("min", "max"):
        return False
    beside = {
        other.tag.rpartition("#")[2]: other.values
        for other in everything
        if other.source.path == series.source.path
        and other.rank == series.rank
        and other.tag in (f"{base}#min", f"{base}#max")
    }
    smallest, largest = beside.get("min"), beside.get("max")
    if smallest is None or largest is None or not len(largest):
        return False
    # NaN equals nothing, itself included.
    return bool(
        np.isneginf(smallest).all() and (largest == largest[0]).all() and largest[0] < np.inf
    )
