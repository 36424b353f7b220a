"""Causes over time: a row for each cause, a bar for each period, all in one scale.

Rows tell the causes apart, so no color has to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nanautopsy.languages import Language
from nanautopsy.render._format import middle_cut
from nanautopsy.render._table import Cell, Row, Table, code, integer, table
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
_LEFT, _RIGHT = 0.25, 0.955
_LONGEST = 28
_UNITS: dict[Unit, Phrase] = {
    "day": phrase("day"),
    "week": phrase("week, by its Monday"),
    "month": phrase("month"),
    "year": phrase("year"),
}


def draw_calendar(calendar: Calendar, language: Language) -> Drawing:
    """The rows, above them all runs that were judged."""
    from matplotlib.figure import Figure

    rows = _rows(calendar, language)
    height = _ABOVE + _BELOW + _ROW * (len(rows) + 1)
    figure = Figure(figsize=(WIDTH, height))
    box_height = 0.8 * _ROW / height
    tallest = max((max(counts) for _, counts in rows), default=1)
    judged = language.say(phrase("all judged runs"))
    for place, (name, counts) in enumerate([(judged, calendar.judged), *rows]):
        bottom = 1 - (_ABOVE + _ROW * (place + 0.95)) / height
        axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, box_height))
        first, last = place == 0, place == len(rows)
        _bars(axes, counts, max(counts) if first else tallest, "grid" if first else "c0")
        axes.set_ylabel(middle_cut(name, _LONGEST), rotation=0, ha="right", va="center", labelpad=8)
        _label_periods(axes, calendar.periods, shown=last)
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


def _rows(calendar: Calendar, language: Language) -> list[tuple[str, Sequence[int]]]:
    rows: list[tuple[str, Sequence[int]]] = list(calendar.deaths)
    if len(rows) <= MOST_ROWS + 1:
        return rows
    others = np.sum([counts for _, counts in rows[MOST_ROWS:]], axis=0).tolist()
    name = language.say(phrase("{n} other causes", n=len(rows) - MOST_ROWS))
    return [*rows[:MOST_ROWS], (name, others)]


def _bars(axes: Axes, counts: Sequence[int], tallest: int, color: str) -> None:
    places = [i for i, count in enumerate(counts) if count]
    axes.bar(places, [counts[i] for i in places], width=0.8, color=COLORS[color], linewidth=0)
    for i in places:
        size = SMALL if len(counts) <= 24 else SMALL * 0.8
        axes.text(
            i, counts[i] + 0.06 * tallest, str(counts[i]), ha="center", va="bottom", fontsize=size,
            color=COLORS["muted"],
        )  # fmt: skip
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.set_ylim(0, tallest * 1.45)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _label_periods(axes: Axes, periods: Sequence[str], *, shown: bool) -> None:
    fit = max(1, min(len(periods), 66 // (len(periods[0]) + 2)))
    places = np.unique(np.linspace(0, len(periods) - 1, fit).astype(np.intp))
    axes.set_xticks(places, [periods[i] for i in places] if shown else [""] * len(places))
    axes.tick_params(axis="x", length=2)


def _caption(calendar: Calendar) -> Phrase:
    words = [
        counted(
            calendar.timed,
            "One run that died tells when; it stands where it was last alive.",
            "The {n} runs that died and tell when, each where it was last alive, by their first "
            "cause. The numbers are runs; the row of all judged runs has a scale of its own.",
        )
    ]
    if calendar.untimed:
        words.append(
            counted(
                calendar.untimed,
                "One run that died tells no time and is not drawn.",
                "{n} runs that died tell no time and are not drawn.",
            )
        )
    return listed(words, " ")


def _data(calendar: Calendar) -> Table:
    shown = [i for i, count in enumerate(calendar.judged) if count]
    headings = (
        phrase("Cause"),
        *(calendar.periods[i] for i in shown),
    )
    rows = [Row((_name(phrase("all judged runs")), *(integer(calendar.judged[i]) for i in shown)))]
    for cause, counts in calendar.deaths:
        rows.append(Row((code(cause), *(integer(counts[i] or None) for i in shown))))
    return table(phrase("Causes over time"), headings, rows)


def _name(words: Phrase) -> Cell:
    return Cell(words)
