"""Growth before the end: grad norms and losses far above their own history, and divergence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.roles import words
from nanautopsy.signal import shown

_ADVERSARIAL = frozenset(
    {"d", "g", "disc", "discriminator", "generator", "gan", "adv", "adversarial"}
    | {"policy", "pg", "actor", "critic", "value", "vf", "kl", "entropy", "elbo"}
)
"""Losses whose level is no measure of success: two-player games, policies, divergences."""

_TOTAL = frozenset(
    {"loss", "total", "train", "training", "lm", "batch", "step", "global", "avg", "average"}
    | {"mean", "reduced", "samples", "running", "smoothed", "metrics", "sum", "overall", "epoch"}
)
"""Words of a tag that names the whole objective."""


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("loss", "grad_norm"):
        growth = _growth(series)
        if growth is not None:
            yield growth
    for series in _objectives(run):
        diverged = _diverged(series)
        if diverged is not None:
            yield diverged


def _objectives(run: Run) -> list[Series]:
    """What training minimizes: the total where it is logged, else the term that weighs most.

    A single term may rise while the total falls (a penalty that starts at zero, a locality term).
    """
    losses = [s for s in run.by_role("loss") if len(s) >= thresholds.DIVERGED_MIN_POINTS]
    totals = [s for s in losses if frozenset(words(s.tag)) <= _TOTAL]
    if totals or not losses:
        return totals
    by_source: dict[str, list[Series]] = {}
    for series in losses:
        by_source.setdefault(series.source.path, []).append(series)
    return [max(terms, key=lambda s: float(s.values[-1])) for terms in by_source.values()]


def _growth(series: Series) -> Finding | None:
    """First point from which the series stays GROWTH_FACTOR above its median so far, up to the
    end or the first non-finite point."""
    finite = np.isfinite(series.values)
    end = int((~finite).argmax()) if not finite.all() else len(series)
    values = np.abs(series.values[:end])
    if len(values) < 4:
        return None
    last = float(values[-1])
    half = values[: max(3, len(values) // 2)]
    base = float(np.median(half))
    if base <= 0 or last < thresholds.GROWTH_FACTOR * base:
        return None
    above = values >= thresholds.GROWTH_FACTOR * base
    start = len(values) - int((~above[::-1]).argmax()) if not above.all() else 0
    return Finding(
        id="grad-norm-growth" if series.role == "grad_norm" else "loss-growth",
        text=f"{series.tag} rises from about {shown(base)} to {shown(last)} by step "
        f"{int(series.steps[end - 1])}",
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={"from": base, "to": last, "points": end - start, "ratio": last / base},
    )


def _diverged(series: Series) -> Finding | None:
    """A finite loss that ends far above where it began, and stays there.

    A run that had learned must lie high throughout its tail, so that a spike that came back, or
    one noisy last point, is none. One that never got better than it began may fall back to its
    beginning between spikes. The level must be one that training can lose: positive throughout.
    """
    if frozenset(words(series.tag)) & _ADVERSARIAL:
        return None
    values = series.values
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return None
    if (values <= 0).any():
        return None
    tail = values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    initial, level = float(values[0]), float(np.median(tail))
    smoothed = np.convolve(values, np.ones(3) / 3, mode="valid")
    best = float(smoothed.min())
    reference = max(initial, float(smoothed[: -len(tail)].min(initial=initial)))
    left = level >= thresholds.DIVERGED_FACTOR * reference and tail.min() >= reference
    never = (
        len(values) >= thresholds.NEVER_LEARNED_POINTS
        and level >= thresholds.NEVER_LEARNED_FACTOR * initial
        and best >= thresholds.NEVER_LEARNED_BEST * initial
    )
    beyond = float(tail.min()) >= thresholds.FLOAT32_SQUARE_MAX
    if not (left or never or beyond):
        return None
    high = values >= min(level, thresholds.NEVER_LEARNED_FACTOR * initial)
    start = int(high.argmax())
    text = (
        f"{series.tag} ends at about {shown(level)}, where the squares of its gradients are past "
        "float32's maximum"
        if beyond
        else f"{series.tag} ends at about {shown(level)}, {level / initial:.3g} times its first "
        f"value {shown(initial)}, and does not come back"
    )
    return Finding(
        id="diverged-loss",
        text=text,
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={"from": initial, "to": level, "best": best},
    )


DETECTOR = Detector("trend", _detect)
