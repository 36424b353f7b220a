"""A table of parameters under a heading that names its columns, as programs print it before they
train.

Sample::

    parameter                    shape         mean       absmax
    transformer.wte.weight    (80, 32)   -0.0007351      0.07682
    v_head.weight              (1, 32)    1.323e+34    4.234e+35

What a row says is judged by :mod:`nanautopsy.readers.text.parameter_rows`.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.numbers import parse

_CELLS = re.compile(r"\s*[|\u2502\t]\s*|\s{2,}")
_NAMED = re.compile(r"(?:param(?:eter)?s?|tensor|weight|layer|module)(?:[ _]?names?)?|names?", re.I)
_STATISTIC = re.compile(
    r"(?:abs|l2|max)?[ _|]?(?:max|min|mean|avg|std|norm|rms|amax|abs)(?:[ _|]?(?:abs|weight|w))?"
    r"|\|{1,2}w\|{1,2}(?:[ _]?max)?",
    re.IGNORECASE,
)
_LARGEST = re.compile(r"max|norm|rms|std|\|", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]\w*(?:[./]\w+)*")
_SHAPE = re.compile(r"\D*(\d+(?:\s*[,x]\s*\d+)*),?\D*")

_SHAPES = ("shape", "size", "dims")


def columns_of(text: str) -> tuple[str, ...] | None:
    """The columns of a heading, in lower case; ``None`` for no heading of such a table."""
    cells = [cell for cell in _CELLS.split(text.strip().strip("|\u2502 ")) if cell]
    if len(cells) < 3 or _NAMED.fullmatch(cells[0]) is None or any(map(str.isdigit, text)):
        return None
    known = [cell for cell in cells[1:] if _STATISTIC.fullmatch(cell)]
    largest = any(_LARGEST.search(cell) for cell in known)
    shaped = any(cell.lower() in _SHAPES for cell in cells[1:])
    enough = len(known) > 1 or (shaped and len(known) == 1)
    return tuple(cell.lower() for cell in cells) if enough and largest else None


def row_of(text: str, columns: tuple[str, ...]) -> tuple[str, bool, list[tuple[str, float]]] | None:
    """Name, whether it is a matrix, and the statistics of a row below them."""
    cells = [cell for cell in _CELLS.split(text.strip().strip("|\u2502 ")) if cell]
    if len(cells) != len(columns) or _NAME.fullmatch(cells[0]) is None:
        return None
    values, dims = [], 0
    for column, cell in zip(columns[1:], cells[1:], strict=True):
        value = parse(cell)
        if _STATISTIC.fullmatch(column):
            if value is None:
                return None
            values.append((column, value))
        elif column in _SHAPES and (shape := _SHAPE.fullmatch(cell)):
            dims = len(re.findall(r"\d+", shape[1]))
    return cells[0], dims > 1, values


def is_rule(text: str) -> bool:
    """Whether nothing but a rule, or nothing at all, stands on the line."""
    return not text.strip(" -=+|\u2500\u2502\u253c")
