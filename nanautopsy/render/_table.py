"""The tables of a page, before any HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nanautopsy.render._clean import one_line
from nanautopsy.render._format import end_cut
from nanautopsy.wording import rephrased

LONGEST_CELL = 300
"""Characters of a cell; what is longer ends with an ellipsis."""
MAX_ROWS = 500
"""Rows of a table unless its maker says otherwise; what is left out is counted."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, and the number by which it sorts."""

    text: str
    value: float | None = None
    code: bool = False
    """The text is a name or a place: shown as code."""
    bad: bool = False
    href: str = ""
    """Where in the page the text leads."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and the id by which links find it."""

    cells: tuple[Cell, ...]
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page."""

    name: str
    """For people: the table's label."""
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0
    advice: str = ""
    """How to see what is left out."""


def table(
    name: str,
    headings: Sequence[str],
    rows: Iterable[Row],
    left_out: int = 0,
    advice: str = "",
) -> Table:
    """The table without the columns in which nothing stands."""
    whole = tuple(rows)
    kept = [i for i in range(len(headings)) if any(row.cells[i].text for row in whole)]
    return Table(
        name,
        tuple(headings[i] for i in kept),
        tuple(Row(tuple(row.cells[i] for i in kept), row.anchor) for row in whole),
        left_out,
        advice if left_out else "",
    )


def capped(items: Sequence[T], limit: int = MAX_ROWS) -> tuple[Sequence[T], int]:
    """The first ``limit`` items, and how many there are beside."""
    return items[:limit], max(0, len(items) - limit)


def short(text: str) -> str:
    """One line of at most :data:`LONGEST_CELL` characters."""
    return end_cut(one_line(text), LONGEST_CELL)


def text(words: str, *, bad: bool = False) -> Cell:
    """Words, of ours or of an artifact."""
    return Cell(rephrased(words, short), bad=bad)


def code(name: str, *, href: str = "") -> Cell:
    """A name or a place."""
    return Cell(short(name), code=True, href=href)


def number(value: float | None, shown: str | None = None, *, bad: bool = False) -> Cell:
    """A number that sorts as such; NaN and the infinities sort as words."""
    if value is None:
        return Cell("")
    return Cell(
        f"{value:g}" if shown is None else shown, value if math.isfinite(value) else None, bad=bad
    )


def integer(value: int | None, *, bad: bool = False) -> Cell:
    """A count or a step; a bad count that is zero is none."""
    return Cell("" if value is None else str(value), value, bad=bad and bool(value))
