"""The table of transformers' ``DebugUnderflowOverflow``: every module's extremes, the bad one last.

Sample::

    Detected inf/nan during batch_number=1
    Last 8 forward frames:
    abs min  abs max  metadata
                      block.2 Linear
    2.29e+36      inf weight
    0.00e+00 5.60e+08 input[0]
         nan      nan output

Frames come from forward hooks, inner modules first, so the first frame with a non-finite value is
the innermost module that produced or held it.
"""

from __future__ import annotations

import math
import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter

_DETECTED = re.compile(r"Detected inf/nan during batch_number=(\d+)")
_BATCH = re.compile(r"\*\*\* Starting batch number=(\d+) \*\*\*")
_FRAME = re.compile(r"\s{10,}(?:([\w.\-]+) )?([A-Za-z_]\w*)\s*$")
_ROW = re.compile(r"\s*(\S+)\s+(\S+)\s+((?:input|output|weight|bias|grad|param)\S*)\s*$")
_NOTHING = re.compile(r"\s*(?:None|not a tensor)\s+(?:input|output)\S*\s*$")
_FIXED = ("abs min", "Last ", "***")
_MAX_LINES = 20_000


def _on_detected(log: Log, line: Line) -> None:
    match = _DETECTED.search(line.text)
    if match is None:
        return
    table = _Table(log, line, int(match[1]))
    log.follow(line, table.take, table.end, _MAX_LINES)


class _Table:
    """Reads one table."""

    def __init__(self, log: Log, line: Line, batch: int) -> None:
        self._log = log
        self._origin = line
        self._batch = batch
        self._layer = ""
        self._kind = ""
        self._rows: list[tuple[Line, str, float]] = []
        self._first: tuple[str, str, str, float] | None = None

    def take(self, line: Line) -> Take:
        """Frame, row, heading, or the end."""
        text = line.whole.decode("utf-8", "replace")
        if match := _BATCH.search(text):
            # What stood above this heading came from the batch before.
            self._flush(int(match[1]) - 1)
            return Take.MORE
        if row := _ROW.match(text):
            self._row(line, row[2], row[3])
            return Take.MORE
        if frame := _FRAME.match(text):
            self._layer, self._kind = frame[1] or "", frame[2]
            return Take.MORE
        if not text.strip() or text.lstrip().startswith(_FIXED) or _NOTHING.match(text):
            return Take.MORE
        return Take.NOT_MINE

    def _row(self, line: Line, largest: str, what: str) -> None:
        value = parse(largest)
        if value is None:
            return
        name = f"{self._layer}.{what}" if self._layer else what
        self._rows.append((line, f"activation_max/{name}", value))
        if self._first is None and not math.isfinite(value):
            self._first = (self._layer, self._kind, what, value)

    def _flush(self, batch: int) -> None:
        for line, tag, value in self._rows:
            counter = Counter(Basis.STEP, max(batch, 0), family="batch_number")
            row = self._log.rows.add_row(counter, line.number, line.rank)
            self._log.rows.add(tag, row, value)
        self._rows.clear()

    def end(self) -> None:
        """Report the table."""
        self._flush(self._batch)
        layer, kind, what, value = self._first or (None, None, None, math.nan)
        parameters = what is not None and what.startswith(("weight", "bias", "param"))
        self._log.event(
            "nonfinite-text",
            self._origin,
            step=self._batch,
            value="nan" if math.isnan(value) else "inf",
            quantity="parameters" if parameters else "activations",
            layer=layer,
            module_class=kind,
            what=what,
        )


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_detected if "detected inf/nan during batch_number" in lower else None


DIALECT = Dialect(
    name="underflow-table",
    triggers=("detected inf/nan during batch_number",),
    plan=_plan,
    statement=True,
)
