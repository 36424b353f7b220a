"""Layers over steps: which stopped being finite first, as a table of magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy, Series
from nanautopsy.render._clean import one_line
from nanautopsy.render._curves import center
from nanautopsy.render._facts import recorded
from nanautopsy.render._format import middle_cut
from nanautopsy.render._svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.wording import Phrase, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = {
    "layer_gradient": phrase("gradients"),
    "layer_activation": phrase("activations"),
    "layer_parameter": phrase("parameters"),
    "attention_logit": phrase("attention logits"),
}
"""The roles that make a table, in the report's order."""
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
    for role in ROLES:
        by_layer: dict[str, list[Series]] = {}
        for series in autopsy.run.series:
            if series.role == role and series.layer and recorded(series).any():
                by_layer.setdefault(one_line(series.layer), []).append(series)
        if len(by_layer) > 1:
            found.append(_strip(role, by_layer, center(autopsy)))
    # Where nothing was ever finite, a picture tells no more than the list of layers.
    return tuple(table for table in found if not table.nonfinite.all())


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


def draw_strip(table: Strip, name: str, language: Language) -> Drawing:
    """The table as a figure."""
    from matplotlib.figure import Figure

    rows, columns = table.magnitude.shape
    height = max(1.4, 0.165 * rows + 0.53)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.31, 0.45 / height, 0.62, 1 - 0.53 / height))
    _fill(figure, axes, table)
    for row in range(rows):
        bad = np.flatnonzero(table.nonfinite[row])
        if len(bad):
            axes.plot(bad[0], row, marker="x", color=COLORS["ink"], markersize=4, clip_on=False)
    axes.set_yticks(range(rows), [middle_cut(layer, 38) for layer in table.layers])
    ticks = np.unique(np.linspace(0, columns - 1, min(columns, 6)).astype(np.intp))
    axes.set_xticks(ticks, [f"{table.edges[i]:.0f}" for i in ticks])
    axes.set_xlabel(language.say(phrase("step")))
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)
    what = ROLES[table.role]
    title = language.say(_TITLES[table.role])
    svg = to_svg(figure, name, title, language.say(_describe_strip(table, what)))
    caption = phrase(
        "Brightness is log10 of the largest magnitude; orange is non-finite, × its first step."
    )
    if table.total > rows:
        caption = phrase(
            "{caption} {n} of {all} layers, those that stopped being finite first.",
            caption=caption,
            n=rows,
            all=table.total,
        )
    return Drawing(svg, title, language.say(caption))


_TITLES = {
    "layer_gradient": phrase("Gradients by layer"),
    "layer_activation": phrase("Activations by layer"),
    "layer_parameter": phrase("Parameters by layer"),
    "attention_logit": phrase("Attention logits by layer"),
}


def _fill(figure: Figure, axes: Axes, table: Strip) -> None:
    from matplotlib import colormaps

    image = axes.imshow(
        np.ma.masked_invalid(table.magnitude),
        aspect="auto",
        interpolation="none",
        cmap=colormaps["cividis"],
    )
    overlay = np.zeros((*table.nonfinite.shape, 4))
    overlay[table.nonfinite] = (0.835, 0.369, 0.0, 1.0)  # Okabe-Ito vermilion
    axes.imshow(overlay, aspect="auto", interpolation="none")
    if np.isfinite(table.magnitude).any():
        bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.015)
        bar.solids.set_rasterized(True)  # type: ignore[union-attr]
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2)


def _describe_strip(table: Strip, what: str) -> Phrase:
    first = [
        (table.edges[bad[0]], layer)
        for layer, row in zip(table.layers, table.nonfinite, strict=True)
        if len(bad := np.flatnonzero(row))
    ]
    if not first:
        return phrase(
            "The {what} of {n} layers are finite throughout.", what=what, n=len(table.layers)
        )
    step, layer = min(first)
    return phrase(
        "The {what} of {layer} are the first that are not finite, at step {step:.0f}.",
        what=what,
        layer=layer,
        step=float(step),
    )
