"""W&B run files (``run-<id>.wandb``), written by online and offline runs alike.

* Every number of the history is a series over W&B's own ``_step``, times from ``_timestamp``.
  Other counters (``train/global_step``, ``epoch``) are ordinary series; which of them the run
  declared as an axis is in the ``wandb_axes`` settings (metric pattern to axis key).
* The config is one ``wandb`` record, as it stood at the end. W&B turns NaN there into null.
* ``wandb.Histogram`` and ``wandb.watch``: see :func:`nanautopsy.readers._wandb_values.points`.
* The summary repeats the history, so it is read only where there is no history: its last values
  become series of one point.
* Console output is read as a text log where ``files/output.log`` is missing or empty; its line
  numbers are those that such a file would have.

A run file without an exit record belongs to a process that was killed, or still ran when the
file was copied; nothing is said of that here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    LogEvent,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers import _wandb_facts as wandb_facts
from nanautopsy.readers import _wandb_proto as proto
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._leveldb_log import MAGIC, Batch, batches
from nanautopsy.readers._protowire import WireError
from nanautopsy.readers._wandb_history import History
from nanautopsy.readers._wandb_items import HistoryBatch
from nanautopsy.readers._wandb_keys import Keys
from nanautopsy.readers._wandb_records import UNUSUAL, kinds_of
from nanautopsy.readers.text.blocks import Block
from nanautopsy.readers.text.records import records_of
from nanautopsy.wording import phrase

_BLOCK_CHARACTERS = 1 << 20
_LONGEST_LINE = 1 << 20
_OUTPUT = frozenset({proto.OUTPUT, proto.OUTPUT_RAW})
_STEPPED_OVER = frozenset({proto.HISTORY, proto.SUMMARY, *_OUTPUT})
"""Kinds that are read later, or many at once."""


class _WandbRun:
    name = "wandb"

    def claim(self, file: FileHead) -> Claim | None:
        if file.head.startswith(MAGIC):
            return Claim("wandb", 98)
        named = file.name.startswith("run-") and file.name.endswith(".wandb")
        return Claim("wandb", 90) if named else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        run = _Run(artifact.path)
        with open(artifact.location, "rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            yield Skipped(phrase("a Git LFS pointer; the run file itself is not here"))
            return
        if start and not start.startswith(MAGIC):
            run.damage.note(phrase("does not begin as a W&B run file does"), 0)
        for batch in _batches(artifact.location, run.damage):
            run.take_batch(batch)
        if not run.history.rows and proto.SUMMARY in run.kinds:
            for _, message in _messages(artifact.location, proto.SUMMARY):
                run.take_summary(message)
            run.end_summary()
        yield from run.records()
        if run.kinds & _OUTPUT and not _has_output_log(artifact.location):
            yield from records_of(artifact.path, _output_blocks(artifact.location))


def _batches(location: Path, damage: Damage) -> Iterator[Batch]:
    with open(location, "rb") as file:
        try:
            yield from batches(file, damage)
        except OSError as error:
            damage.note(phrase("reading ended early: {error}", error=error))


def _messages(location: Path, *wanted: int) -> Iterator[tuple[int, bytes]]:
    """(kind, message) of the records of some kinds; damage was noted before."""
    for batch in _batches(location, Damage("")):
        found = kinds_of(batch)
        for i in np.flatnonzero(np.isin(found.kinds, [UNUSUAL, *wanted])).tolist():
            try:
                known = proto.record(batch.record(i))
            except WireError:
                continue
            if known is not None and known[0] in wanted:
                yield known


class _Run:
    """All that the file has given so far."""

    def __init__(self, path: str) -> None:
        self.damage = Damage(path)
        self.history = History(path)
        self.kinds: set[int] = set()
        """Of the records that were seen."""
        self._source = Source(path)
        self._config: dict[str, Any] = {}
        self._axes: dict[str, Scalar] = {}
        self._facts: dict[str, str] = {}
        self._packages: dict[str, str] = {}
        self._events: list[LogEvent] = []
        self._summary: dict[str, Any] = {}
        self._keys = Keys()

    def take_batch(self, batch: Batch) -> None:
        """The records of one batch: what they say of the run, then their history."""
        found = kinds_of(batch)
        seen = {kind for kind in _STEPPED_OVER if (found.kinds == kind).any()}
        self.kinds |= seen
        rows = found.kinds == proto.HISTORY
        for i in np.flatnonzero(np.isin(found.kinds, list(seen), invert=True)).tolist():
            offset = int(batch.offsets[i])
            try:
                known = proto.record(batch.record(i))
            except WireError as error:
                self.damage.note(
                    phrase("a record that is no W&B record: {error}", error=error), offset
                )
                continue
            if known is None:
                continue
            self.kinds.add(known[0])
            if known[0] == proto.HISTORY:
                rows[i] = True
                found.starts[i] = batch.starts[i] + batch.record(i).find(known[1])
                found.ends[i] = found.starts[i] + len(known[1])
                continue
            try:
                self.take(*known)
            except WireError as error:
                self.damage.note(
                    phrase("a record that is broken inside: {error}", error=error), offset
                )
        if rows.any():
            history = HistoryBatch(batch, found.starts[rows], found.ends[rows], self._keys)
            self.history.add(history, batch.offsets[rows].tolist(), self.damage)

    def take(self, kind: int, message: bytes) -> None:
        """One record. Raises :class:`WireError` where its message is broken."""
        if kind == proto.RUN:
            self._run(message)
        elif kind == proto.CONFIG:
            self._settings(message)
        elif kind == proto.TELEMETRY:
            self._telemetry(message)
        elif kind == proto.ENVIRONMENT:
            self._facts.update(wandb_facts.from_environment(message))
        elif kind == proto.METRIC:
            self._metric(message)
        elif kind == proto.EXIT:
            self._exit(message)

    def records(self) -> Iterator[Record]:
        """Series, settings, environment, events, problems."""
        yield from self.history.series()
        if self.history.left_out:
            self.damage.note(
                phrase("{n} points of further keys are left out", n=self.history.left_out)
            )
        private = self._config.pop("_wandb", None)
        if isinstance(private, dict):
            facts, packages = wandb_facts.from_private(private)
            self._facts = {**facts, **self._facts}
            self._packages.update(packages)
        if self._config:
            yield ConfigRecord("wandb", flatten(self._config), self._source)
        if self._axes:
            yield ConfigRecord("wandb_axes", self._axes, self._source)
        if self._facts or self._packages:
            yield EnvironmentRecord(self._source, self._packages, self._facts)
        yield from self._events
        yield from self.damage.problems()

    def _run(self, message: bytes) -> None:
        for part in proto.parts(message, 4):
            self._settings(part)
        for part in proto.parts(message, 17):
            self.history.started = proto.timestamp(part)
        for part in proto.parts(message, 19):
            self._telemetry(part)
        for part in proto.parts(message, 21):
            self._facts.update(wandb_facts.git_facts(proto.texts(part)))
        hosts = proto.texts(message).get(13)
        if hosts:
            self._facts.setdefault("host", hosts[0])
        numbers = proto.numbers(message)
        step = numbers.get(14, 0)
        if numbers.get(18) and not any(e.kind == "run-resumed" for e in self._events):
            text = f"W&B resumed the run at its step {step}"
            data: dict[str, Scalar | tuple[str, ...]] = {"step": step}
            time = self.history.started
            self._events.append(
                LogEvent("run-resumed", text, self._source, step, True, time, data=data)
            )

    def _settings(self, message: bytes) -> None:
        self._config.update(proto.items(message))
        for key in proto.removed(message):
            self._config.pop(key, None)

    def _telemetry(self, message: bytes) -> None:
        facts, packages = wandb_facts.from_telemetry(message)
        for name, fact in facts.items():
            self._facts.setdefault(name, fact)
        self._packages.update(packages)

    def _metric(self, message: bytes) -> None:
        texts = proto.texts(message)
        pattern, axis = texts.get(1) or texts.get(2), texts.get(4)
        if pattern and axis and len(self._axes) < 10_000:
            self._axes[pattern[0]] = axis[0]

    def _exit(self, message: bytes) -> None:
        numbers = proto.numbers(message)
        code = numbers.get(1, 0)
        data: dict[str, Scalar | tuple[str, ...]] = {"exit_code": code}
        if 2 in numbers:
            data["runtime"] = numbers[2]
        text = f"W&B exit record: exit code {code}"
        self._events.append(LogEvent("run-finished", text, self._source, data=data))

    def take_summary(self, message: bytes) -> None:
        """One summary record: it overrides what earlier ones say of the same keys."""
        try:
            self._summary.update(proto.items(message))
        except WireError:
            return

    def end_summary(self) -> None:
        """No history: the summary's values are series of one point."""
        items = {key: value for key, value in self._summary.items() if key != "_runtime"}
        self.history.add_row(items)


def _has_output_log(location: Path) -> bool:
    """Whether the console's lines stand in a file of their own, which the text reader reads."""
    try:
        return (location.parent / "files" / "output.log").stat().st_size > 0
    except OSError:
        return False


def _output_blocks(location: Path) -> Iterator[Block]:
    """The console's lines in blocks, numbered from 1 as a file of them would be."""
    lines, size, first = [], 0, 1
    for line in output_lines(location):
        lines.append(line)
        size += len(line)
        if size >= _BLOCK_CHARACTERS:
            yield Block("".join(f"{text}\n" for text in lines).encode(), first)
            lines, size, first = [], 0, first + len(lines)
    if lines:
        yield Block("".join(f"{text}\n" for text in lines).encode(), first)


def output_lines(path: Path) -> Iterator[str]:
    """What the run printed, line by line, from the records inside a ``.wandb`` file.

    Text and its line end are separate records of interleaved streams, so each stream's lines are
    put together; damage ends a line early and is not reported here. Carriage returns stay.
    """
    pending: dict[int, str] = {}
    for _, message in _messages(path, *_OUTPUT):
        try:
            stream = proto.numbers(message).get(1, 0)
            written = "".join(proto.texts(message).get(3, []))
        except WireError:
            continue
        *lines, rest = (pending.get(stream, "") + written).split("\n")
        yield from lines
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
        pending[stream] = rest
    yield from (rest for rest in pending.values() if rest)


READER = _WandbRun()
