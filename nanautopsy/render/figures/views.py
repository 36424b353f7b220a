"""Which part of which series the curves show, before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Autopsy, Axis, Series
from nanautopsy.render._clean import one_line
from nanautopsy.render._facts import initiating, recorded
from nanautopsy.render._format import middle_cut
from nanautopsy.wording import phrase

MAX_POINTS = 2000
"""Points of one series in a figure."""
MAX_CURVES = 4
"""Series in one panel: more lines than colors tell nothing."""
LONG_RUN = 400
"""Steps above which the figure shows a window around the onset, and the whole run apart."""
BEFORE, AFTER = 200, 100
"""Logged steps shown before and after the onset; after it, at most half of those before."""
MIN_AFTER = 20

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (phrase("Loss"), ("loss", "eval_loss")),
    (phrase("Gradient norm"), ("grad_norm",)),
    (phrase("Learning rate"), ("learning_rate",)),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a series that are drawn."""

    label: str
    """The tag, and what tells it from its namesakes."""
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    total: int
    """Points before thinning."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the stacked plots."""

    title: str
    role: str
    """The first of the roles that it shows."""
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


def onset_window(autopsy: Autopsy) -> tuple[int, int | None] | None:
    """The onset's step and the last finite one, or the step of what started it; or nothing."""
    middle = center(autopsy)
    if middle is None:
        return None
    return middle, None if autopsy.onset is None else autopsy.onset.last_finite


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
    after = min(AFTER, max(MIN_AFTER, min(i, BEFORE) // 2))
    end = int(steps[min(len(steps) - 1, i + after)])
    return (_view(autopsy, drawn, start, end, axis), whole)


def _axis(candidates: Iterable[Series]) -> Axis | None:
    """What most series count; steps where anything counts steps."""
    counts = Counter(s.axis for s in candidates)
    if "step" in counts:
        return "step"
    return counts.most_common(1)[0][0] if counts else None


def _view(autopsy: Autopsy, drawn: Sequence[Series], first: int, last: int, axis: Axis) -> View:
    panels = []
    cited = _cited(autopsy)
    for title, roles in PANELS:
        found = sorted(
            (s for s in drawn if s.role in roles),
            key=lambda s: (cited.get((s.source.path, s.tag), 2), roles.index(s.role), -len(s)),
        )
        chosen = found[:MAX_CURVES]
        labels = _labels(chosen)
        curves = [_curve(s, labels[i], first, last) for i, s in enumerate(chosen)]
        shown = tuple(curve for curve in curves if curve.total)
        if shown:
            panels.append(Panel(title, roles[0], shown, max(0, len(found) - MAX_CURVES)))
    return View(tuple(panels), first, last, axis)


def _cited(autopsy: Autopsy) -> dict[tuple[str, str | None], int]:
    """(path, tag) of the series that the onset cites: 0; that other findings cite: 1."""
    found: dict[tuple[str, str | None], int] = {}
    for finding in autopsy.findings:
        if finding.role != "cascade":
            found[finding.source.path, finding.source.tag] = 1
    if autopsy.onset is not None:
        found[autopsy.onset.source.path, autopsy.onset.source.tag] = 0
    return found


def _labels(chosen: Sequence[Series]) -> list[str]:
    """The tags; where several are equal, with the rank or the part of the path that differs."""
    counts = Counter(s.tag for s in chosen)
    labels = []
    for series in chosen:
        label = one_line(series.tag)
        if counts[series.tag] > 1:
            namesakes = [s for s in chosen if s.tag == series.tag]
            if len({s.rank for s in namesakes}) == len(namesakes) and series.rank is not None:
                label += f" (rank {series.rank})"
            else:
                paths = [one_line(s.source.path) for s in namesakes]
                label += f" ({middle_cut(_differing(one_line(series.source.path), paths), 20)})"
        labels.append(label)
    return labels


def _differing(path: str, paths: Sequence[str]) -> str:
    """The first directory that tells ``path`` from the others, or what is not shared by all."""
    parts = [p.split("/") for p in paths]
    for depth in range(min(len(p) for p in parts)):
        if len({p[depth] for p in parts}) == len(parts) and depth < len(path.split("/")) - 1:
            return path.split("/")[depth]
    start = _shared(paths)
    end = _shared([p[start:][::-1] for p in paths])
    return path[start : len(path) - end] or path


def _shared(texts: Sequence[str]) -> int:
    """Number of characters that all begin with."""
    first, last = min(texts), max(texts)  # in their order, these two differ first
    same = (a == b for a, b in zip(first, last, strict=False))
    return sum(1 for _ in takewhile(bool, same))


def _curve(series: Series, label: str, first: int, last: int) -> Curve:
    keep = recorded(series) & (series.steps >= first) & (series.steps <= last)
    steps, values = series.steps[keep], series.values[keep]
    chosen = thin(values, MAX_POINTS)
    return Curve(label, steps[chosen], values[chosen], len(steps))


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
