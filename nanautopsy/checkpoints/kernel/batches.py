"""Small tensors that are read and counted together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import NumberFormat
from nanautopsy.checkpoints.kernel.jobs import Measurement, Workspace
from nanautopsy.checkpoints.kernel.layout import lay_out
from nanautopsy.checkpoints.kernel.reading import Unreadable
from nanautopsy.checkpoints.kernel.segments import Row, tally_many
from nanautopsy.model import Depth

_SKIPPED_GAP = 4096
"""Bytes between two tensors that are read rather than skipped."""


@dataclass(slots=True, eq=False)
class Small:
    """A tensor in one small piece, row-major without gaps and inside its file."""

    measurement: Measurement
    file: int
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of one format, depth and byte order."""

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
            item.measurement.counts = count
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
                item.measurement.failures += ((0, count, str(error)),)
            return end
        raw = work.scratch.raw
        for item in run:
            at = item.offset - begin
            gathered[end : end + item.nbytes] = raw[at : at + item.nbytes]
            end += item.nbytes
        present += run
        return end


def _note_bad(
    items: list[Small],
    counts: list[Row],
    starts: list[int],
    bad: NDArray[np.bool_],
    work: Workspace,
) -> None:
    ends = [*starts[1:], len(bad)]
    for item, count, begin, end in zip(items, counts, starts, ends, strict=True):
        if count[0] == end - begin:  # all are finite
            continue
        measurement = item.measurement
        tensor, format = measurement.tensor, measurement.format
        layout = lay_out(tensor, tensor.pieces[0], format, item.offset + item.nbytes)
        work.places(measurement).note(layout, 0, 0, bad[begin:end])


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
