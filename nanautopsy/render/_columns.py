"""Tables for a terminal of any width: columns are left out, numbers are never cut or wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanautopsy.render._clean import clean, one_line
from nanautopsy.render._format import end_cut, front_cut

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_NAME_SHARE = 0.42
"""Part of the width that the first name may claim before other columns are left out for it."""
_NAME_LEAST = 28
"""Terminal columns that it may claim in any case."""
_OTHER_NAME = 20
"""The same of every other name."""
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    heading: str
    cells: tuple[str, ...]
    importance: int = 0
    """The least important columns are left out first."""
    name: bool = False
    """A name: at the left, and its beginning may be cut, since its end tells more."""

    @property
    def width(self) -> int:
        """What it takes uncut."""
        return max(_cells(text) for text in (self.heading, *self.cells))

    @property
    def empty(self) -> bool:
        """Whether no cell says anything."""
        return not any(self.cells)


def table(columns: Sequence[Column], width: int | None, styles: Sequence[str]) -> list[Text]:
    """Heading and rows, in at most ``width`` terminal columns where that is possible.

    ``styles``: one a row. Columns that say nothing are left out.
    """
    from rich.text import Text

    shown = [_cleaned(column) for column in columns if not column.empty]
    if width is not None:
        shown = _fitting(shown, width)
    widths = _widths(shown, width)
    lines = [Text(_line([column.heading for column in shown], shown, widths), style="bold")]
    for number, style in enumerate(styles):
        cells = [column.cells[number] for column in shown]
        lines.append(Text(_line(cells, shown, widths), style=style))
    return lines


def aside(text: str, width: int | None) -> Text:
    """A quiet line between rows, cut to the width."""
    from rich.text import Text

    text = one_line(clean(text))
    return Text(text if width is None else end_cut(text, width, "..."), style="dim")


def _cleaned(column: Column) -> Column:
    cells = tuple(one_line(clean(cell)) for cell in column.cells)
    return Column(column.heading, cells, column.importance, column.name)


def _fitting(columns: list[Column], width: int) -> list[Column]:
    """Without the least important columns, until the others fit."""
    shown = list(columns)
    while len(shown) > 1 and _least_width(shown, width) > width:
        shown.remove(min(shown, key=lambda column: column.importance))
    return shown


def _least_width(columns: Sequence[Column], width: int) -> int:
    needed = _GAP * (len(columns) - 1)
    claim = max(_NAME_LEAST, int(_NAME_SHARE * width))
    for column in columns:
        needed += min(column.width, claim) if column.name else column.width
        claim = _OTHER_NAME if column.name else claim
    return needed


def _widths(columns: Sequence[Column], width: int | None) -> list[int]:
    widths = [column.width for column in columns]
    if width is None:
        return widths
    excess = sum(widths) + _GAP * (len(columns) - 1) - width
    while excess > 0:
        names = [i for i, column in enumerate(columns) if column.name and widths[i] > _NARROWEST]
        if not names:
            break
        # The last name gives first: the first one says what the row is about.
        last = names[-1] if widths[names[-1]] > _OTHER_NAME else names[0]
        least = _OTHER_NAME if last != names[0] else _NARROWEST
        step = max(1, min(excess, widths[last] - least))
        widths[last] -= step
        excess -= step
    return widths


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        if column.name:
            cell = front_cut(cell, width, "...")
            parts.append(cell + " " * (width - _cells(cell)))
        else:
            parts.append(" " * (width - _cells(cell)) + cell)
    return (" " * _GAP).join(parts).rstrip()


def _cells(text: str) -> int:
    """Terminal columns that the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
