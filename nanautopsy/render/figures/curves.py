"""Curves around the onset: loss, gradient norm and learning rate over one axis of steps, with what
happened at which step marked above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy
from nanautopsy.render._format import middle_cut
from nanautopsy.render.figures import marks
from nanautopsy.render.figures.curve_words import Scene, caption, data, describe
from nanautopsy.render.figures.style import (
    AXIS_WORDS,
    LEFT,
    RIGHT,
    SMALL,
    mark_nonfinite,
    shade_onset,
    span,
)
from nanautopsy.render.figures.svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.render.figures.views import (
    MAX_CURVES,
    Panel,
    View,
    onset_window,
    views,
)
from nanautopsy.wording import Phrase, listed, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 1.2
_LINES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (5, 1, 1, 1)))
"""Curves differ by more than color, and one that lies on another lets it show."""
_GAP = 0.42
"""Inches between panels: a title's height and room for ticks."""
_DECADES = 2.5
"""Span of positive values above which an axis is logarithmic."""
_HUGE = 1e300
"""Magnitude to which values are clipped, so that an axis's span stays finite."""
_FEW = 60
"""Points up to which each has its own dot."""


def draw_curves(autopsy: Autopsy, language: Language) -> list[Drawing]:
    """The window around the onset, and the whole run when it is long."""
    shown = views(autopsy)
    drawings = []
    for i, view in enumerate(shown):
        title = phrase("The run")
        if len(shown) > 1:
            title = phrase("The whole run") if i else phrase("Around the onset")
        drawings.append(_draw(autopsy, _scene(autopsy, view), f"curves{i}", title, language))
    return drawings


def _scene(autopsy: Autopsy, view: View) -> Scene:
    window = onset_window(autopsy)
    same_axis = view.axis == (autopsy.onset.axis if autopsy.onset else "step")
    inside = window is not None and same_axis and view.first <= window[0] <= view.last
    return Scene(
        view,
        marks.lanes(autopsy, view.first, view.last) if view.axis == "step" else (),
        window[0] if window and inside else None,
        window[1] if window and inside else None,
    )


def _draw(autopsy: Autopsy, scene: Scene, name: str, title: Phrase, language: Language) -> Drawing:
    view = scene.view
    say = language.say
    figure, top, panels = _stage(scene)
    span(panels[0], view.first, view.last)
    for axes, panel in zip(panels, view.panels, strict=True):
        if scene.onset is not None:
            shade_onset(axes, scene.last_finite, scene.onset)
        for lane in scene.lanes:
            if lane.marker in (">", "D") and len(lane.steps) <= 8:
                for step in lane.steps:
                    axes.axvline(step, color=COLORS[lane.color], linewidth=0.8, linestyle=":")
        _draw_panel(axes, panel, language)
    if top is not None:
        marks.draw_lanes(top, scene.lanes, scene.onset, view.axis, language)
    panels[-1].set_xlabel(say(AXIS_WORDS[view.axis]))
    description = " ".join(say(describe(panel, view)) for panel in view.panels)
    titles = listed(panel.title for panel in view.panels)
    svg = to_svg(
        figure, name, say(phrase("{title}: {what}", title=title, what=titles)), description
    )
    return Drawing(name, svg, title, caption(autopsy, scene), data(scene, title))


def _stage(scene: Scene) -> tuple[Figure, Axes | None, list[Axes]]:
    """The figure with its axes: the lanes, where there are any, above the panels."""
    from matplotlib.figure import Figure

    rows, lanes = len(scene.view.panels), len(scene.lanes) + (scene.onset is not None)
    above = lanes * marks.LANE + 0.06
    height = above + rows * (_PANEL + _GAP) + 0.22
    figure = Figure(figsize=(WIDTH, height))
    panels: list[Axes] = []
    for i in range(rows):
        bottom = height - above - (i + 1) * (_PANEL + _GAP) + 0.24
        box = (LEFT, bottom / height, RIGHT - LEFT, _PANEL / height)
        panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        panels[-1].tick_params(labelbottom=i == rows - 1)
    if not lanes:
        return figure, None, panels
    box = (LEFT, 1 - (above - 0.03) / height, RIGHT - LEFT, lanes * marks.LANE / height)
    return figure, figure.add_axes(box, sharex=panels[0]), panels


# --- panels -----------------------------------------------------------------------------------


_LEGEND, _HANDLE = 112, 8
"""Characters that a legend has beside its panel's title, and those that a line's sample takes."""


def _draw_panel(axes: Axes, panel: Panel, language: Language) -> None:
    from matplotlib.ticker import NullLocator

    finite = [c.values[np.isfinite(c.values)] for c in panel.curves]
    _scale(axes, panel.role, np.concatenate(finite), language)
    if not all(np.isfinite(c.values).all() for c in panel.curves) and _bounded(finite):
        axes.margins(y=0.16)  # the marks at the edge stand clear of the curves
    for i, curve in enumerate(panel.curves):
        values = np.clip(np.where(np.isfinite(curve.values), curve.values, np.nan), -_HUGE, _HUGE)
        axes.plot(
            curve.steps,
            values,
            color=COLORS[f"c{i % MAX_CURVES}"],
            marker="." if np.isfinite(values).sum() <= _FEW else "",
            markersize=3.5,
            linestyle=_LINES[i % len(_LINES)],
            label=middle_cut(curve.label, _LEGEND // len(panel.curves) - _HANDLE),
        )
        mark_nonfinite(axes, curve.steps, curve.values)
    axes.yaxis.set_major_formatter(
        lambda value, position: f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3g}"
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(language.say(panel.title), loc="left", pad=5)
    axes.grid(True, axis="y")
    axes.tick_params(length=2.5)
    _name_curves(axes, panel)


def _name_curves(axes: Axes, panel: Panel) -> None:
    """A legend for several curves; the tag at the right for one."""
    if len(panel.curves) > 1:
        legend = axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 0.97),
            ncols=len(panel.curves),
            frameon=False,
            fontsize=SMALL,
            borderaxespad=0.1,
            handlelength=1.6,
            columnspacing=1.2,
        )
        for words in legend.get_texts():
            words.set_parse_math(False)
            words.set_color(COLORS["muted"])
    else:
        tag = panel.curves[0].label
        tag = "" if tag.lower() == panel.title.lower() else middle_cut(tag, 70)
        axes.set_title(tag, loc="right", color=COLORS["muted"], fontsize=SMALL, pad=5)


def _scale(axes: Axes, role: str, values: NDArray[np.float64], language: Language) -> None:
    """A logarithmic axis where positive values span decades, symmetric with zero among them."""
    sizes = np.abs(values[values != 0])
    sizes = sizes[(sizes > 1 / _HUGE) & (sizes < _HUGE)]
    if not len(values):
        axes.set_yticks([])
        axes.set_ylabel(language.say(phrase("no finite value")))
    if not len(sizes) or role == "learning_rate":  # a schedule is read on a linear axis
        return
    low, high = float(sizes.min()), float(sizes.max())
    if high / low < 10**_DECADES:
        return
    if (values > 0).all():
        axes.set_yscale("log")
    else:
        threshold = max(low, high * 1e-6)
        axes.set_yscale("symlog", linthresh=threshold)
        axes.set_yticks(_symmetric_ticks(threshold, values))


def _bounded(finite: Sequence[NDArray[np.float64]]) -> bool:
    """Whether a margin around the values still lies among the numbers."""
    sizes = np.abs(np.concatenate(finite))
    sizes = sizes[sizes > 0]
    return bool(len(sizes)) and sizes.min() > 1e-100 and sizes.max() < 1e100


def _symmetric_ticks(threshold: float, values: NDArray[np.float64]) -> list[float]:
    """Zero, and at most three powers of ten to each side that stand clear of it."""
    ticks = [0.0]
    for sign in (1.0, -1.0):
        side = values[values * sign > 0] * sign
        if len(side):
            low, high = np.log10(threshold) + 1, np.log10(min(float(side.max()), _HUGE))
            powers = np.unique(np.round(np.linspace(low, max(low, np.floor(high)), 3)))
            ticks += [sign * 10.0**power for power in powers]
    return ticks
