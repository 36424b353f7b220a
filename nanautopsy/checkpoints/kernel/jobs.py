"""What one thread does at a time, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from nanautopsy.checkpoints.formats import NumberFormat
from nanautopsy.checkpoints.health import Tally
from nanautopsy.checkpoints.kernel.bad_places import BadPlaces
from nanautopsy.checkpoints.kernel.layout import Layout
from nanautopsy.checkpoints.kernel.passes import Scratch, elements, tally
from nanautopsy.checkpoints.kernel.reading import Files, Reader, Unreadable
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.model import Depth


@dataclass(slots=True, eq=False)
class Measurement:
    """One tensor while it is measured."""

    tensor: StoredTensor
    format: NumberFormat
    depth: Depth
    counts: tuple[Any, ...] = ()
    """The fields of the tally of a tensor that was counted together with others."""
    failures: tuple[tuple[int, int, str], ...] = ()
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

    def fail(self, measurement: Measurement, piece: int, lost: int, why: str) -> None:
        """Remember elements that could not be read."""
        with self._lock:
            measurement.failures += ((piece, lost, why),)


@dataclass(slots=True, eq=False)
class Stretch:
    """Neighboring blocks of one piece."""

    measurement: Measurement
    piece: int
    file: int
    layout: Layout
    begin: int
    end: int
    """Blocks."""
    total: Tally = field(default_factory=Tally)
    """What was counted."""

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
                work.fail(measurement, self.piece, rest * layout.repeat, str(error))
                break
            raw = work.scratch.raw[: len(buffer)]
            bits = elements(raw, block, format, measurement.tensor.big_endian)
            counts, bad = tally(bits, format, measurement.depth, work.scratch)
            if bad is not None:
                work.places(measurement).note(layout, self.piece, block.start, bad)
            total.add(counts)
        self.total = total.repeated(layout.repeat) if layout.repeat > 1 else total


@dataclass(frozen=True, slots=True)
class Job:
    """Some stretches, one after the other."""

    stretches: list[Stretch]

    @property
    def nbytes(self) -> int:
        """Bytes of their elements."""
        return sum(stretch.nbytes for stretch in self.stretches)

    def run(self, work: Workspace) -> None:
        """Count."""
        for stretch in self.stretches:
            stretch.run(work)
