"""The loss scale as a staircase: doubled after good steps, halved at each skipped one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy
from nanautopsy.render._facts import recorded
from nanautopsy.render._format import number
from nanautopsy.render._table import Row, Table, capped, integer, table
from nanautopsy.render._table import number as number_cell
from nanautopsy.render.figures import marks
from nanautopsy.render.figures.style import (
    AXIS_WORDS,
    LEFT,
    RIGHT,
    mark_nonfinite,
    shade_onset,
    span,
)
from nanautopsy.render.figures.svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.render.figures.views import onset_window, views
from nanautopsy.wording import Phrase, counted, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = 1.5
_HUGE = 2.0**200
"""Magnitude to which values are clipped, so that an axis's span stays finite."""
_COLLAPSE = 4
"""Falls in a row at the end, from which on the caption says what they mean. It decides nothing."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Staircase:
    """The loss scale at the steps at which it is known."""

    steps: NDArray[np.int64]
    """(n,) ascending."""
    values: NDArray[np.float64]
    """(n,)"""

    @property
    def treads(self) -> NDArray[np.intp]:
        """Indices at which the scale differs from the point before."""
        same = (self.values[1:] == self.values[:-1]) | (
            np.isnan(self.values[1:]) & np.isnan(self.values[:-1])
        )
        return np.flatnonzero(~same) + 1


def staircase(autopsy: Autopsy) -> Staircase | None:
    """The scale over steps, from a series or from what skipped steps say; ``None`` where it is not
    known or never changes."""
    series = [s for s in autopsy.run.by_role("loss_scale") if s.axis == "step"]
    found: dict[int, float] = {}
    if series:
        best = max(series, key=lambda s: int(recorded(s).sum()))
        keep = recorded(best)
        found = dict(zip(best.steps[keep].tolist(), best.values[keep].tolist(), strict=True))
    else:
        for event in autopsy.run.events_of("overflow-skipped"):
            after = event.data.get("scale_after")
            if event.step is not None and isinstance(after, (int, float)):
                found[event.step] = float(after)
    if len(found) < 2:
        return None
    steps = sorted(found)
    stairs = Staircase(
        np.array(steps, dtype=np.int64), np.array([found[s] for s in steps], dtype=np.float64)
    )
    return stairs if len(stairs.treads) else None


def draw_scale(autopsy: Autopsy, language: Language) -> list[Drawing]:
    """The staircase, over the steps of the curves around the onset where these overlap."""
    stairs = staircase(autopsy)
    if stairs is None:
        return []
    from matplotlib.figure import Figure

    first, last = _range(autopsy, stairs)
    lanes = marks.lanes(autopsy, first, last)
    skipped = tuple(lane for lane in lanes if lane.marker == "v")
    onset = onset_window(autopsy)
    inside = onset is not None and first <= onset[0] <= last
    rows = len(skipped) + inside
    above = rows * marks.LANE + 0.1
    height = above + _PANEL + 0.5
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((LEFT, 0.45 / height, RIGHT - LEFT, _PANEL / height))
    span(axes, first, last)
    if onset and inside:
        shade_onset(axes, onset[1], onset[0])
    _draw_stairs(axes, stairs)
    axes.set_xlabel(language.say(AXIS_WORDS["step"]))
    if rows:
        box = (LEFT, 1 - (above - 0.04) / height, RIGHT - LEFT, rows * marks.LANE / height)
        top = figure.add_axes(box, sharex=axes)
        marks.draw_lanes(top, skipped, onset[0] if onset and inside else None, "step", language)
    title = phrase("Loss scale")
    words = _caption(stairs, autopsy.failed)
    svg = to_svg(figure, "loss-scale", language.say(title), language.say(words))
    return [Drawing("loss-scale", svg, title, words, _data(stairs))]


def _range(autopsy: Autopsy, stairs: Staircase) -> tuple[int, int]:
    first, last = int(stairs.steps[0]), int(stairs.steps[-1])
    for view in views(autopsy)[:1]:
        treads = stairs.steps[stairs.treads]
        overlap = (treads >= view.first) & (treads <= view.last)
        if view.axis == "step" and overlap.any():
            return view.first, view.last
    return first, last


def _draw_stairs(axes: Axes, stairs: Staircase) -> None:
    """Only the edges of the stairs: what lies between two equal points says nothing."""
    edges = np.unique(np.concatenate([[0], stairs.treads, [len(stairs.steps) - 1]]))
    steps, values = stairs.steps[edges], np.clip(stairs.values[edges], -_HUGE, _HUGE)
    positive = values[np.isfinite(values) & (values > 0)]
    axes.plot(
        steps,
        np.where(np.isfinite(stairs.values[edges]), values, np.nan),
        drawstyle="steps-post",
        color=COLORS["c0"],
        linewidth=1.5,
        marker="." if len(edges) <= 60 else "",
        markersize=4,
    )
    mark_nonfinite(axes, steps, stairs.values[edges])
    if len(positive) == len(values) and positive.min() > 1 / _HUGE:
        axes.set_yscale("log", base=2)
        low, high = np.log2(positive.min()), np.log2(positive.max())
        powers = np.unique(np.round(np.linspace(np.floor(low), np.ceil(high), 5)).astype(int))
        names = [f"2{str(power).translate(_SUPERSCRIPT)}" for power in powers]
        axes.set_yticks([2.0**power for power in powers], names)
        axes.set_ylim(2.0 ** (low - 0.6), 2.0 ** (high + 0.6))
    axes.minorticks_off()
    axes.grid(True, axis="y")
    axes.tick_params(length=2.5)


def _caption(stairs: Staircase, failed: bool) -> Phrase:
    """How far it fell or rose, and how to read that."""
    values = stairs.values[np.isfinite(stairs.values)]
    before, after = stairs.values[stairs.treads - 1], stairs.values[stairs.treads]
    falls = int((after < before).sum())
    rises = int((after > before).sum())
    return phrase(
        "It falls {falls} and rises {rises}, between {most} and {least}, and ends at {last}. A "
        "fall is a step skipped because its gradients overflowed{meaning}.",
        falls=_times(falls),
        rises=_times(rises),
        most=_exact(values.max()) if len(values) else "?",
        least=_exact(values.min()) if len(values) else "?",
        last=_exact(stairs.values[-1]),
        meaning=_meaning(stairs, failed),
    )


def _meaning(stairs: Staircase, failed: bool) -> str:
    """What the last falls say; a scale that has found its place says nothing."""
    treads = stairs.treads[-_COLLAPSE:]
    falling = len(treads) == _COLLAPSE and bool(
        (stairs.values[treads] < stairs.values[treads - 1]).all()
    )
    if failed and falling:
        return phrase("; falls without a rise mean that no scale helps any more")
    return ""


def _times(n: int) -> Phrase:
    return counted(n, "once", "{n} times") if n else phrase("never")


def _exact(scale: float) -> str:
    """A scale in full: most are powers of two, which people know by their digits."""
    value = float(scale)
    return str(int(value)) if value.is_integer() and abs(value) < 1e12 else number(value)


def _data(stairs: Staircase) -> Table:
    shown, left_out = capped(stairs.treads[::-1].tolist(), 200)
    rows = [
        Row(
            (
                integer(int(stairs.steps[i])),
                number_cell(float(stairs.values[i - 1]), _exact(stairs.values[i - 1])),
                number_cell(float(stairs.values[i]), _exact(stairs.values[i])),
            )
        )
        for i in reversed(shown)
    ]
    headings = (AXIS_WORDS["step"], phrase("before"), phrase("after"))
    advice = phrase("The last changes are shown; the artifacts hold all of them.")
    return table(phrase("Changes of the loss scale"), headings, rows, left_out, advice)
