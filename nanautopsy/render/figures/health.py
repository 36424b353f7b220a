"""Layers over checkpoints: which are sound, all zero, near overflow or non-finite, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanautopsy.checkpoints.damage import parameter_name, weights
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.languages import Language
from nanautopsy.layers import forward_key
from nanautopsy.model import Autopsy, Checkpoint, TensorHealth
from nanautopsy.render._clean import one_line
from nanautopsy.render._facts import BY_DESIGN, badness, tensor_note
from nanautopsy.render._format import front_cut
from nanautopsy.render._table import Row, Table, code, table, text
from nanautopsy.render.figures.grid import (
    ROW,
    Grid,
    draw_grid,
    grid_data,
    hatch_runs,
    label_columns,
    label_rows,
    limit_of,
    measured,
)
from nanautopsy.render.figures.style import SMALL
from nanautopsy.render.figures.svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.wording import Phrase, listed, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LAYERS = 60
MAX_CHECKPOINTS = 40
_ALIKE = 0.5
"""Share of a checkpoint's tensors that another holds too, to stand beside it."""
_STATES: tuple[tuple[str, Phrase, str, str], ...] = (
    ("non-finite", phrase("non-finite"), "bad", "×"),
    ("all zero", phrase("all zero"), "zero", "0"),
    ("low headroom", phrase("low headroom"), "low", "!"),
    ("", phrase("sound"), "sound", ""),
)
"""Note of the worst tensor, word, color and letter, the worst first."""


@dataclass(frozen=True, slots=True)
class HealthMap:
    """The worst tensor of each layer in each checkpoint."""

    layers: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]
    worst: Mapping[tuple[str, int], TensorHealth]
    """By layer and number of the checkpoint; what is not there was not saved or not measured."""
    total: int
    """Layers before the choice."""

    def state(self, layer: str, column: int) -> int | None:
        """Index into the states."""
        tensor = self.worst.get((layer, column))
        if tensor is None:
            return None
        note = tensor_note(tensor)
        notes = [state[0] for state in _STATES]
        return notes.index("" if note == BY_DESIGN else str(note))


def health_map(autopsy: Autopsy) -> HealthMap | None:
    """Of the model's checkpoints that hold the same tensors; ``None`` for fewer than two."""
    chosen = _comparable(autopsy.run.checkpoints)
    if len(chosen) < 2:
        return None
    names = {one_line(parameter_name(t)) for c in chosen for t in weights(c)}
    layer_of = _layers(names)
    worst: dict[tuple[str, int], TensorHealth] = {}
    for column, checkpoint in enumerate(chosen):
        for tensor in weights(checkpoint):
            key = layer_of[one_line(parameter_name(tensor))], column
            if key not in worst or badness(tensor) < badness(worst[key]):
                worst[key] = tensor
    layers = sorted({layer for layer, _ in worst}, key=forward_key)
    return HealthMap(_most_telling(layers, worst), chosen, worst, len(layers))


def _comparable(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """The longest lineage that was measured, and other checkpoints that hold its tensors."""
    measured = [c for c in checkpoints if c.depth is not None and weights(c)]
    lines = lineages(measured)
    if not lines:
        return ()
    best = max(lines, key=lambda line: (line[0].holds == "model", len(line)))
    names = {parameter_name(t) for t in weights(best[0])}
    beside = [
        c
        for line in lines
        if line is not best and line[0].holds == best[0].holds
        for c in line
        if len(names & {parameter_name(t) for t in weights(c)}) >= _ALIKE * len(names)
    ]
    placed = sorted([*beside, *best], key=lambda c: -1 if c.step is None else c.step)
    if len(placed) <= MAX_CHECKPOINTS:
        return tuple(placed)
    shown = np.unique(np.linspace(0, len(placed) - 1, MAX_CHECKPOINTS).astype(np.intp))
    return tuple(placed[i] for i in shown)


def _layers(names: Iterable[str]) -> dict[str, str]:
    """The layer of each tensor: its module path, cut until the layers fit or would be too few."""
    layers = {name: _parent(name) for name in names}
    while len(set(layers.values())) > MAX_LAYERS:
        deepest = max(layer.count(".") + layer.count("/") for layer in layers.values())
        cut = {
            name: _parent(layer) if layer.count(".") + layer.count("/") == deepest else layer
            for name, layer in layers.items()
        }
        if len(set(cut.values())) < MAX_LAYERS // 4:
            break
        layers = cut
    return layers


def _parent(name: str) -> str:
    """The path without its last part; a name of one part stands for itself."""
    cut = max(name.rfind("."), name.rfind("/"))
    return name[:cut] if cut > 0 else name


def _most_telling(
    layers: Sequence[str], worst: Mapping[tuple[str, int], TensorHealth]
) -> tuple[str, ...]:
    if len(layers) <= MAX_LAYERS:
        return tuple(layers)
    rank: dict[str, tuple[int, float, str]] = {}
    for (layer, _), tensor in worst.items():
        rank[layer] = min(rank.get(layer, (9, 0.0, "")), badness(tensor))
    kept = set(sorted(layers, key=lambda layer: rank[layer])[:MAX_LAYERS])
    return tuple(layer for layer in layers if layer in kept)


# --- drawing ----------------------------------------------------------------------------------


def draw_health(autopsy: Autopsy, language: Language) -> list[Drawing]:
    """The map of health; and of the largest magnitudes, where three checkpoints and more show how
    they grew and no series does."""
    found = health_map(autopsy)
    if found is None:
        return []
    drawn = [_draw_states(found, language)]
    logged = any(s.role.startswith("layer_") for s in autopsy.run.series)
    if len(found.checkpoints) > 2 and not logged:
        drawn.append(_draw_magnitudes(found, language))
    return drawn


def _draw_states(found: HealthMap, language: Language) -> Drawing:
    from matplotlib.figure import Figure

    rows = len(found.layers)
    height = max(1.5, ROW * rows + 0.85)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.31, 0.5 / height, 0.67, 1 - 0.85 / height))
    columns = len(found.checkpoints)
    cells = np.array(
        [[found.state(layer, c) for c in range(columns)] for layer in found.layers], dtype=object
    )
    for number, (_, _, color, letter) in enumerate(_STATES):
        where = cells == number
        if color == "bad":
            hatch_runs(axes, where)
        else:
            _fill(axes, where, color)
        if letter and columns <= 20 and color != "bad":
            for row, column in zip(*np.nonzero(where), strict=True):
                axes.text(column, row, letter, ha="center", va="center_baseline", fontsize=6.5)
    _legend(axes, cells, language)
    label_rows(axes, found.layers)
    label_columns(axes, _labels(found.checkpoints))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_xlabel(language.say(phrase("checkpoint")))
    title = phrase("Health by layer and checkpoint")
    words = _caption(found)
    svg = to_svg(figure, "health", language.say(title), language.say(words))
    return Drawing("health", svg, title, words, _data(found, title))


def _fill(axes: Axes, where: np.ndarray, color: str) -> None:
    """The cells as rectangles, with a gap that shows where one ends."""
    from matplotlib.patches import Rectangle

    for row, column in zip(*np.nonzero(where), strict=True):
        axes.add_patch(
            Rectangle((column - 0.48, row - 0.45), 0.96, 0.9, facecolor=COLORS[color], linewidth=0)
        )


def _legend(axes: Axes, cells: np.ndarray, language: Language) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor=COLORS[color],
            edgecolor=COLORS["page"],
            hatch="/////" if color == "bad" else None,
            linewidth=0,
            label=language.say(word) + (f" ({letter})" if letter and color != "bad" else ""),
        )
        for number, (_, word, color, letter) in enumerate(_STATES)
        if (cells == number).any()
    ]
    legend = axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        frameon=False,
        fontsize=SMALL,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.4,
    )
    for words in legend.get_texts():
        words.set_color(COLORS["muted"])


def _labels(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """The step where one is known, else the end of the path."""
    return [front_cut(one_line(c.path), 24) if c.step is None else str(c.step) for c in checkpoints]


def _caption(found: HealthMap) -> Phrase:
    labels = _labels(found.checkpoints)
    parts: list[str] = []
    bad = [
        [layer for layer in found.layers if found.state(layer, c) == 0]
        for c in range(len(found.checkpoints))
    ]
    first = next((c for c, layers in enumerate(bad) if layers), None)
    if first is None:
        parts.append(phrase("No layer is non-finite in any checkpoint."))
    else:
        parts.append(
            phrase(
                "The first checkpoint with non-finite layers is {checkpoint}: {n} of {all}.",
                checkpoint=labels[first],
                n=len(bad[first]),
                all=len(found.layers),
            )
        )
    parts.append(phrase("A layer is as sound as the worst of its tensors."))
    if found.total > len(found.layers):
        parts.append(
            phrase("The {n} worst of {all} layers are drawn.", n=len(found.layers), all=found.total)
        )
    return listed(parts, " ")


def _data(found: HealthMap, title: Phrase) -> Table:
    labels = _labels(found.checkpoints)
    rows = []
    for layer in found.layers:
        states = [found.state(layer, c) for c in range(len(found.checkpoints))]
        words = [text("" if s is None else _STATES[s][1], bad=s == 0) for s in states]
        rows.append(Row((code(layer), *words)))
    return table(title, (phrase("Layer"), *labels), rows)


def _draw_magnitudes(found: HealthMap, language: Language) -> Drawing:
    shape = len(found.layers), len(found.checkpoints)
    magnitude, nonfinite = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    for row, layer in enumerate(found.layers):
        for column in range(shape[1]):
            tensor = found.worst.get((layer, column))
            if tensor is not None and tensor.max_abs:
                magnitude[row, column] = np.log10(tensor.max_abs)
            nonfinite[row, column] = found.state(layer, column) == 0
    grid = Grid(found.layers, tuple(_labels(found.checkpoints)), magnitude, nonfinite)
    dtypes = {tensor.dtype for tensor in found.worst.values()}
    limit = limit_of(dtypes.pop()) if len(dtypes) == 1 else None
    title = measured(phrase("Weights by layer and checkpoint"), limit)
    words = phrase(
        "Of the tensor nearest to overflow in each layer. Bright is large; hatched is non-finite, "
        "× its first checkpoint."
    )
    svg = draw_grid(
        grid,
        "magnitudes",
        title=language.say(title),
        description=language.say(words),
        below=language.say(phrase("checkpoint")),
        onset=None,
        limit=limit,
        language=language,
    )
    data = grid_data(grid, title, phrase("Layer"), phrase("checkpoint"), limit)
    return Drawing("magnitudes", svg, title, words, data)
