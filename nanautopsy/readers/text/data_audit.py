"""What programs print of their data before they train: pandas' tables, and arrays over several
lines.

Samples::

    RangeIndex: 600 entries, 0 to 599                                            (DataFrame.info)
     1   income      588 non-null    float64
               age   income  tenure                                          (DataFrame.describe)
    count  600.000  588.000  600.000
    feature       count  missing        mean     (a table of one's own, a column a row)
    temp_anom      5994        6      0.0013
    [3.3878186 3.7481108 2.345824        inf 3.5428371 2.7353356 2.6584353     (NumPy, over lines)
     2.823263  2.922378  2.7364588 2.4430237       nan 2.670448  3.0364609

A mask's -Inf is no defect, and what is printed after training began may be what a model gives.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.parameter_table import is_rule

_ENTRIES = re.compile(r"^\s*(?:Range|Int64|Datetime|Multi)?Index: (\d{1,12}) entries")
_COLUMN = re.compile(r"^\s*(?:\d+\s+)?\S.*?\s(\d{1,12}) non-null\b")
_COUNTS = re.compile(r"^\s*count((?:\s+\d{1,12}(?:\.0+)?){2,})\s*$")
_ARRAY = re.compile(
    r"^[\w .,:()=-]{0,60}?[\s\[(]*(?:[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf)[\s,]+){3,}"
    r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan|inf)[\s,\])]*$",
    re.IGNORECASE,
)
"""No way to read one number as two: the time would double with each of a long line."""
_DEFECT = re.compile(r"(?<![\w-])(?:nan|inf)(?!\w)", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d*(?![\w.])")
_FEWEST_NUMBERS = 2
"""Beside them: a row of nothing but NaN is of what was not computed."""
_CELLS = re.compile(r"\s*[|\u2502\t]\s*|\s{2,}")
_OF_COLUMNS = re.compile(
    r"(?:feature|column|col|field|variable|channel|sensor|input|target|name)s?(?:[ _]names?)?", re.I
)
_MISSING = re.compile(
    r"(?:(?:n|num|#|count)[ _]?)?(?:missing|nulls?|nans?|n/?a|infs?|non[-_ ]?finite|invalid)"
    r"(?:[ _](?:values?|count|n|cells))?",
    re.IGNORECASE,
)
_FEWEST_COLUMNS = 3
_TABLE_LINES = 500
_MEMORY = "data-audit"


def _on_entries(log: Log, line: Line) -> None:
    found = _ENTRIES.match(line.text)
    if found is not None:
        log.memory[_MEMORY] = int(found[1])


def _on_column(log: Log, line: Line) -> None:
    found, entries = _COLUMN.match(line.text), log.memory.get(_MEMORY)
    if found is not None and isinstance(entries, int) and int(found[1]) < entries:
        log.event("odd-sample", line, audit=True)


def _on_counts(log: Log, line: Line) -> None:
    found = _COUNTS.match(line.text)
    if found is not None and len({float(count) for count in found[1].split()}) > 1:
        log.event("odd-sample", line, audit=True)


def _column_of_defects(text: str) -> tuple[int, int] | None:
    """Of the heading of a table with a row for each column of the data: which cell counts the
    values that are missing, and how many cells there are."""
    cells = _cells(text)
    if len(cells) < _FEWEST_COLUMNS or not _OF_COLUMNS.fullmatch(cells[0]):
        return None
    counts = [i for i, cell in enumerate(cells) if i and _MISSING.fullmatch(cell)]
    return (counts[0], len(cells)) if counts else None


def _cells(text: str) -> list[str]:
    return [cell for cell in _CELLS.split(text.strip().strip("|\u2502 ")) if cell]


def _on_heading(log: Log, line: Line) -> None:
    heading = _column_of_defects(line.text)
    if heading is None:
        return
    place, width = heading

    def take(line: Line) -> Take:
        cells = _cells(line.text)
        if len(cells) != width:
            return Take.MORE if is_rule(line.text) else Take.NOT_MINE
        if cells[place].isdigit() and int(cells[place]) > 0:
            log.event("odd-sample", line, audit=True)
        return Take.MORE

    log.follow(line, take, lambda: None, _TABLE_LINES)


def _on_array(log: Log, line: Line) -> None:
    if _DEFECT.search(line.text) and _ARRAY.match(line.text):
        log.event("odd-sample", line, audit=True)


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if len(text) > 2000:
        return None
    if _ENTRIES.match(text):
        return _on_entries
    if _COLUMN.match(text):
        return _on_column
    if _COUNTS.match(text):
        return _on_counts
    if _column_of_defects(text) is not None:
        return _on_heading
    told = _DEFECT.search(text) and len(_NUMBER.findall(text)) >= _FEWEST_NUMBERS
    return _on_array if told and _ARRAY.match(text) else None


DIALECT = Dialect(
    name="data-audit",
    triggers=("non-null", " entries, ", "count  ", "nan", "missing", "null", "inf", "nan]", "inf]"),
    plan=_plan,
    leftover=True,
)
