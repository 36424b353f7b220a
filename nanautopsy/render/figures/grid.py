"""Magnitudes as a heat map: names down, steps across, and where they stop being finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.languages import Language
from nanautopsy.render._format import middle_cut, number
from nanautopsy.render._table import Cell, Row, Table, code, integer, table
from nanautopsy.render._table import number as number_cell
from nanautopsy.render.figures.style import SMALL
from nanautopsy.render.figures.svg import COLORS, WIDTH, to_svg
from nanautopsy.signal import stretches
from nanautopsy.wording import Phrase, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.168
"""Inches of a row."""
_LONGEST = 38
"""Characters of a row's name."""
_DARKEST, _LIGHTEST = 0.12, 1.0
"""Part of the color map that is used: its darkest end is lost on a dark page."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Magnitudes as a table of names by columns."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    """What stands under each column: a step, or a checkpoint."""
    magnitude: NDArray[np.float64]
    """(names, columns) log10 of the largest finite magnitude; NaN where there is none."""
    nonfinite: NDArray[np.bool_]
    """(names, columns) whether anything was not finite."""

    def first_bad(self, row: int) -> int | None:
        """The first column in which the row is not finite."""
        bad = np.flatnonzero(self.nonfinite[row])
        return int(bad[0]) if len(bad) else None

    @property
    def first(self) -> tuple[int, int] | None:
        """Column and row of the first that is not finite."""
        found = [(c, r) for r in range(len(self.names)) if (c := self.first_bad(r)) is not None]
        return min(found, default=None)


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest number of a format, below which magnitudes must stay."""

    dtype: str
    maximum: float


_WORDS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
"""What people call the formats; the others' own names say it."""


def limit_of(dtype: str) -> Limit | None:
    """Of a format by its name; ``None`` for one that is not known, or of integers."""
    known = FORMATS.get(dtype)
    return None if known is None or known.maximum is None else Limit(known.name, known.maximum)


def measured(title: str, limit: Limit | None) -> Phrase:
    """The title, and what the map measures."""
    if limit is None:
        return phrase("{title}: magnitude", title=title)
    return phrase(
        "{title}: headroom to {maximum}, the largest number of {dtype}",
        title=title,
        maximum=f"{limit.maximum:g}",
        dtype=_WORDS.get(limit.dtype, limit.dtype),
    )


def draw_grid(
    grid: Grid,
    name: str,
    *,
    title: str,
    description: str,
    below: str,
    onset: float | None,
    limit: Limit | None = None,
    language: Language,
) -> str:
    """The map as SVG. ``below``: what the columns are; ``onset``: where between them it lies.

    ``limit``: that against which the scale is measured, instead of magnitudes.
    """
    from matplotlib.figure import Figure

    rows, columns = grid.magnitude.shape
    height = max(1.6, ROW * rows + 0.8)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0.31, 0.5 / height, 0.61, 1 - 0.8 / height))
    _fill(figure, axes, grid, limit, language)
    if onset is not None:
        axes.axvline(onset, color=COLORS["bad"], linewidth=1, linestyle=(0, (4, 3)))
    label_rows(axes, grid.names)
    label_columns(axes, grid.columns)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_xlabel(below)
    return to_svg(figure, name, title, description)


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """The names at the left, their middles cut where they are long."""
    axes.set_yticks(range(len(names)), [middle_cut(name, _LONGEST) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def label_columns(axes: Axes, columns: Sequence[str]) -> None:
    """As many of the columns' names as fit side by side."""
    longest = max((len(c) for c in columns), default=1)
    fit = max(1, min(len(columns), 90 // (longest + 3), 12))
    shown = np.unique(np.linspace(0, len(columns) - 1, fit).astype(np.intp))
    axes.set_xticks(shown, [columns[i] for i in shown])
    axes.tick_params(axis="x", length=2)


def _fill(figure: Figure, axes: Axes, grid: Grid, limit: Limit | None, language: Language) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import MaxNLocator

    chosen = colormaps["cividis"](np.linspace(_DARKEST, _LIGHTEST, 256))
    image = axes.imshow(
        np.ma.masked_invalid(grid.magnitude),
        aspect="auto",
        interpolation="none",
        cmap=ListedColormap(chosen),
    )
    hatch_runs(axes, grid.nonfinite)
    for row in range(len(grid.names)):
        at = grid.first_bad(row)
        if at is not None:
            axes.plot(at, row, marker="x", color=COLORS["page"], markersize=4, markeredgewidth=1.4)
    if np.isfinite(grid.magnitude).any():
        box = axes.get_position()
        width = 0.012
        bar = figure.colorbar(
            image,
            cax=figure.add_axes((box.x1 + 0.012, box.y0, width, box.height)),
            format=lambda value, position: f"{_scaled(value, limit):.2g}",
            ticks=MaxNLocator(nbins=5),
        )
        bar.solids.set_rasterized(True)  # type: ignore[union-attr]
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        words = phrase("magnitude") if limit is None else phrase("headroom")
        bar.ax.set_title(language.say(words), fontsize=SMALL, color=COLORS["muted"])


def hatch_runs(axes: Axes, where: NDArray[np.bool_], color: str = "bad") -> None:
    """Neighboring cells of a row in one color, hatched: color alone would not tell all readers."""
    from matplotlib.patches import Rectangle

    for row, cells in enumerate(where):
        for start, end in stretches(cells):
            axes.add_patch(
                Rectangle(
                    (start - 0.5, row - 0.5),
                    end - start,
                    1,
                    facecolor=COLORS[color],
                    edgecolor=COLORS["page"],
                    hatch="/////",
                    linewidth=0,
                )
            )


def grid_data(grid: Grid, title: str, what: str, column: str, limit: Limit | None = None) -> Table:
    """One row a name: where it is largest, its headroom to ``limit`` there, and where it stops
    being finite."""
    rows = []
    for i, name in enumerate(grid.names):
        values = grid.magnitude[i]
        known = np.flatnonzero(np.isfinite(values))
        bad = grid.first_bad(i)
        largest = int(known[np.argmax(values[known])]) if len(known) else None
        ends = (int(known[0]), int(known[-1])) if len(known) else (None, None)
        rows.append(
            Row(
                (
                    code(name),
                    *(_value(values, at, None) for at in (*ends, largest)),
                    Cell("") if limit is None else _value(values, largest, limit),
                    code("" if largest is None else grid.columns[largest]),
                    integer(int(grid.nonfinite[i].sum()), bad=True),
                    code("" if bad is None else grid.columns[bad]),
                )
            )
        )
    headings = (
        what,
        phrase("First"),
        phrase("Last"),
        phrase("Largest"),
        phrase("Least headroom"),
        phrase("Largest at {column}", column=column),
        phrase("Non-finite"),
        phrase("First non-finite at {column}", column=column),
    )
    return table(title, headings, rows)


def _value(magnitudes: NDArray[np.float64], at: int | None, limit: Limit | None) -> Cell:
    if at is None:
        return Cell("")
    value = _scaled(magnitudes[at], limit)
    return number_cell(value, number(value))


def _scaled(exponent: float, limit: Limit | None) -> float:
    """The magnitude, or the headroom that it leaves below the limit."""
    return _power(exponent) if limit is None else limit.maximum * _power(-exponent)


def _power(exponent: float) -> float:
    """Ten to it; infinite beyond the largest number."""
    with np.errstate(over="ignore"):
        return float(np.power(10.0, exponent))
