"""A reduced number that was the same on every rank, until it was not.

What ranks compute from their own batches differs; what comes out of a collective, a gradient norm
after the reduction or a checksum of the parameters, is the same everywhere, bit by bit. Where it
begins to differ, a rank read a buffer that others had not written yet, or computed wrongly itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.launches import of_ranks
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    # Losses may be equal as well, of ranks that were given the same data.
    reduced = (s for s in run.by_role("grad_norm", "other") if s.missing is None)
    found = [f for ranks in of_ranks(reduced) if (f := _parted(ranks)) is not None]
    if found:
        yield min(found, key=lambda f: f.step or 0)


def _parted(ranks: list[Series]) -> Finding | None:
    """The first step at which ranks that had agreed did not."""
    if len(ranks) != len({s.rank for s in ranks}):
        return None
    # One may have been stopped before the others, or log more rows.
    steps = reduce(np.intersect1d, [s.steps for s in ranks])
    rows = np.stack([s.values[np.searchsorted(s.steps, steps)] for s in ranks])
    one = rows[:1]
    same = (rows == one) | (np.isnan(rows) & np.isnan(one))
    agree = same.all(axis=0)
    first = int((~agree).argmax()) if not agree.all() else 0
    # A constant, such as a count of devices, is no reduced number.
    if first < thresholds.AGREED_POINTS or len(set(one[0, :first])) < thresholds.AGREED_POINTS:
        return None
    values = sorted({shown(float(value)) for value in rows[:, first]})
    return Finding(
        id="ranks-disagree",
        text=phrase(
            "{tag} was the same on all {count} ranks before; at {place} they differ: {values}",
            tag=ranks[0].tag,
            count=len(rows),
            place=position(ranks[0].axis, int(steps[first])),
            values=", ".join(values[:4]),
        ),
        source=ranks[0].at(int(np.searchsorted(ranks[0].steps, steps[first]))),
        step=int(steps[first]),
        last_good=int(steps[first - 1]),
        data={"axis": ranks[0].axis, "what": ranks[0].role},
    )


DETECTOR = Detector("rank-disagreement", _detect)
