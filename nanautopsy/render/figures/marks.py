"""The discrete events that stand above the curves: what happened at which step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy, Axis, Series
from nanautopsy.quantities import position
from nanautopsy.render._facts import recorded
from nanautopsy.render.figures.style import SMALL
from nanautopsy.render.figures.svg import COLORS
from nanautopsy.wording import Phrase, counted, listed, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANE = 0.19
"""Inches of one row of marks."""
MAX_SHOWN = 150
"""Marks of a row; more than these cannot be told apart."""
CHANGE = 1.5
"""Factor by which a learning rate changes at once, to be marked."""
ALONE = 4.0
"""How much larger such a change is, as a logarithm, than its neighbors: a warmup has none."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of event."""

    label: str
    """Short: it stands at the left."""
    counted: Phrase
    """How many there are, for the caption."""
    marker: str
    color: str
    steps: NDArray[np.int64]
    """(n,) sorted, each once."""


_Count = Callable[[int], Phrase]
_KINDS: tuple[tuple[Phrase, str, str, _Count], ...] = (
    (phrase("skipped"), "v", "c1", lambda n: counted(n, "one skipped step", "{n} skipped steps")),
    (
        phrase("LR change"),
        "D",
        "c3",
        lambda n: counted(n, "one change of the learning rate", "{n} changes of the learning rate"),
    ),
    (phrase("resumed"), ">", "c2", lambda n: counted(n, "one resume", "{n} resumes")),
    (phrase("saved"), "s", "c0", lambda n: counted(n, "one checkpoint", "{n} checkpoints")),
    (
        phrase("hardware"),
        "P",
        "bad",
        lambda n: counted(n, "one hardware error", "{n} hardware errors"),
    ),
    (phrase("exception"), "X", "bad", lambda n: counted(n, "one exception", "{n} exceptions")),
)
"""Label, marker and color, and what the caption says of them, in the order of the lanes."""


def lanes(autopsy: Autopsy, first: int, last: int) -> tuple[Lane, ...]:
    """The kinds of event that fall into these steps."""
    run = autopsy.run

    def logged(*kinds: str) -> list[int]:
        return [e.step for e in run.events_of(*kinds) if e.step is not None]

    rates = (s for s in run.by_role("learning_rate") if s.axis == "step")
    found = (
        logged("overflow-skipped", "loss-scale-minimum"),
        [step for series in rates for step in rate_changes(series)],
        logged("run-resumed"),
        [*logged("checkpoint-saved"), *(c.step for c in run.checkpoints if c.step is not None)],
        logged("hardware-error"),
        logged("traceback", "out-of-memory"),
    )
    shown = []
    for (label, marker, color, count), steps in zip(_KINDS, found, strict=True):
        inside = np.unique(np.array([s for s in steps if first <= s <= last], dtype=np.int64))
        if len(inside):
            shown.append(Lane(label, count(len(inside)), marker, color, inside))
    return tuple(shown)


def rate_changes(series: Series) -> list[int]:
    """Steps at which a learning rate changes at once, not as part of a ramp."""
    keep = recorded(series) & np.isfinite(series.values) & (series.values > 0)
    steps, values = series.steps[keep], series.values[keep]
    if len(values) < 3:
        return []
    change = np.abs(np.diff(np.log(values)))
    padded = np.concatenate([[0.0], change, [0.0]])
    beside = np.maximum(padded[:-2], padded[2:])
    alone = (change >= np.log(CHANGE)) & (change > ALONE * beside)
    return [int(step) for step in steps[1:][alone]]


def draw_lanes(
    axes: Axes, shown: tuple[Lane, ...], onset: int | None, axis: Axis, language: Language
) -> None:
    """A row of marks for each kind; the onset's own row first, with its step in words."""
    rows = ([language.say(phrase("onset"))] if onset is not None else []) + [
        language.say(lane.label) for lane in shown
    ]
    if onset is not None:
        axes.plot(onset, 0, marker="|", markersize=9, markeredgewidth=2, color=COLORS["bad"])
        first, last = axes.get_xlim()
        left = onset - first > 0.8 * (last - first)
        axes.annotate(
            language.say(position(axis, onset)),
            (onset, 0),
            (-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=SMALL,
            color=COLORS["bad"],
        )
    for row, lane in enumerate(shown, len(rows) - len(shown)):
        axes.plot(
            thinned(lane.steps),
            np.full(min(len(lane.steps), MAX_SHOWN), row),
            linestyle="none",
            marker=lane.marker,
            markersize=4.5,
            markeredgewidth=0,
            color=COLORS[lane.color],
            clip_on=False,
        )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(length=0, labelbottom=False)
    axes.spines[:].set_visible(False)


def thinned(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most :data:`MAX_SHOWN` of the steps, evenly chosen."""
    if len(steps) <= MAX_SHOWN:
        return steps
    return steps[np.linspace(0, len(steps) - 1, MAX_SHOWN).astype(np.intp)]


def count_marks(shown: Iterable[Lane]) -> Phrase | None:
    """What stands above the curves, for the caption."""
    parts = [lane.counted for lane in shown]
    return phrase("Marked above: {marks}.", marks=listed(parts)) if parts else None


def unplaced(autopsy: Autopsy) -> Phrase | None:
    """How many skipped steps, saves and resumes have no step, and so no mark."""
    kinds = ("overflow-skipped", "run-resumed", "checkpoint-saved")
    n = sum(event.step is None for event in autopsy.run.events_of(*kinds))
    if not n:
        return None
    return counted(
        n,
        "One event that the log gives no step is not marked.",
        "{n} events that the log gives no step are not marked.",
    )
