"""Tasks that are made harder on a schedule, which the run logs beside its loss.

A model of masked inputs sees less and less of them, noise grows, sequences become longer, a term
is weighted more: the loss rises with it, and nothing is broken.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.tag_words import words

_DIFFICULTY = frozenset({"difficulty", "curriculum", "horizon", "beta", "lambda", "alpha", "temp"})
_PAIRS = frozenset(
    (kind, amount)
    for kind in ("mask", "masking", "masked", "noise", "corruption", "dropout", "kl", "mixup")
    for amount in ("ratio", "rate", "prob", "frac", "level", "std", "sigma", "scale", "weight")
) | {("seq", "len"), ("sequence", "length"), ("context", "length"), ("batch", "size")}
_FEWEST_LEVELS = 5


def is_made_harder(run: Run, series: Series) -> bool:
    """Whether the same writer logs a difficulty that only rises, little by little, and the loss
    ends no higher above its beginning than that, and rose with it from third to third."""
    thirds = [float(np.median(part)) for part in np.array_split(series.values, 3)]
    if not thirds[0] < thirds[1] < thirds[2]:
        return False
    rise = float(np.median(series.values[-3:]) / np.median(series.values[:3]))
    return any(
        rise <= _rise(other) * thresholds.HARDER_EXCESS
        for other in run.by_role("other", "counter", "loss")
        if (other.source.path, other.axis) == (series.source.path, series.axis)
        and _is_difficulty(words(other.tag))
    )


def _is_difficulty(named: tuple[str, ...]) -> bool:
    return not _DIFFICULTY.isdisjoint(named) or not _PAIRS.isdisjoint(pairwise(named))


def _rise(series: Series) -> float:
    """How many times its first value the last one is; 0 where it ever falls or leaps."""
    values = series.values
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return 0.0
    steps = np.diff(values)
    gradual = len(np.unique(values)) >= _FEWEST_LEVELS and (steps >= 0).all()
    return float(values[-1] / values[0]) if gradual and values[0] > 0 else 0.0
