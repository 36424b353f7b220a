"""What every figure shares: type, colors, margins, and the mark of the onset."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Axis
from nanautopsy.render.figures.svg import COLORS, WIDTH
from nanautopsy.wording import Phrase, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = 9.0
SMALL = 8.0
LEFT, RIGHT = 0.94 / WIDTH, 1 - 0.12 / WIDTH
"""Figure fractions between which steps run: equal in every figure, so that they stand aligned."""
MAX_MARKS = 60
"""Marks of non-finite points that one panel's edge can show apart."""
AXIS_WORDS: dict[Axis, Phrase] = {
    "step": phrase("step"),
    "epoch": phrase("epoch"),
    "samples": phrase("samples"),
    "record": phrase("record"),
}
"""What an axis counts."""
ONSET_DASHES = (0, (4, 3))
Test = Callable[[NDArray[np.float64]], NDArray[np.bool_]]
NONFINITE: tuple[tuple[Test, str, float, str], ...] = (
    (np.isnan, "x", 0.95, "× NaN"),
    (np.isposinf, "^", 0.95, "▲ Inf"),
    (np.isneginf, "v", 0.05, "▼ -Inf"),
)
"""Test, marker, height in the panel, and how a caption names the mark."""


def style() -> dict[Any, Any]:
    """matplotlib's settings for the page."""
    ink, muted = COLORS["ink"], COLORS["muted"]
    return {
        "font.size": FONT,
        "axes.edgecolor": COLORS["grid"],
        "axes.labelcolor": muted,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": ink,
        "axes.titlesize": FONT,
        "axes.formatter.useoffset": False,
        "axes.unicode_minus": False,
        "grid.color": COLORS["grid"],
        "grid.linewidth": 0.5,
        "hatch.linewidth": 0.7,
        "text.color": ink,
        "text.parse_math": False,
        "axes.formatter.use_mathtext": False,
        "xtick.color": COLORS["grid"],
        "ytick.color": COLORS["grid"],
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "lines.linewidth": 1.3,
        "path.simplify_threshold": 0.3,
    }


def mark_nonfinite(axes: Axes, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Non-finite points stand at the panel's edge, where no finite value does."""
    for test, marker, height, _ in NONFINITE:
        where = steps[test(values)]
        if len(where) > MAX_MARKS:
            where = where[np.linspace(0, len(where) - 1, MAX_MARKS).astype(np.intp)]
        if len(where):
            axes.plot(
                where,
                np.full(len(where), height),
                transform=axes.get_xaxis_transform(),
                linestyle="none",
                marker=marker,
                markersize=4,
                color=COLORS["bad"],
                markeredgewidth=1.1,
                clip_on=False,
            )


def shade_onset(axes: Axes, last_finite: int | None, onset: int) -> None:
    """The interval in which it happened, and the first step known to be bad as a line."""
    if last_finite is not None:
        axes.axvspan(last_finite, onset, facecolor=COLORS["band"], edgecolor="none")
    axes.axvline(onset, color=COLORS["bad"], linewidth=0.9, linestyle=ONSET_DASHES)


def span(axes: Axes, first: int, last: int) -> None:
    """Steps from ``first`` to ``last`` with a small margin; whole numbers as ticks."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.5, (last - first) * 0.01)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.ticklabel_format(axis="x", style="plain")
