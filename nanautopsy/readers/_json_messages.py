"""What a log in JSON says in words: messages beside its rows of numbers.

Sample, of which the second line is read as a line of a text log would be::

    {"type": "train", "step": 500, "loss": 0.577}
    {"type": "event", "msg": "resuming from epoch5.pt: checkpoint has no entry optimizer"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from nanautopsy.model import LogEvent, Record
from nanautopsy.readers._step_keys import step_key, step_number
from nanautopsy.readers.text.blocks import Block
from nanautopsy.readers.text.records import records_of

KEYS = frozenset({"msg", "message", "event", "text", "note", "info", "warning", "error", "log"})
_FEWEST_CHARACTERS = 12
"""``event: eval`` names a kind of row."""
_LONGEST = 2000
_MOST = 20_000
"""A service that logs every request says nothing new behind them."""


class Messages:
    """The messages of one file, with the steps of the rows around them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._said: list[bytes] = []
        self._places: list[tuple[int, int | None]] = []
        self._step: int | None = None

    def add(self, row: Mapping[str, Any], line: int) -> None:
        """Keep what the row says; one that says nothing may have a step."""
        key = step_key(row)
        step = None if key is None else step_number(row[key])
        self._step = self._step if step is None else step
        for name in sorted(KEYS & row.keys()):
            text = row[name]
            if (
                isinstance(text, str)
                and len(text) >= _FEWEST_CHARACTERS
                and len(self._said) < _MOST
            ):
                self._said.append(" ".join(text[:_LONGEST].split()).encode())
                self._places.append((line, self._step))

    def step_at(self, row: Mapping[str, Any]) -> None:
        """The rows up to this one were passed over."""
        key = step_key(row)
        step = None if key is None else step_number(row[key])
        self._step = self._step if step is None else step

    def records(self) -> Iterator[Record]:
        """Events, under the lines of the file."""
        if not self._said:
            return
        block = Block(b"\n".join(self._said) + b"\n", 1)
        for record in records_of(self._path, [block]):
            if not isinstance(record, LogEvent) or record.source.line is None:
                continue  # numbers that a sentence quotes are no rows
            line, step = self._places[record.source.line - 1]
            own = record.step_exact or record.data.get("step") is not None
            yield replace(
                record,
                source=replace(record.source, line=line),
                step=record.step if own else step,
            )
