"""A table of very many rows: the first as plain HTML, all of them as data for the script.

A browser lays out a few hundred rows at once and ten thousand too late; the script shows a page
of them at a time, and sorts and filters all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from nanautopsy.render._table import Cell, Table

PLAIN_ROWS = 200
"""Rows that stand in the page itself, for readers without scripts."""
MOST_ROWS = 50_000
"""Rows that a page is to hold: some 10 MB of data."""


@dataclass(frozen=True, slots=True)
class LongTable:
    """The table as the page begins with it, and as the script knows it."""

    plain: Table
    data: dict[str, Any]
    """``strings``: every text once; ``columns``: of each its texts by number, the numbers that it
    sorts by, links, what stands out, and whether a reader can choose among its values."""
    left_out: int
    """Rows that even the script does not know."""
    advice: str


def long_table(whole: Table, choices: Collection[str], left_out: int, advice: str) -> LongTable:
    """``choices``: headings of the columns whose values are few enough to choose from;
    ``left_out``: rows that are not even in ``whole``; ``advice``: where they are."""
    beyond = max(0, len(whole.rows) - PLAIN_ROWS)
    plain = replace(
        whole,
        rows=whole.rows[:PLAIN_ROWS],
        left_out=beyond + left_out,
        advice=advice if beyond + left_out else "",
    )
    strings: dict[str, int] = {"": 0}
    columns = [
        _column([row.cells[i] for row in whole.rows], heading in choices, strings)
        for i, heading in enumerate(whole.headings)
    ]
    return LongTable(plain, {"strings": list(strings), "columns": columns}, left_out, advice)


def _column(cells: list[Cell], chosen: bool, strings: dict[str, int]) -> dict[str, Any]:
    """What is the same for all rows is said once, or not at all."""
    numbers = [cell.value for cell in cells]
    links = [strings.setdefault(cell.href, len(strings)) for cell in cells]
    column: dict[str, Any] = {
        "texts": [strings.setdefault(str(cell.text), len(strings)) for cell in cells],
        "code": any(cell.code for cell in cells),
        "choose": chosen,
    }
    if any(number is not None for number in numbers):
        column["numbers"] = numbers
    if any(links):
        column["links"] = links
    if any(cell.bad for cell in cells):
        column["bad"] = [int(cell.bad) for cell in cells]
    return column
