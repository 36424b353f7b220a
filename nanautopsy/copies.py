"""Series that are logged twice: a state saved again later holds all of the earlier one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanautopsy.model import Series

_MOST_COMPARED = 16
"""Series of one tag that another is compared with, to see whether it is a copy."""


def without_copies(series: Sequence[Series]) -> list[Series]:
    """Drop a series that another of its tag holds in full: a state saved again at a later step."""
    by_tag: dict[tuple[str, str, int | None], list[Series]] = {}
    for one in series:
        by_tag.setdefault((one.tag, one.axis, one.rank), []).append(one)
    copies = set()
    for members in by_tag.values():
        kept: list[Series] = []
        for one in sorted(members, key=len, reverse=True):
            if any(_holds(longer, one) for longer in kept):
                copies.add(id(one))
            elif len(kept) < _MOST_COMPARED:
                kept.append(one)
    return [one for one in series if id(one) not in copies]


def _holds(longer: Series, shorter: Series) -> bool:
    index = np.searchsorted(longer.steps, shorter.steps)
    inside = index < len(longer)
    return bool(
        inside.all()
        and np.array_equal(longer.steps[index], shorter.steps)
        and np.array_equal(longer.values[index], shorter.values, equal_nan=True)
    )
