"""Which part of which series a figure shows, before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Autopsy, Axis, Series
from nanautopsy.render._clean import one_line
from nanautopsy.render._facts import initiating, recorded

MAX_POINTS = 2000
"""Points of one series in a figure."""
MAX_CURVES = 4
"""Series in one panel: more lines than colors tell nothing."""
LONG_RUN = 400
"""Steps above which the figure shows a window around the onset, and the whole run apart."""
BEFORE, AFTER = 200, 100
"""Logged steps shown before and after the onset."""

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Loss", ("loss", "eval_loss")),
    ("Gradient norm", ("grad_norm",)),
    ("Learning rate", ("learning_rate",)),
    ("Loss scale", ("loss_scale",)),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a series that are drawn."""

    tag: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    total: int
    """Points before thinning."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the stacked plots."""

    title: str
    curves: tuple[Curve, ...]
    left_out: int
    """Series of the role that are not drawn."""


@dataclass(frozen=True, slots=True)
class View:
    """Stacked panels over one range of steps."""

    panels: tuple[Panel, ...]
    first: int
    last: int
    axis: Axis

    @property
    def thinned(self) -> int:
        """The largest number of points that a drawn series had; 0 when all are drawn."""
        totals = [c.total for p in self.panels for c in p.curves if c.total > len(c.steps)]
        return max(totals, default=0)


def center(autopsy: Autopsy) -> int | None:
    """The step around which to look."""
    if autopsy.onset is not None:
        return autopsy.onset.step
    finding = initiating(autopsy)
    return None if finding is None else finding.step


def views(autopsy: Autopsy) -> tuple[View, ...]:
    """The window around the onset, then the whole run when it is long; or nothing."""
    roles = {role for _, names in PANELS for role in names}
    candidates = [s for s in autopsy.run.series if s.role in roles and recorded(s).any()]
    axis = _axis(candidates)
    drawn = [s for s in candidates if s.axis == axis]
    if axis is None or not drawn:
        return ()
    steps = np.unique(np.concatenate([s.steps[recorded(s)] for s in drawn]))
    first, last = int(steps[0]), int(steps[-1])
    whole = _view(autopsy, drawn, first, last, axis)
    middle = center(autopsy)
    if len(steps) <= LONG_RUN or middle is None or not first <= middle <= last:
        return (whole,)
    i = int(np.searchsorted(steps, middle))
    start = int(steps[max(0, i - BEFORE)])
    end = int(steps[min(len(steps) - 1, i + AFTER)])
    return (_view(autopsy, drawn, start, end, axis), whole)


def _axis(candidates: Iterable[Series]) -> Axis | None:
    """What most series count; steps where anything counts steps."""
    counts = Counter(s.axis for s in candidates)
    if "step" in counts:
        return "step"
    return counts.most_common(1)[0][0] if counts else None


def _view(autopsy: Autopsy, drawn: Sequence[Series], first: int, last: int, axis: Axis) -> View:
    panels = []
    for title, roles in PANELS:
        found = sorted(
            (s for s in drawn if s.role in roles),
            key=lambda s: (not _cited(autopsy, s), roles.index(s.role), -len(s)),
        )
        curves = [_curve(s, first, last) for s in found[:MAX_CURVES]]
        shown = tuple(curve for curve in curves if curve.total)
        if shown:
            panels.append(Panel(title, shown, max(0, len(found) - MAX_CURVES)))
    return View(tuple(panels), first, last, axis)


def _cited(autopsy: Autopsy, series: Series) -> bool:
    """Whether the onset was seen in this series."""
    onset = autopsy.onset
    if onset is None:
        return False
    return (series.source.path, series.tag) == (onset.source.path, onset.source.tag)


def _curve(series: Series, first: int, last: int) -> Curve:
    keep = recorded(series) & (series.steps >= first) & (series.steps <= last)
    steps, values = series.steps[keep], series.values[keep]
    chosen = thin(values, MAX_POINTS)
    return Curve(one_line(series.tag), steps[chosen], values[chosen], len(steps))


def thin(values: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Indices of at most ``limit`` points: of each stretch its extremes and what is not finite."""
    if len(values) <= limit:
        return np.arange(len(values))
    kept: set[int] = {0, len(values) - 1}
    bounds = np.linspace(0, len(values), max(1, (limit - 2) // 5) + 1).astype(np.intp)
    for start, end in pairwise(bounds):
        part = values[start:end]
        finite = np.flatnonzero(np.isfinite(part))
        if len(finite):
            kept.add(int(start + finite[np.argmin(part[finite])]))
            kept.add(int(start + finite[np.argmax(part[finite])]))
        for odd in (np.isnan(part), part == np.inf, part == -np.inf):
            if odd.any():
                kept.add(int(start + np.argmax(odd)))
    return np.array(sorted(kept), dtype=np.intp)


# --- layers -----------------------------------------------------------------------------------

LAYER_ROLES = ("layer_gradient", "layer_activation", "layer_parameter", "attention_logit")
MAX_LAYERS = 60
MAX_COLUMNS = 160


@dataclass(frozen=True, slots=True)
class Strip:
    """Per-layer magnitudes as a table of layers by stretches of steps."""

    role: str
    layers: tuple[str, ...]
    edges: NDArray[np.float64]
    """(columns + 1,) steps that bound the columns."""
    magnitude: NDArray[np.float64]
    """(layers, columns) log10 of the largest finite magnitude; NaN where there is none."""
    nonfinite: NDArray[np.bool_]
    """(layers, columns) whether anything was not finite."""
    total: int
    """Layers before the choice."""


def strips(autopsy: Autopsy) -> tuple[Strip, ...]:
    """One table for each kind of per-layer series that covers at least two layers."""
    found = []
    for role in LAYER_ROLES:
        by_layer: dict[str, list[Series]] = {}
        for series in autopsy.run.series:
            if series.role == role and series.layer and recorded(series).any():
                by_layer.setdefault(one_line(series.layer), []).append(series)
        if len(by_layer) > 1:
            found.append(_strip(role, by_layer, center(autopsy)))
    return tuple(found)


def _strip(role: str, by_layer: dict[str, list[Series]], middle: int | None) -> Strip:
    steps = np.unique(np.concatenate([s.steps for group in by_layer.values() for s in group]))
    if middle is not None and len(steps) > MAX_COLUMNS:
        i = int(np.searchsorted(steps, middle))
        start = max(0, min(i - MAX_COLUMNS * 2 // 3, len(steps) - MAX_COLUMNS))
        steps = steps[start : start + MAX_COLUMNS]
    chosen = steps[np.linspace(0, len(steps) - 1, min(len(steps), MAX_COLUMNS)).astype(np.intp)]
    layers = _worst_layers(by_layer)
    magnitude = np.full((len(layers), len(chosen)), -np.inf)
    nonfinite = np.zeros(magnitude.shape, dtype=np.bool_)
    for row, layer in enumerate(layers):
        for series in by_layer[layer]:
            keep = recorded(series) & (series.steps >= steps[0]) & (series.steps <= steps[-1])
            columns = np.searchsorted(chosen, series.steps[keep], side="right") - 1
            values = np.abs(series.values[keep])
            bad = ~np.isfinite(values)
            nonfinite[row, columns[bad]] = True
            good = ~bad & (values > 0)
            np.maximum.at(magnitude[row], columns[good], np.log10(values[good]))
    magnitude[np.isneginf(magnitude)] = np.nan
    step = float(np.median(np.diff(chosen))) if len(chosen) > 1 else 1.0
    edges = np.append(chosen, chosen[-1] + step).astype(np.float64)
    return Strip(role, layers, edges, magnitude, nonfinite, len(by_layer))


def _worst_layers(by_layer: dict[str, list[Series]]) -> tuple[str, ...]:
    """The layers that stopped being finite first, in the artifact's order."""

    def first_bad(layer: str) -> float:
        return min(
            (float(s.steps[b[0]]) for s in by_layer[layer] if len(b := _bad(s))), default=np.inf
        )

    worst = set(sorted(by_layer, key=first_bad)[:MAX_LAYERS])
    return tuple(layer for layer in by_layer if layer in worst)


def _bad(series: Series) -> NDArray[np.intp]:
    return np.flatnonzero(recorded(series) & ~np.isfinite(series.values))
