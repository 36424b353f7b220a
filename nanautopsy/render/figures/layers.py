"""Layers over steps, and ranks over steps: which grew, and which stopped being finite first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import Language
from nanautopsy.layers import forward_key
from nanautopsy.model import Autopsy, Series, SeriesRole
from nanautopsy.quantities import position
from nanautopsy.render._clean import one_line
from nanautopsy.render._facts import recorded
from nanautopsy.render.figures.grid import (
    Grid,
    Limit,
    draw_grid,
    grid_data,
    limit_of,
    measured,
)
from nanautopsy.render.figures.style import AXIS_WORDS
from nanautopsy.render.figures.svg import Drawing
from nanautopsy.render.figures.views import center
from nanautopsy.wording import Phrase, listed, phrase, shortlist

_LAYERED: Mapping[SeriesRole, Phrase] = {
    "layer_gradient": phrase("Gradients by layer"),
    "layer_activation": phrase("Activations by layer"),
    "layer_parameter": phrase("Parameters by layer"),
    "attention_logit": phrase("Attention logits by layer"),
}
_RANKED: Mapping[SeriesRole, Phrase] = {
    "grad_norm": phrase("Gradient norm by rank"),
    "loss": phrase("Loss by rank"),
    "loss_scale": phrase("Loss scale by rank"),
}
"""Each role makes one map, in this order."""
MAX_ROWS = 60
MAX_COLUMNS = 160


@dataclass(frozen=True, slots=True)
class Strip:
    """Magnitudes of one quantity: layers or ranks by stretches of steps."""

    role: SeriesRole
    grid: Grid
    steps: NDArray[np.int64]
    """(columns,) the step at which each column begins."""
    total: int
    """Rows before the choice."""
    limit: Limit | None = None
    """What the magnitudes must stay below."""


def layer_strips(autopsy: Autopsy) -> list[Strip]:
    """One map for each kind of per-layer series that covers at least two layers."""
    found = []
    for role in _LAYERED:
        by_layer: dict[str, list[Series]] = {}
        for series in autopsy.run.by_role(role):
            if series.layer and recorded(series).any():
                by_layer.setdefault(one_line(series.layer), []).append(series)
        rows = {name: by_layer[name] for name in sorted(by_layer, key=forward_key)}
        limit = _limit(autopsy, by_layer)
        found += [replace(s, limit=limit) for s in _strips(role, rows, center(autopsy))]
    return found


def _limit(autopsy: Autopsy, rows: Mapping[str, list[Series]]) -> Limit | None:
    """Where the series are largest magnitudes of what is computed in a known format; norms and
    means say nothing of how near the largest number is."""
    computed = autopsy.run.facts.get("compute_dtype")
    series = [one for group in rows.values() for one in group]
    largest = all(
        one.role in ("layer_activation", "attention_logit") and "max" in one.tag.lower()
        for one in series
    )
    return limit_of(str(computed.value)) if computed is not None and largest else None


def rank_strips(autopsy: Autopsy) -> list[Strip]:
    """One map for each quantity that at least two ranks logged."""
    found = []
    for role in _RANKED:
        by_rank: dict[int, list[Series]] = {}
        for series in autopsy.run.by_role(role):
            if series.rank is not None and recorded(series).any():
                by_rank.setdefault(series.rank, []).append(series)
        rows = {f"rank {rank}": by_rank[rank] for rank in sorted(by_rank)}
        found += _strips(role, rows, center(autopsy))
    return found


def _strips(role: SeriesRole, rows: Mapping[str, list[Series]], middle: int | None) -> list[Strip]:
    """The map, if it says more than a list of names."""
    if len(rows) < 2:
        return []
    strip = _strip(role, rows, middle)
    return [] if strip.grid.nonfinite.all() else [strip]


def _strip(role: SeriesRole, rows: Mapping[str, list[Series]], middle: int | None) -> Strip:
    steps = np.unique(np.concatenate([s.steps for group in rows.values() for s in group]))
    if middle is not None and len(steps) > MAX_COLUMNS:
        i = int(np.searchsorted(steps, middle))
        start = max(0, min(i - MAX_COLUMNS * 2 // 3, len(steps) - MAX_COLUMNS))
        steps = steps[start : start + MAX_COLUMNS]
    chosen = steps[np.linspace(0, len(steps) - 1, min(len(steps), MAX_COLUMNS)).astype(np.intp)]
    names = _worst(rows)
    magnitude = np.full((len(names), len(chosen)), -np.inf)
    nonfinite = np.zeros(magnitude.shape, dtype=np.bool_)
    for row, name in enumerate(names):
        for series in rows[name]:
            _enter(series, steps, chosen, magnitude[row], nonfinite[row])
    magnitude[np.isneginf(magnitude)] = np.nan
    columns = tuple(str(step) for step in chosen.tolist())
    return Strip(role, Grid(names, columns, magnitude, nonfinite), chosen, len(rows))


def _enter(
    series: Series,
    steps: NDArray[np.int64],
    chosen: NDArray[np.int64],
    magnitude: NDArray[np.float64],
    nonfinite: NDArray[np.bool_],
) -> None:
    """One series into its row: of the points of a column the largest."""
    keep = recorded(series) & (series.steps >= steps[0]) & (series.steps <= steps[-1])
    columns = np.searchsorted(chosen, series.steps[keep], side="right") - 1
    values = np.abs(series.values[keep])
    bad = ~np.isfinite(values)
    nonfinite[columns[bad]] = True
    good = ~bad & (values > 0)
    np.maximum.at(magnitude, columns[good], np.log10(values[good]))


def _worst(rows: Mapping[str, list[Series]]) -> tuple[str, ...]:
    """The rows that stopped being finite first, then those that grew largest, in their order."""

    def badness(name: str) -> tuple[float, float]:
        first, largest = np.inf, 0.0
        for series in rows[name]:
            values = np.where(recorded(series), series.values, 0.0)
            bad = np.flatnonzero(~np.isfinite(values))
            first = min(first, float(series.steps[bad[0]]) if len(bad) else np.inf)
            finite = np.abs(values[np.isfinite(values)])
            largest = max(largest, float(finite.max()) if len(finite) else 0.0)
        return first, -largest

    if len(rows) <= MAX_ROWS:
        return tuple(rows)
    worst = set(sorted(rows, key=badness)[:MAX_ROWS])
    return tuple(name for name in rows if name in worst)


def draw_layers(autopsy: Autopsy, language: Language) -> list[Drawing]:
    """The maps of layers by steps."""
    return [
        _draw(autopsy, strip, f"layers{i}", _LAYERED[strip.role], phrase("Layer"), language)
        for i, strip in enumerate(layer_strips(autopsy))
    ]


def draw_ranks(autopsy: Autopsy, language: Language) -> list[Drawing]:
    """The maps of ranks by steps."""
    return [
        _draw(autopsy, strip, f"ranks{i}", _RANKED[strip.role], phrase("Rank"), language)
        for i, strip in enumerate(rank_strips(autopsy))
    ]


def _draw(
    autopsy: Autopsy,
    strip: Strip,
    name: str,
    title: Phrase,
    rows: Phrase,
    language: Language,
) -> Drawing:
    told = _told(strip)
    title = measured(title, strip.limit)
    svg = draw_grid(
        strip.grid,
        name,
        title=language.say(title),
        description=language.say(told),
        below=language.say(AXIS_WORDS["step"]),
        onset=_between(strip.steps, center(autopsy)),
        limit=strip.limit,
        language=language,
    )
    caption = [
        told,
        phrase(
            "Bright is large, empty is zero or not logged; hatched is non-finite, × its first step."
        ),
    ]
    if strip.total > len(strip.grid.names):
        caption.append(
            phrase(
                "{n} of {all} are drawn: those that stopped being finite first, then the largest.",
                n=len(strip.grid.names),
                all=strip.total,
            )
        )
    data = grid_data(strip.grid, title, rows, AXIS_WORDS["step"], strip.limit)
    return Drawing(name, svg, title, listed(caption, " "), data)


def _told(strip: Strip) -> Phrase:
    """Who was first: what there is to see."""
    first = strip.grid.first
    if first is None:
        return phrase("Everything is finite.")
    column, _ = first
    names = [n for i, n in enumerate(strip.grid.names) if strip.grid.first_bad(i) == column]
    place = position("step", strip.grid.columns[column])
    return phrase("Not finite first: {names}, at {place}.", names=shortlist(names, 3), place=place)


def _between(steps: NDArray[np.int64], onset: int | None) -> float | None:
    """The onset's place among the columns: the left edge of the one that holds it."""
    if onset is None or not steps[0] <= onset <= steps[-1]:
        return None
    return float(np.searchsorted(steps, onset, side="right")) - 1.5
