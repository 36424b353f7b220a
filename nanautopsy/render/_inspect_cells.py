"""Measured values as the cells of a terminal's table, empty where nothing is known."""

from __future__ import annotations

from nanautopsy.model import TensorHealth
from nanautopsy.render._format import number

_RUNS = 3
"""Stretches of rows that one cell names."""


def ratio(value: float | None) -> str:
    """``1.3x``; empty for what is not known."""
    if value is None:
        return ""
    return f"{_three_digits(value)}x" if value < 1e6 else f"{value:.0e}x".replace("e+", "e")


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def rows_text(tensor: TensorHealth) -> str:
    """In which rows of its first dimension the damage lies."""
    rows = tensor.bad_rows
    if rows is None:
        return ""
    if rows.count == tensor.shape[0]:
        return f"all {rows.count} rows"
    runs = [f"{a}" if b - a == 1 else f"{a}-{b - 1}" for a, b in rows.ranges[:_RUNS]]
    more = "" if len(rows.ranges) <= _RUNS else ", ..."
    word = "row" if rows.count == 1 else "rows"
    whole = ", whole" if rows.whole else ""
    return f"{word} {', '.join(runs)}{more} of {tensor.shape[0]}{whole}"


def number_or_blank(value: float | None) -> str:
    if value is None:
        return ""
    # Digits that an eye can count, as far as they go.
    return f"{value:,.0f}" if 9999.5 <= value < 1e7 else number(value)


def percent_text(fraction: float) -> str:
    """Three digits; never 0% or 100% for what is neither."""
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}"
    if fraction < 1e-4 or fraction > 0.999:
        return "<0.01%" if fraction < 0.5 else ">99.9%"
    return f"{100 * fraction:.3g}%"


def index_text(index: tuple[int, ...] | None) -> str:
    return "" if index is None else f"[{', '.join(map(str, index))}]"


def sizes_text(sizes: tuple[int, ...]) -> str:
    """``4096x512``; ``scalar`` for none."""
    return "x".join(map(str, sizes)) or "scalar"
