"""CSV, TSV and semicolon tables of metrics with a header: a row a step, or a row an epoch.
Compressed ones as well.

An empty cell means that the row did not log that metric; ``nan`` means NaN; ``None``, ``null``
and ``NA`` are explicit nulls. Where a semicolon or tab is between cells, numbers may have decimal
commas. A header that stands again in the middle marks a restart.

Two writers put the metric's name into the file's name. DeepSpeed's monitor writes
``Train_Samples_loss_scale.csv`` with the header ``step,loss_scale``, where "step" counts samples
(deepspeed/monitor/csv_monitor.py). TensorBoard's download is ``run-...-tag-loss.csv`` with the
header ``Wall time,Step,Value``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nanautopsy.model import Artifact, Claim, FileHead, Record, Skipped
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._decimal_commas import has_commas, with_point
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._json_numbers import parse_number
from nanautopsy.readers._line_blocks import Lines
from nanautopsy.readers._metric_rows import MetricRows
from nanautopsy.readers._packed_head import first_block, plain_head, plain_name
from nanautopsy.readers._step_keys import is_training_log, step_key, step_number
from nanautopsy.wording import phrase

_EXTENSIONS = (".csv", ".tsv")
_LOOSE_EXTENSIONS = (".txt", ".log", ".dat", ".out")
_DELIMITERS = ",\t;"
_JUDGED_ROWS = 50
_MOST_COLUMNS = 5000
_FITTING = 0.9
"""Share of the rows, of a table that is not one by name; the others are cut off or interleaved."""
_NULLS = frozenset({"none", "null", "na", "n/a", "<na>"})
_TENSORBOARD = ("wall time", "step", "value")
_ROW_NAMES = frozenset(
    {"run", "run_name", "run_id", "name", "model", "experiment", "trial", "config"}
)
_OF_SAMPLES = frozenset(
    "prediction predictions predicted pred preds y_pred y_hat y_true target targets label labels"
    " gold reference references hypothesis truth ground_truth".split()
)
"""Columns of what a model says of single samples, two of which no history has."""
_TABLE_OF_SAMPLES = "one row a sample, not a row a step: a table of predictions"
_TABLE_OF_RUNS = "one row a run, not a row a step: a table of results"
_NO_COUNTER = "neither a step column nor metrics"


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the first block of a table shows."""

    delimiter: str
    header: tuple[str, ...]
    key: str | None
    """The column that counts."""
    refusal: str | None
    """Why it holds no history."""
    comma: bool = False
    """Numbers are written with a decimal comma."""


class TableReader:
    """Claims tables with a counter, or with nothing but metrics."""

    name = "csv"

    def claim(self, file: FileHead) -> Claim | None:
        plain = plain_head(file)
        if plain is None:
            return None
        file = plain
        name = file.name.lower()
        is_table = name.endswith(_EXTENSIONS)
        if b"\0" in file.head[:512] and file.head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            return None
        if not is_table and "." in name and not name.endswith(_LOOSE_EXTENSIONS):
            return None
        layout = _layout(file.head, file.size > len(file.head), by_name=is_table)
        if layout is None or layout.refusal == _NO_COUNTER:
            return None
        if is_table:
            return Claim(self.name, 70)
        return Claim(self.name, 65) if layout.key is not None and not layout.refusal else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Series by column; a damaged row costs itself."""
        file = first_block(artifact.path, artifact.location, artifact.bytes)
        layout = None if file is None else _layout(file.head, file.size > len(file.head))
        if layout is None or layout.refusal is not None:
            yield Skipped(layout.refusal if layout and layout.refusal else phrase("no table"))
            return
        damage = Damage(artifact.path)
        rename, samples = _names(artifact.path, layout.header)
        rows = MetricRows(artifact.path, key=layout.key, samples=samples)
        table = _Table(layout, rename, rows, damage)
        lines = Lines(artifact.location, damage=damage)
        if lines.load():
            table.read_rows(lines, 1)
        while lines.load():
            if not table.read_block(lines):
                table.read_rows(lines)
        if lines.tail is not None:
            table.read_tail(*lines.tail)
        yield from rows.records(damage)


READER = TableReader()


# --- what kind of table -------------------------------------------------------------------------


def _layout(head: bytes, more: bool, *, by_name: bool = True) -> _Layout | None:
    """Judge the first block; ``None`` when it is no table with a header.

    What is not a table by its name may be a log whose first line has commas in it: its rows have to
    fit the header.
    """
    lines = decode_text(head).splitlines()
    if more and lines:
        lines.pop()
    lines = [line for line in lines[: _JUDGED_ROWS + 1] if line.strip()]
    if not lines or len(lines[0]) > 65536:
        return None
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if delimiter not in lines[0]:
        return None
    try:
        parsed = [list(map(str.strip, row)) for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return None
    header = _unique(parsed[0])
    body = [row for row in parsed[1:] if row != parsed[0]]  # restarts repeat the header
    named = sum(1 for cell in header if cell and parse_number(cell) is None)
    if not 2 <= len(header) <= _MOST_COLUMNS or named < len(header) - 1:
        return None
    if any(len(cell) > 200 for cell in header):
        return None
    if sum(len(row) > 1 for row in body) < len(body) / 2:
        return None  # a first line with commas in it, above lines of another kind
    if not by_name and sum(len(row) == len(header) for row in body) < _FITTING * len(body):
        return None
    comma = has_commas(delimiter, body)
    if comma:
        body = [list(map(with_point, row)) for row in body]
    columns = {
        name: [row[i] for row in body if i < len(row) and row[i]]
        for i, name in enumerate(header)
        if name
    }
    key = _counter(columns)
    return _Layout(delimiter, tuple(header), key, _refusal(columns, key), comma)


def _unique(names: Sequence[str]) -> list[str]:
    """Repeated column names numbered, as pandas does."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        unique.append(f"{name}.{count}" if count and name else name)
    return unique


def _counter(columns: Mapping[str, list[str]]) -> str | None:
    """The column that counts: by its name, and because its values do not all stay the same."""
    left = dict(columns)
    while (key := step_key(left)) is not None:
        cells = left.pop(key)
        steps = [step for step in map(step_number, cells) if step is not None]
        if len(steps) >= 0.9 * len(cells) and (len(steps) < 3 or len(set(steps)) > 1):
            return key
    return None


def _refusal(columns: Mapping[str, list[str]], key: str | None) -> str | None:
    others = {name: cells for name, cells in columns.items() if name != key}
    texts = [
        cells
        for cells in others.values()
        if cells
        and all(parse_number(cell) is None and cell.lower() not in _NULLS for cell in cells)
    ]
    names_runs = any(len(set(cells)) == len(cells) > 1 for cells in texts)
    if key is not None:
        return _TABLE_OF_RUNS if names_runs and _ROW_NAMES & {n.lower() for n in others} else None
    if not is_training_log(others):
        return _NO_COUNTER
    if len(_OF_SAMPLES & {name.lower() for name in others}) > 1:
        return _TABLE_OF_SAMPLES
    if _ROW_NAMES & {name.lower() for name in others}:
        return _TABLE_OF_RUNS
    # Without a counter only a table that is nothing but numbers can be a history.
    return _TABLE_OF_RUNS if texts else None


def _names(path: str, header: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Columns whose metric the file's name tells, and whether the counter counts samples."""
    stem = plain_name(path).rpartition("/")[2].rpartition(".")[0]
    if tuple(name.lower() for name in header) == _TENSORBOARD:
        return {header[2]: stem.rpartition("-tag-")[2] or stem}, False
    if len(header) == 2 and header[0] == "step" and stem.endswith("_" + header[1]):
        prefix = stem[: -len(header[1])]
        if prefix.startswith("Train_"):
            return {header[1]: prefix.replace("_", "/") + header[1]}, "_Samples_" in prefix
    return {}, False


# --- rows ---------------------------------------------------------------------------------------


class _Table:
    """Cells to rows by name, across headers that stand again."""

    def __init__(
        self, layout: _Layout, rename: Mapping[str, str], rows: MetricRows, damage: Damage
    ) -> None:
        self._header = [rename.get(name, name) for name in layout.header]
        self._known = frozenset(layout.header)
        self._key = layout.key
        self._delimiter = layout.delimiter
        self._comma = layout.comma
        self._rename = rename
        self._rows = rows
        self._damage = damage

    def read_block(self, lines: Lines) -> bool:
        """Take the lines of the block at hand as columns, where each is one plain row of the
        table's width; else take none."""
        texts, first = lines.rest()
        width = len(self._header)
        text = self._delimiter.join(texts)
        if '"' in text or "" in self._header:
            return False
        if {line.count(self._delimiter) for line in texts} != {width - 1}:
            return False
        if self._comma:
            text = text.replace(",", ".")
        cells = text.split(self._delimiter)
        columns = [cells[i::width] for i in range(width)]
        numbers = np.arange(first, first + len(texts))
        if not self._rows.add_block(self._header, columns, numbers, _NULLS):
            return False
        lines.skip(len(texts))
        return True

    def read_rows(self, lines: Lines, most: int | None = None) -> None:
        """Take the rows that begin in the block at hand, at most so many, one by one; what the
        csv module refuses is noted and passed over."""
        reader = csv.reader(lines, delimiter=self._delimiter)
        taken = 0
        while lines.left and taken != most:
            try:
                cells = next(reader, [])
            except csv.Error as error:
                self._damage.note(
                    phrase("rows cannot be told apart: {error}", error=error), line=lines.line
                )
                reader = csv.reader(lines, delimiter=self._delimiter)
                continue
            if cells:
                self._read(cells, lines.line)
                taken += 1

    def read_tail(self, line: int, text: str) -> None:
        """Take the last line of a file, which has no end."""
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter), [])
        except csv.Error as error:
            self._damage.note(phrase("rows cannot be told apart: {error}", error=error), line=line)
            return
        width = len(self._header)
        if len(cells) < width:
            self._damage.note(
                phrase("cut off after {count} of {width} cells", count=len(cells), width=width),
                line=line,
            )
            cells = cells[:-1]  # A part of a number is another number.
        self._read(cells, line)

    def _read(self, cells: Sequence[str], line: int) -> None:
        """Add the logged cells of one row, or take over a header."""
        cells = [cell.strip() for cell in cells]
        if self._is_header(cells):
            self._header = [self._rename.get(name, name) for name in _unique(cells)]
            return
        width = len(self._header)
        if any(cells[width:]):
            self._damage.note(
                phrase("{count} cells under {width} columns", count=len(cells), width=width),
                line=line,
            )
        row = {
            name: None if cell.lower() in _NULLS else with_point(cell) if self._comma else cell
            for name, cell in zip(self._header, cells, strict=False)
            if cell and name
        }
        if row:
            self._rows.add(row, line)

    def _is_header(self, cells: Sequence[str]) -> bool:
        named = sum(cell in self._known for cell in cells if cell)
        return named >= 2 or (named == 1 and self._key in cells)
