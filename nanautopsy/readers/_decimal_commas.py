"""Numbers with a decimal comma: ``1;2,1553;0,005``, as German and French spreadsheets have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nanautopsy.readers._json_numbers import parse_number

_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


def has_commas(delimiter: str, rows: Sequence[Sequence[str]]) -> bool:
    """Whether the cells of a table are written so: one is, and none has a point."""
    cells = [cell for row in rows for cell in row]
    return (
        delimiter != ","
        and any(_COMMA.fullmatch(cell) for cell in cells)
        and not any("." in cell and parse_number(cell) is not None for cell in cells)
    )


def with_point(cell: str) -> str:
    """The number as everything else reads it; another text as it is."""
    return cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
