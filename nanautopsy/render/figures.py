"""The report's figures: curves around the onset, and layers over steps, as inline SVG."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy
from nanautopsy.quantities import position
from nanautopsy.render._curves import MAX_CURVES, MAX_POINTS, Panel, View, center, views
from nanautopsy.render._format import middle_cut, number
from nanautopsy.render._layers import draw_strip, strips
from nanautopsy.render._svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.wording import Phrase, counted, listed, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = 1.45
_FONT = 9.0
_DECADES = 2.5
"""Span of positive values above which an axis is logarithmic."""
_HUGE = 1e300
"""Magnitude to which values are clipped, so that an axis's span stays finite."""
_MAX_MARKS = 60
"""Marks of non-finite points that one panel's edge can show apart."""
_MARKS: tuple[tuple[Callable[[NDArray[np.float64]], NDArray[np.bool_]], str, float, str], ...] = (
    (np.isnan, "x", 0.95, "× NaN"),
    (np.isposinf, "^", 0.95, "▲ Inf"),
    (np.isneginf, "v", 0.05, "▼ -Inf"),
)
"""Test, marker, height in the panel, and the caption's words."""


def draw(autopsy: Autopsy, language: Language = ENGLISH) -> tuple[Drawing, ...]:
    """Every figure that the series of a cleaned result allow, in the order of the report."""
    shown = views(autopsy)
    tables = strips(autopsy)
    if not shown and not tables:
        return ()
    import matplotlib as mpl

    drawings = []
    with mpl.rc_context(_style()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glyphs that the measuring font lacks
        for i, view in enumerate(shown):
            title = phrase("Around the onset") if len(shown) > 1 else phrase("The run")
            title = phrase("The whole run") if i else title
            drawings.append(_draw_view(autopsy, view, f"curves{i}", title, language))
        for i, table in enumerate(tables):
            drawings.append(draw_strip(table, f"layers{i}", language))
    return tuple(drawings)


def _style() -> dict[Any, Any]:
    ink, muted = COLORS["ink"], COLORS["muted"]
    return {
        "font.size": _FONT,
        "axes.edgecolor": COLORS["grid"],
        "axes.labelcolor": muted,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": ink,
        "axes.titlesize": _FONT,
        "axes.formatter.useoffset": False,
        "axes.unicode_minus": False,
        "grid.color": COLORS["grid"],
        "grid.linewidth": 0.5,
        "text.color": ink,
        "text.parse_math": False,
        "axes.formatter.use_mathtext": False,
        "xtick.color": COLORS["grid"],
        "ytick.color": COLORS["grid"],
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "xtick.labelsize": _FONT - 1,
        "ytick.labelsize": _FONT - 1,
        "lines.linewidth": 1.3,
        "path.simplify_threshold": 0.3,
    }


# --- curves -----------------------------------------------------------------------------------


def _draw_view(
    autopsy: Autopsy, view: View, name: str, title: Phrase, language: Language
) -> Drawing:
    from matplotlib.figure import Figure

    rows = len(view.panels)
    figure = Figure(figsize=(WIDTH, _PANEL * rows + 0.45))
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False)
    for axes, panel in zip(grid[:, 0], view.panels, strict=True):
        _shade(axes, autopsy, view)
        _draw_panel(axes, panel, language)
    margin = max(0.5, (view.last - view.first) * 0.01)
    grid[0, 0].set_xlim(view.first - margin, view.last + margin)
    grid[-1, 0].set_xlabel(language.say(_AXES[view.axis]))
    grid[-1, 0].ticklabel_format(axis="x", style="plain")
    height = _PANEL * rows + 0.45
    figure.subplots_adjust(
        left=0.085, right=0.99, bottom=0.42 / height, top=1 - 0.28 / height, hspace=0.38
    )
    description = _in_a_row([_describe(panel, view) for panel in view.panels])
    named = phrase("{title}: {names}", title=title, names=_names(view))
    svg = to_svg(figure, name, language.say(named), language.say(description))
    return Drawing(svg, language.say(title), language.say(_caption(autopsy, view)))


_AXES = {
    "step": phrase("step"),
    "epoch": phrase("epoch"),
    "samples": phrase("samples"),
    "record": phrase("record"),
}


def _in_a_row(sentences: Sequence[Phrase]) -> Phrase:
    if not sentences:
        return phrase("")
    return reduce(lambda said, more: phrase("{said} {more}", said=said, more=more), sentences)


def _shade(axes: Axes, autopsy: Autopsy, view: View) -> None:
    """The onset's interval, and its first known non-finite step as a line."""
    middle = center(autopsy)
    if middle is None or view.axis != "step":
        return
    onset = autopsy.onset
    if onset is not None and onset.last_finite is not None:
        axes.axvspan(onset.last_finite, middle, facecolor=COLORS["band"], edgecolor="none")
    axes.axvline(middle, color=COLORS["bad"], linewidth=0.9, linestyle=(0, (4, 3)))


def _draw_panel(axes: Axes, panel: Panel, language: Language) -> None:
    from matplotlib.ticker import NullLocator

    finite = [c.values[np.isfinite(c.values)] for c in panel.curves]
    _scale(axes, panel.title, np.concatenate(finite), language)
    for i, curve in enumerate(panel.curves):
        values = np.clip(np.where(np.isfinite(curve.values), curve.values, np.nan), -_HUGE, _HUGE)
        few = np.isfinite(values).sum() <= 60
        axes.plot(
            curve.steps,
            values,
            color=COLORS[f"c{i % MAX_CURVES}"],
            marker="." if few else "",
            markersize=3.5,
            label=middle_cut(curve.label, 40),
        )
        _mark(axes, curve.steps, curve.values)
    axes.yaxis.set_major_formatter(
        lambda value, position: f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3g}"
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(language.say(panel.title), loc="left", pad=4)
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
            fontsize=_FONT - 1.5,
            borderaxespad=0.1,
            handlelength=1.2,
            columnspacing=1.0,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
            text.set_color(COLORS["muted"])
    else:
        tag = panel.curves[0].label
        tag = "" if tag.lower() == panel.title.lower() else middle_cut(tag, 70)
        axes.set_title(tag, loc="right", color=COLORS["muted"], fontsize=_FONT - 1, pad=4)


def _scale(axes: Axes, title: str, values: NDArray[np.float64], language: Language) -> None:
    """A logarithmic axis where positive values span decades, symmetric with zero among them."""
    sizes = np.abs(values[values != 0])
    sizes = sizes[(sizes > 1 / _HUGE) & (sizes < _HUGE)]
    if not len(values):
        axes.set_yticks([])
        axes.set_ylabel(language.say(phrase("no finite value")))
    if not len(sizes) or title == "Learning rate":  # a schedule is read on a linear axis
        return
    low, high = float(sizes.min()), float(sizes.max())
    if title == "Loss scale" and (values > 0).all():
        axes.set_yscale("log", base=2)
    elif high / low < 10**_DECADES:
        return
    elif (values > 0).all():
        axes.set_yscale("log")
    else:
        threshold = max(low, high * 1e-6)
        axes.set_yscale("symlog", linthresh=threshold)
        axes.set_yticks(_symmetric_ticks(threshold, values))


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


def _mark(axes: Axes, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Non-finite points stand at the panel's edge."""
    for test, marker, height, _ in _MARKS:
        where = steps[test(values)]
        if len(where) > _MAX_MARKS:
            where = where[np.linspace(0, len(where) - 1, _MAX_MARKS).astype(np.intp)]
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


def _names(view: View) -> Phrase:
    return listed([_NAMES[panel.title] for panel in view.panels])


_NAMES = {
    "Loss": phrase("loss"),
    "Gradient norm": phrase("gradient norm"),
    "Learning rate": phrase("learning rate"),
    "Loss scale": phrase("loss scale"),
}
"""A panel's title within a row."""


def _describe(panel: Panel, view: View) -> Phrase:
    """What a reader who cannot see the panel should know of it."""
    parts = []
    for curve in panel.curves:
        good = curve.values[np.isfinite(curve.values)]
        between: str = ""
        if len(good):
            between = phrase(
                ", between {least} and {most}",
                least=number(float(good.min())),
                most=number(float(good.max())),
            )
        bad = curve.steps[~np.isfinite(curve.values)]
        then = phrase(", all finite")
        if len(bad):
            then = phrase(", not finite from {step} on", step=int(bad[0]))
        parts.append(
            phrase(
                "{label}: {points} from {first} to {last}{between}{then}",
                label=curve.label,
                points=counted(curve.total, "{n} point", "{n} points"),
                first=position(view.axis, int(curve.steps[0])),
                last=int(curve.steps[-1]),
                between=between,
                then=then,
            )
        )
    return phrase("{title}: {parts}.", title=panel.title, parts=listed(parts, "; "))


def _caption(autopsy: Autopsy, view: View) -> Phrase:
    parts = []
    if center(autopsy) is not None and view.axis == "step":
        shaded = autopsy.onset is not None and autopsy.onset.last_finite is not None
        parts.append(
            phrase("The dashed line is the onset, the shaded interval.")
            if shaded
            else phrase("The dashed line is the onset.")
        )
    values = np.concatenate([c.values for p in view.panels for c in p.curves])
    marks = [words for test, _, _, words in _MARKS if test(values).any()]
    if marks:
        parts.append(phrase("At the edge: {marks}.", marks=listed(marks)))
    if autopsy.onset is not None and autopsy.onset.masked:
        parts.append(phrase("The logged loss hides it."))
    if view.thinned:
        parts.append(
            phrase(
                "At most {most} of {all} points of a series are drawn; extremes and non-finite "
                "points are kept.",
                most=MAX_POINTS,
                all=view.thinned,
            )
        )
    left_out = sum(panel.left_out for panel in view.panels)
    if left_out:
        parts.append(phrase("{n} more series are not drawn.", n=left_out))
    return _in_a_row(parts)
