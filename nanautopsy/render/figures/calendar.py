"""Causes over time: a row for each cause, a bar for each period, all in one scale.

Rows tell the causes apart, so no color has to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanautopsy.languages import Language
from nanautopsy.render._format import middle_cut
from nanautopsy.render._table import Row, Table, capped, code, integer, table, text
from nanautopsy.render.figures.style import SMALL
from nanautopsy.render.figures.svg import COLORS, WIDTH, Drawing, to_svg
from nanautopsy.scan.overview.calendar import Calendar, Unit
from nanautopsy.wording import Phrase, counted, listed, phrase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 9
"""Causes with a row of their own; the rest share one."""
_ROW, _ABOVE, _BELOW = 0.46, 0.08, 0.5
"""Inches."""
_LEFT, _RIGHT = 0.015, 0.765
"""Figure fractions of the bars; the names stand at their right, beside the latest: on a page that
is narrower than the figure both are seen together."""
_LONGEST = 28
_DIGIT = 0.6
"""Width of a digit, in sizes of its type."""
_JUDGED = phrase("all judged runs")
_UNITS: dict[Unit, Phrase] = {
    "day": phrase("day"),
    "week": phrase("week, by its Monday"),
    "month": phrase("month"),
    "year": phrase("year"),
}


@dataclass(frozen=True, slots=True)
class _Lane:
    """A row: one cause's bars, or what it is seen against."""

    name: str
    counts: Sequence[int]
    is_cause: bool = True
    """In the scale that all causes share; the others have one each."""


def draw_calendar(calendar: Calendar, language: Language) -> Drawing:
    """The rows, above them all runs that were judged."""
    from matplotlib.figure import Figure

    lanes = _lanes(calendar, language)
    height = _ABOVE + _BELOW + _ROW * len(lanes)
    figure = Figure(figsize=(WIDTH, height))
    tallest = max(max(lane.counts) for lane in lanes if lane.is_cause)
    for place, lane in enumerate(lanes):
        bottom = 1 - (_ABOVE + _ROW * (place + 0.95)) / height
        axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, 0.8 * _ROW / height))
        _bars(axes, lane, tallest if lane.is_cause else max(1, *lane.counts))
        axes.text(
            1.02, 0.3, middle_cut(lane.name, _LONGEST), transform=axes.transAxes, va="center",
            color=COLORS["muted"],
        )  # fmt: skip
        _label_periods(axes, calendar.periods, shown=place == len(lanes) - 1)
    figure.text(
        (_LEFT + _RIGHT) / 2,
        0.04 / height,
        language.say(_UNITS[calendar.unit]),
        ha="center",
        va="bottom",
        color=COLORS["muted"],
    )
    title, words = phrase("Causes over time"), _caption(calendar)
    svg = to_svg(figure, "calendar", language.say(title), language.say(words))
    return Drawing("calendar", svg, title, words, _data(calendar))


def _lanes(calendar: Calendar, language: Language) -> list[_Lane]:
    judged = _Lane(language.say(_JUDGED), calendar.judged, is_cause=False)
    causes = [_Lane(cause, counts) for cause, counts in calendar.deaths]
    if len(causes) <= MOST_ROWS + 1:
        return [judged, *causes]
    rest = np.sum([lane.counts for lane in causes[MOST_ROWS:]], axis=0).tolist()
    name = language.say(phrase("{n} other causes", n=len(causes) - MOST_ROWS))
    return [judged, *causes[:MOST_ROWS], _Lane(name, rest, is_cause=False)]


def _bars(axes: Axes, lane: _Lane, tallest: int) -> None:
    counts, color = lane.counts, "c0" if lane.is_cause else "grid"
    places = [i for i, count in enumerate(counts) if count]
    axes.bar(
        places,
        [counts[i] for i in places],
        width=min(0.8, 0.16 * len(counts)),
        color=COLORS[color],
        linewidth=0,
    )
    for i in _labelled(counts):
        axes.text(
            i, counts[i] + 0.06 * tallest, str(counts[i]), ha="center", va="bottom",
            fontsize=SMALL, color=COLORS["muted"],
        )  # fmt: skip
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.set_ylim(0, tallest * 1.45)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _labelled(counts: Sequence[int]) -> list[int]:
    """The bars whose numbers can stand above them: all, or the highest where they are too wide."""
    places = [i for i, count in enumerate(counts) if count]
    room = 72 * WIDTH * (_RIGHT - _LEFT) / len(counts)
    if room >= _DIGIT * SMALL * (1 + max(len(str(count)) for count in counts)):
        return places
    return [max(places, key=lambda i: counts[i])] if places else []


def _label_periods(axes: Axes, periods: Sequence[str], *, shown: bool) -> None:
    fit = max(1, 66 // (len(periods[0]) + 2))
    apart = -(-len(periods) // fit)
    places = list(range(len(periods) - 1, -1, -apart))  # the latest is always named
    axes.set_xticks(places, [periods[i] for i in places] if shown else [""] * len(places))
    axes.tick_params(axis="x", length=2)


def _caption(calendar: Calendar) -> Phrase:
    words = [
        counted(
            calendar.timed,
            "One run that died tells when; it stands where it was last alive.",
            "The {n:,} runs that died and tell when, each where it was last alive, by their first "
            "cause. The numbers are runs. Causes share one scale; gray rows have their own.",
        )
    ]
    if calendar.untimed:
        words.append(
            counted(
                calendar.untimed,
                "One run that died tells no time and is not drawn.",
                "{n:,} runs that died tell no time and are not drawn.",
            )
        )
    return listed(words, " ")


def _data(calendar: Calendar) -> Table:
    """A row for each cause in each period that has it, the latest first."""
    rows = [
        Row((text(period), code(cause), integer(counts[i]), integer(calendar.judged[i])))
        for i, period in reversed([*enumerate(calendar.periods)])
        for cause, counts in calendar.deaths
        if counts[i]
    ]
    headings = (
        phrase("Period"),
        phrase("Cause"),
        phrase("Died"),
        phrase("All judged runs"),
    )
    shown, left_out = capped(rows)
    return table(phrase("Causes over time"), headings, shown, left_out)
