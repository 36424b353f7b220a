"""The units of work of a measurement: a stretch of large tensors, or a batch of small ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints._bad_places import BadPlaces
from nanautopsy.checkpoints._batches import tally_many
from nanautopsy.checkpoints._kernel import Scratch, elements, tally
from nanautopsy.checkpoints._layout import Layout, lay_out
from nanautopsy.checkpoints._reading import Files, Reader, Unreadable
from nanautopsy.checkpoints.formats import NumberFormat
from nanautopsy.checkpoints.health import Tally
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.model import Depth

_SKIPPED_GAP = 4096
"""Bytes between two small tensors that are read rather than skipped."""


@dataclass(slots=True)
class Measurement:
    """One tensor while it is measured. Jobs on other threads append to its lists."""

    tensor: StoredTensor
    format: NumberFormat
    depth: Depth
    tallies: list[tuple[int, int, Tally]] = field(default_factory=list)
    """(piece, first element, counts), in the order in which they came."""
    failures: list[tuple[int, int, str]] = field(default_factory=list)
    """(piece, elements that were not measured, why)."""
    places: BadPlaces | None = None


class Workspace:
    """What one thread works with."""

    def __init__(self, files: Files, lock: Lock) -> None:
        self.scratch = Scratch()
        self.reader = Reader(files)
        self._lock = lock

    def places(self, measurement: Measurement) -> BadPlaces:
        """Where the places of a tensor's non-finite elements are collected."""
        with self._lock:
            if measurement.places is None:
                measurement.places = BadPlaces(measurement.tensor.shape)
            return measurement.places


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighboring blocks of one piece."""

    measurement: Measurement
    piece: int
    file: int
    layout: Layout
    begin: int
    end: int
    """Blocks."""

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, of which the last block may have fewer."""
        layout = self.layout
        share = layout.count * (self.end - self.begin) // layout.blocks
        return self.measurement.format.nbytes(share)

    def run(self, work: Workspace) -> None:
        """Count."""
        measurement, layout = self.measurement, self.layout
        format = measurement.format
        total = Tally()
        for number in range(self.begin, self.end):
            block = layout.block(number)
            buffer = work.scratch.bytes(format.nbytes(block.extent))
            try:
                work.reader.read(self.file, block.offset, buffer)
            except Unreadable as error:
                rest = sum(layout.block(n).count for n in range(number, self.end))
                measurement.failures.append((self.piece, rest * layout.repeat, str(error)))
                break
            raw = work.scratch.raw[: len(buffer)]
            bits = elements(raw, block, format, measurement.tensor.big_endian)
            counts, bad = tally(bits, format, measurement.depth, work.scratch)
            if bad is not None:
                work.places(measurement).note(layout, self.piece, block.start, bad)
            total.add(counts)
        if layout.repeat > 1:
            total = total.repeated(layout.repeat)
        measurement.tallies.append((self.piece, self.begin, total))


@dataclass(frozen=True, slots=True)
class Stretches:
    """Some, one after the other."""

    stretches: list[Stretch]

    @property
    def nbytes(self) -> int:
        """Bytes of their elements."""
        return sum(stretch.nbytes for stretch in self.stretches)

    def run(self, work: Workspace) -> None:
        """Count."""
        for stretch in self.stretches:
            stretch.run(work)


@dataclass(frozen=True, slots=True)
class Small:
    """A whole small piece, row-major without gaps and inside its file."""

    file: int
    offset: int
    nbytes: int
    piece: int
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class Batch:
    """Small pieces of one format, depth and byte order."""

    format: NumberFormat
    depth: Depth
    big_endian: bool
    items: list[Small]

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return sum(item.nbytes for item in self.items)

    def run(self, work: Workspace) -> None:
        """Count."""
        items = sorted(self.items, key=lambda item: (item.file, item.offset))
        gathered = np.empty(self.nbytes, dtype=np.uint8)
        present: list[Small] = []
        end = 0
        for run in _runs(items, len(work.scratch.raw)):
            end = self._gather(run, gathered, end, present, work)
        if not present:
            return
        bits = gathered[:end].view(self.format.storage)
        if self.big_endian:
            bits = bits.byteswap()
        width = self.format.bits // 8
        starts = np.cumsum([0, *(item.nbytes // width for item in present[:-1])])
        counts, bad = tally_many(bits, starts, self.format, self.depth)
        for item, count in zip(present, counts, strict=True):
            item.measurement.tallies.append((item.piece, 0, count))
        if bad is not None:
            _note_bad(present, counts, starts.tolist(), bad, work)

    def _gather(
        self,
        run: list[Small],
        gathered: NDArray[np.uint8],
        end: int,
        present: list[Small],
        work: Workspace,
    ) -> int:
        """Read one run and copy its items to ``gathered`` from ``end`` on; the new end."""
        begin = run[0].offset
        buffer = work.scratch.bytes(max(item.offset + item.nbytes for item in run) - begin)
        try:
            work.reader.read(run[0].file, begin, buffer)
        except Unreadable as error:
            for item in run:
                count = item.nbytes * 8 // self.format.bits
                item.measurement.failures.append((item.piece, count, str(error)))
            return end
        raw = work.scratch.raw
        for item in run:
            at = item.offset - begin
            gathered[end : end + item.nbytes] = raw[at : at + item.nbytes]
            end += item.nbytes
        present += run
        return end


Job: TypeAlias = Stretches | Batch


def _note_bad(
    items: list[Small],
    counts: list[Tally],
    starts: list[int],
    bad: NDArray[np.bool_],
    work: Workspace,
) -> None:
    ends = [*starts[1:], len(bad)]
    for item, count, begin, end in zip(items, counts, starts, ends, strict=True):
        if count.finite == end - begin:
            continue
        measurement = item.measurement
        tensor, format = measurement.tensor, measurement.format
        layout = lay_out(tensor, tensor.pieces[item.piece], format, item.offset + item.nbytes)
        work.places(measurement).note(layout, item.piece, 0, bad[begin:end])


def _runs(items: list[Small], limit: int) -> Iterator[list[Small]]:
    """Items that are read at once: neighbors in one file, at most ``limit`` bytes in all."""
    run: list[Small] = []
    end = 0
    for item in items:
        last = item.offset + item.nbytes
        near = run and item.file == run[0].file and item.offset - end <= _SKIPPED_GAP
        if run and not (near and last - run[0].offset <= limit):
            yield run
            run = []
            end = 0
        run.append(item)
        end = max(end, last)
    if run:
        yield run
