"""Which of several logged losses is the whole objective, by its name or by its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.moving_targets import is_running_sum
from nanautopsy.tag_words import words

TOTAL = frozenset(
    "loss losses total train training sum overall all lm batch step avg mean objective elbo nelbo"
    " vlb".split()
)
"""Words of a tag that names the whole objective, which turns together with any of its terms."""


_WHOLE = frozenset(
    {"loss", "total", "train", "training", "lm", "batch", "step", "global", "avg", "average"}
    | {"mean", "reduced", "samples", "running", "smoothed", "metrics", "sum", "overall", "epoch"}
)
"""Words of a tag that names the whole objective."""


def is_named_total(tag: str) -> bool:
    """Whether a tag's words are those of a whole objective."""
    return frozenset(words(tag)) <= TOTAL


def is_total(series: Series, losses: Sequence[Series]) -> bool:
    """Whether it is the whole objective among the losses of its writer: by its name, or because
    it is a sum of the others with positive weights."""
    return is_named_total(series.tag) or _is_sum(series, [s for s in losses if s is not series])


def _is_sum(series: Series, others: Sequence[Series]) -> bool:
    """Whether positive multiples of two or more of the others give it. A term is never such a sum:
    the total minus the other terms gives it."""
    return bool(parts_of(series, others))


def parts_of(series: Series, others: Sequence[Series]) -> list[Series]:
    """Those of the others of which two or more, times positive weights, add up to it at all steps
    that they share, to within what printing rounds off; empty where none do."""
    terms = [s for s in others if len(s) and not is_named_total(s.tag)]
    if len(terms) < 2 or len(terms) > thresholds.MOST_TERMS:
        return []
    steps = reduce(np.intersect1d, [s.steps for s in (series, *terms)])
    rows = np.stack([_at(s, steps) for s in (series, *terms)])
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    if rows.shape[1] < thresholds.SUM_POINTS * len(terms):
        return []
    total, parts = rows[0], rows[1:].T
    weights, misfit = _fit(parts, total)
    # Terms that move against each other leave the total nearly still.
    spread = float(max(total.std(), *(np.abs(weights) * parts.std(axis=0))))
    if not 0 < spread or misfit > thresholds.SUM_MISFIT * spread:
        return []
    # A term counts when the sum is much worse without it.
    least = thresholds.SUM_WORSE * max(misfit, thresholds.SUM_ROUNDING * spread)
    used = [_fit(np.delete(parts, i, axis=1), total)[1] > least for i in range(len(terms))]
    if sum(used) < 2 or (weights[np.array(used)] <= 0).any():
        return []
    return [term for term, counts in zip(terms, used, strict=True) if counts]


def _fit(parts: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, float]:
    """Least squares: the weight of each column, and the root mean square of what is left."""
    weights = np.linalg.lstsq(parts, total, rcond=None)[0]
    return weights, float(np.sqrt(np.mean((parts @ weights - total) ** 2)))


def _at(series: Series, steps: Iterable[int]) -> np.ndarray:
    places = np.searchsorted(series.steps, np.asarray(steps))
    return series.values[places]


def minimized(run: Run) -> list[Series]:
    """What training minimizes: the total where it is logged, else the term that weighs most.

    A single term may rise while the total falls (a penalty that starts at zero, a locality term).
    """
    losses = [s for s in run.by_role("loss") if len(s) >= thresholds.DIVERGED_MIN_POINTS]
    losses = [s for s in losses if not is_running_sum(s)]
    totals = [s for s in losses if frozenset(words(s.tag)) <= _WHOLE]
    if totals or not losses:
        return totals
    by_source: dict[str, list[Series]] = {}
    for series in losses:
        by_source.setdefault(series.source.path, []).append(series)
    return [max(_main(terms), key=lambda s: float(s.values[-1])) for terms in by_source.values()]


def _main(terms: list[Series]) -> list[Series]:
    """Without what keeps experts or codes in use, whose weight is small whatever its size is."""
    return [s for s in terms if _BALANCING.isdisjoint(words(s.tag))] or terms


_BALANCING = frozenset("aux auxiliary balance balancing z zloss router commit commitment".split())
