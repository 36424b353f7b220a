"""Grad norms and losses far above their own history before the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.moving_targets import is_unbound
from nanautopsy.objectives import is_total
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("loss", "grad_norm"):
        grown = growth(series, _death_beside(run, series))
        if grown is not None:
            yield replace(grown, id="loss-term-growth") if _is_term(run, series) else grown
    if not run.by_role("grad_norm"):
        yield from _of_layers(run)


def _of_layers(run: Run) -> Iterator[Finding]:
    """Where no norm of the whole gradient is logged: the layer whose gradient grew most."""
    found = [growth(s) for s in run.by_role("layer_gradient") if s.rank is None]
    grown = [finding for finding in found if finding is not None]
    if grown:
        most = max(grown, key=lambda finding: float(finding.data["ratio"]))  # type: ignore[arg-type]
        yield replace(most, id="grad-norm-growth")


def _is_term(run: Run, series: Series) -> bool:
    """Whether it is one term of a loss whose total is logged beside it: that tells growth."""
    if series.role != "loss":
        return False
    losses = [s for s in run.by_role("loss") if s.source.path == series.source.path]
    return not is_total(series, losses) and any(is_total(s, losses) for s in losses)


def _death_beside(run: Run, series: Series) -> int | None:
    """The step from which on a gradient norm of the same writer is non-finite for good. A loss
    behind it tells nothing of growth: it is that of broken weights, or a filter's 0."""
    ends = []
    for norm in run.by_role("grad_norm"):
        bad = ~np.isfinite(norm.values)
        beside = (norm.source.path, norm.axis) == (series.source.path, series.axis)
        if beside and bad.any() and bad[bad.argmax() :].all():
            ends.append(int(norm.steps[bad.argmax()]))
    return min(ends, default=None)


def growth(series: Series, death: int | None = None) -> Finding | None:
    """First point from which the series stays GROWTH_FACTOR above its median so far, up to the
    end, the first non-finite point, or the last one at ``death``."""
    finite = np.isfinite(series.values)
    if death is not None:
        finite &= series.steps <= death
    end = int((~finite).argmax()) if not finite.all() else len(series)
    values = np.abs(series.values[:end])
    if len(values) < 2:
        return None
    last = float(values[-1])
    # A run that dies within its first points has no usual level but its first value, nor has one
    # whose first step threw it far up for good.
    short = len(values) < 4 or _leaves_at_once(series, values)
    base = float(values[0] if short else np.median(values[: max(3, len(values) // 2)]))
    early = float(np.median(values[: max(3, int(len(values) * thresholds.EARLY_SHARE))]))
    if 0 < early <= last / thresholds.RISEN_FOR_GOOD:
        base = min(base, early)  # most points lie behind the rise
    # Where Inf follows, growth went on.
    on = end < len(series) and bool(np.isinf(series.values[end]))
    if base <= 0 or last < thresholds.GROWTH_FACTOR ** (2 if short and not on else 1) * base:
        return None
    above = values >= thresholds.GROWTH_FACTOR * base
    start = len(values) - int((~above[::-1]).argmax()) if not above.all() else 0
    return Finding(
        id="grad-norm-growth" if series.role == "grad_norm" else "loss-growth",
        text=phrase(
            "{tag} rises from about {base} to {last} by step {step}",
            tag=series.tag,
            base=shown(base),
            last=shown(last),
            step=int(series.steps[end - 1]),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={
            "from": base,
            "to": last,
            "points": _climb(values, base),
            "ratio": last / base,
            "began": _began(series.steps, values),
            "left": _left(series.steps, values, base),
            # A loss that falls below zero without end is won, not overshot.
            "descends": series.role == "loss" and bool(series.values[end - 1] < -base),
        },
    )


def _leaves_at_once(series: Series, values: NDArray[np.float64]) -> bool:
    """Whether all points behind the first lie far above it; a policy's losses begin near 0."""
    far = thresholds.GROWTH_FACTOR**3 * values[0]
    return bool(values[0] > 0 and (values[1:] >= far).all()) and not is_unbound(series)


def _began(steps: NDArray[np.int64], values: NDArray[np.float64]) -> int:
    """The last step at the first value's level: growth by a constant factor from the start leaves
    it within the first percents of what was logged, and has no usual level to be compared with."""
    near = np.flatnonzero(values <= thresholds.SUDDEN_FACTOR * values[0])
    return int(steps[near[-1]]) if len(near) else int(steps[0])


def _left(steps: NDArray[np.int64], values: NDArray[np.float64], base: float) -> int:
    """The last step at the usual level."""
    usual = np.flatnonzero(values <= thresholds.SUDDEN_FACTOR * base)
    return int(steps[usual[-1]]) if len(usual) else int(steps[0])


def _climb(values: NDArray[np.float64], base: float) -> int:
    """Points from the last one at the usual level to half of the growth, in powers: one for a
    jump, half of all for growth by a constant factor a step."""
    usual = np.flatnonzero(values <= thresholds.SUDDEN_FACTOR * base)
    left = int(usual[-1]) if len(usual) else 0
    half = float(np.sqrt(values[left:].max() * base))
    return int((values[left:] >= half).argmax())


DETECTOR = Detector("growth", _detect)
