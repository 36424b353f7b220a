"""What a log that begins late, or has few rows, does not show of a climb."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.learning_rates import breaks_at_once
from nanautopsy.model import Onset
from nanautopsy.quantities import quantity_words
from nanautopsy.wording import phrase


def weigh_unseen(case: Case, factor: float, rises: bool, weighing: Weighing) -> None:
    """Where no growth from the first steps on was logged: whether there was any to be seen.

    ``factor``: the rate over the usual; ``rises``: whether it was rising.
    """
    onset = case.onset
    if onset is None:
        return
    breaks = breaks_at_once(case.run, factor)
    climbs = rises and breaks
    if onset.last_finite is None:
        if factor >= thresholds.EXTREME_LR_FACTOR and _updated_before(onset):
            return
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "non-finite from the first point on: {quantity}",
                quantity=quantity_words(onset.quantity),
            ),
            onset.source,
        )
    elif case.found("loss-growth", "grad-norm-growth", "parameter-norm-growth") or climbs:
        return
    elif breaks and _hides_the_climb(case, onset):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "it died within its first {count} steps, of which hardly a row was logged",
                count=onset.step,
            ),
            onset.source,
        )
    elif not _hides_growth(case, onset, factor):
        weighing.speaks_against(
            thresholds.STRONG, phrase("nothing grew before it: it came at once"), onset.source
        )


def _hides_the_climb(case: Case, onset: Onset) -> bool:
    """Whether one or two rows are all that was logged before the onset, beginning with that of the
    beginning, and several updates lie between the last of them and the onset."""
    if onset.axis != "step" or onset.step is None or onset.last_finite is None:
        return False
    losses = [s for s in case.run.by_role("loss") if len(s) and s.steps[0] <= 1]
    if not losses or onset.step - onset.last_finite <= thresholds.FIRST_STEPS:
        return False
    rows = max(int(np.count_nonzero(s.steps <= onset.last_finite)) for s in losses)
    return rows < thresholds.EARLY_POINTS


def _hides_growth(case: Case, onset: Onset, factor: float) -> bool:
    """Whether all that was finite are the weights as they began, and the updates behind them, of a
    rate that is a mistake, are not seen: two of these, or one of a rate past all measure."""
    if onset.axis != "step" or onset.step is None or onset.last_finite is None:
        return False
    updates = onset.step - onset.last_finite
    enough = updates > 1 or factor >= thresholds.EXTREME_LR_FACTOR**3
    if factor < thresholds.EXTREME_LR_FACTOR or not enough:
        return False
    starts = [int(s.steps[0]) for s in case.run.by_role("loss") if len(s)]
    return bool(starts) and onset.last_finite <= min(starts) <= thresholds.FIRST_STEPS


def _updated_before(onset: Onset) -> bool:
    """Whether steps were taken before the first row, which does not show them."""
    return onset.axis == "step" and onset.step is not None and onset.step > thresholds.FIRST_STEPS
