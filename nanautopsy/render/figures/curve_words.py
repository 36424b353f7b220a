"""What is said of the curves: the description, the caption, and the numbers behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Autopsy
from nanautopsy.quantities import position
from nanautopsy.render._format import number
from nanautopsy.render._table import Cell, Row, Table, integer, table
from nanautopsy.render._table import number as number_cell
from nanautopsy.render.figures import marks
from nanautopsy.render.figures.style import AXIS_WORDS, NONFINITE
from nanautopsy.render.figures.views import MAX_POINTS, Curve, Panel, View
from nanautopsy.wording import Phrase, counted, listed, phrase

_TABLE_ROWS = 60


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn over one range of steps."""

    view: View
    lanes: tuple[marks.Lane, ...]
    onset: int | None
    """The step to mark, where it lies in the view and counts what the view counts."""
    last_finite: int | None


def describe(panel: Panel, view: View) -> Phrase:
    """What a reader who cannot see the panel should know of it."""
    return phrase(
        "{title}: {parts}.",
        title=panel.title,
        parts=listed((_describe_curve(curve, view) for curve in panel.curves), "; "),
    )


def _describe_curve(curve: Curve, view: View) -> Phrase:
    good = curve.values[np.isfinite(curve.values)]
    bad = curve.steps[~np.isfinite(curve.values)]
    between: str = ""
    if len(good):
        between = phrase(
            ", between {least} and {most}",
            least=number(float(good.min())),
            most=number(float(good.max())),
        )
    then = phrase(", all finite")
    if len(bad):
        then = phrase(", not finite from {step} on", step=int(bad[0]))
    return phrase(
        "{label}: {points} from {first} to {last}{between}{then}",
        label=curve.label,
        points=counted(curve.total, "{n} point", "{n} points"),
        first=position(view.axis, int(curve.steps[0])),
        last=int(curve.steps[-1]),
        between=between,
        then=then,
    )


def caption(autopsy: Autopsy, scene: Scene) -> Phrase:
    """What there is to see, then what the marks mean, then what is not drawn."""
    view = scene.view
    parts = [_firsts(view)]
    if scene.last_finite is not None:
        parts.append(phrase("Dashed: the onset; shaded: the interval in which it happened."))
    elif scene.onset is not None:
        parts.append(phrase("Dashed: the onset."))
    if autopsy.onset is not None and autopsy.onset.masked:
        parts.append(phrase("The logged loss hides it."))
    parts += [p for p in (marks.count_marks(scene.lanes), marks.unplaced(autopsy)) if p]
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
    return listed(parts, " ")


def _firsts(view: View) -> Phrase:
    """Which of the curves stops being finite, and where: what there is to see."""
    curves = [curve for panel in view.panels for curve in panel.curves]
    firsts = []
    for curve in curves:
        bad = curve.steps[~np.isfinite(curve.values)]
        if len(bad):
            firsts.append((int(bad[0]), curve.label))
    if not firsts:
        return phrase("Everything is finite.")
    values = np.concatenate([curve.values for curve in curves])
    shown = listed(words for test, _, _, words in NONFINITE if test(values).any())
    parts = [
        phrase("{label} from {place} on", label=label, place=position(view.axis, step))
        for step, label in sorted(firsts)
    ]
    return phrase("Not finite ({marks} at the edge): {firsts}.", marks=shown, firsts=listed(parts))


def data(scene: Scene, title: Phrase) -> Table:
    view = scene.view
    curves = [curve for panel in view.panels for curve in panel.curves]
    steps = np.unique(np.concatenate([curve.steps for curve in curves]))
    chosen = _near(steps, scene.onset)
    at = [dict(zip(c.steps.tolist(), c.values.tolist(), strict=True)) for c in curves]
    rows = []
    for step in chosen.tolist():
        cells = [integer(step)]
        cells += [value_cell(values.get(step)) for values in at]
        rows.append(Row(tuple(cells)))
    headings = (AXIS_WORDS[view.axis], *(curve.label for curve in curves))
    return table(
        phrase("Points of {title}", title=title),
        headings,
        rows,
        len(steps) - len(chosen),
        phrase("The artifacts hold every point; shown are those nearest to the onset.")
        if scene.onset is not None
        else phrase("The artifacts hold every point; shown are some at even distances."),
    )


def value_cell(value: float | None) -> Cell:
    """A logged value; one that is not finite stands out."""
    return number_cell(value, number(value), bad=value is not None and not np.isfinite(value))


def _near(steps: NDArray[np.int64], onset: int | None) -> NDArray[np.int64]:
    """At most :data:`_TABLE_ROWS` steps: the nearest to the onset, or evenly chosen."""
    if len(steps) <= _TABLE_ROWS:
        return steps
    if onset is None:
        return steps[np.linspace(0, len(steps) - 1, _TABLE_ROWS).astype(np.intp)]
    i = int(np.searchsorted(steps, onset))
    start = max(0, min(i - _TABLE_ROWS // 2, len(steps) - _TABLE_ROWS))
    return steps[start : start + _TABLE_ROWS]
