"""Which jobs measure a list of tensors."""

from __future__ import annotations

import math
from typing import TypeAlias

from nanautopsy.checkpoints._decoded_file import DecodedFile
from nanautopsy.checkpoints.formats import FORMATS, NumberFormat
from nanautopsy.checkpoints.kernel.batches import Batch, Small
from nanautopsy.checkpoints.kernel.jobs import Job, Measurement, Stretch
from nanautopsy.checkpoints.kernel.layout import BadLayout, Layout, lay_out
from nanautopsy.checkpoints.kernel.reading import Files, Unreadable
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import Depth, Problem, Source

JOB_BYTES = 16 << 20
"""Of one job: enough that handing it to a thread costs nothing beside it."""
SMALL_ELEMENTS = 1 << 12
"""A tensor of fewer elements is counted together with others."""
_BATCH_ELEMENTS = 1 << 16
_BATCH_ITEMS = 1 << 11
_CALL_BYTES = 1 << 14
"""Reading fewer bytes takes hardly less time."""

_Kind: TypeAlias = "tuple[str, bool]"
"""Format and byte order of a batch."""


class Plan:
    """Jobs, made as tensors are added; they depend on nothing but the tensors."""

    def __init__(self, depth: Depth) -> None:
        self.files = Files()
        self.batches: list[Batch] = []
        self.jobs: list[Job] = []
        self.stretches: list[Stretch] = []
        """Those of all jobs, each tensor's in the order of its elements."""
        self._depth = depth
        self._seen: dict[object, Measurement] = {}
        self._planned = 0
        self._stretched = 0
        self._small: dict[_Kind, list[Small]] = {}
        self._elements: dict[_Kind, int] = {}

    def add(self, tensor: StoredTensor) -> Measurement | Problem:
        """Plan one tensor's measurement: the same one for all that share their storage."""
        format = FORMATS.get(tensor.dtype)
        if format is None:
            path = tensor.pieces[0].file.path if tensor.pieces else ""
            text = f"{tensor.dtype!r:.100} is no number format that is known"
            return Problem(text, Source(path, tensor=tensor.name))
        files = [self.files.number(piece.file) for piece in tensor.pieces]
        key = _place(tensor, files)
        measurement = self._seen.get(key)
        if measurement is None:
            measurement = Measurement(tensor, format, self._depth)
            self._seen[key] = measurement
            if not (len(files) == 1 and self._add_small(measurement, files[0])):
                self._add_pieces(measurement, files)
        return measurement

    def close(self) -> None:
        """Finish what is begun."""
        for kind in self._small:
            self._close_batch(kind)
        self._close_job()

    # --- small tensors --------------------------------------------------------------------------

    def _add_small(self, measurement: Measurement, file: int) -> bool:
        """Put it into a batch if it belongs there."""
        tensor, format = measurement.tensor, measurement.format
        piece, count = tensor.pieces[0], math.prod(tensor.shape)
        nbytes = format.nbytes(count)
        if not _is_small(piece, tensor, format, count):
            return False
        try:
            if not 0 <= piece.offset <= self.files.size(file) - nbytes:
                return False
        except Unreadable:
            return False
        kind = (format.name, tensor.big_endian)
        items = self._small.setdefault(kind, [])
        items.append(Small(measurement, file, piece.offset, nbytes))
        elements = self._elements[kind] = self._elements.get(kind, 0) + count
        if elements > _BATCH_ELEMENTS or len(items) == _BATCH_ITEMS:
            self._close_batch(kind)
        return True

    def _close_batch(self, kind: _Kind) -> None:
        name, big_endian = kind
        if self._small[kind]:
            self.batches.append(Batch(FORMATS[name], self._depth, big_endian, self._small[kind]))
        self._small[kind] = []
        self._elements[kind] = 0

    # --- all others -----------------------------------------------------------------------------

    def _add_pieces(self, measurement: Measurement, files: list[int]) -> None:
        tensor = measurement.tensor
        held = sum(math.prod(piece.shape) for piece in tensor.pieces)
        if held > tensor.numel:
            text = f"its {len(files)} pieces claim to hold {held} elements"
            measurement.failures = ((0, tensor.numel, text),)
            return
        layouts = [self._lay_out(measurement, number, file) for number, file in enumerate(files)]
        if held < tensor.numel or measurement.failures:
            measurement.depth = "full"
        for number, layout in enumerate(layouts):
            if layout is not None:
                self._add_layout(measurement, number, files[number], layout)

    def _lay_out(self, measurement: Measurement, number: int, file: int) -> Layout | None:
        """Where a piece lies, as far as it lies in its file; what does not is a failure."""
        piece = measurement.tensor.pieces[number]
        if not math.prod(piece.shape):
            return None
        try:
            size = self.files.size(file)
            layout = lay_out(measurement.tensor, piece, measurement.format, size)
        except (BadLayout, Unreadable) as error:
            measurement.failures += ((number, math.prod(piece.shape), str(error)),)
            return None
        if layout.lost:
            text = f"past the end of the file at byte {size}"
            measurement.failures += ((number, layout.lost, text),)
        return layout if layout.blocks else None

    def _add_layout(self, measurement: Measurement, piece: int, file: int, layout: Layout) -> None:
        cost = max(_CALL_BYTES, measurement.format.nbytes(layout.block(0).extent))
        blocks = max(1, JOB_BYTES // cost)
        if isinstance(measurement.tensor.pieces[piece].file, DecodedFile):
            blocks = layout.blocks  # each thread would have to decompress it from the beginning
        for begin in range(0, layout.blocks, blocks):
            end = min(begin + blocks, layout.blocks)
            self.stretches.append(Stretch(measurement, piece, file, layout, begin, end))
            self._stretched += (end - begin) * cost
            if self._stretched >= JOB_BYTES:
                self._close_job()

    def _close_job(self) -> None:
        if self._planned < len(self.stretches):
            self.jobs.append(Job(self.stretches[self._planned :]))
        self._planned = len(self.stretches)
        self._stretched = 0


def _place(tensor: StoredTensor, files: list[int]) -> object:
    """Equal for tensors that are the same elements of the same files."""
    pieces = tensor.pieces
    if len(pieces) == 1:
        p = pieces[0]
        where = (files[0], p.offset, p.shape, p.strides, p.origin)
        return tensor.dtype, tensor.big_endian, tensor.shape, where
    places = tuple((p.offset, p.shape, p.strides, p.origin) for p in pieces)
    return tensor.dtype, tensor.big_endian, tensor.shape, tuple(files), places


def _is_small(piece: Piece, tensor: StoredTensor, format: NumberFormat, count: int) -> bool:
    """Whether a tensor of ``count`` elements is one that :class:`Small` describes."""
    return (
        0 < count < SMALL_ELEMENTS
        and piece.strides is None
        and piece.shape == tensor.shape
        and piece.origin == 0
        and format.bits % 8 == 0
        and format.kind != "complex"
        and min(piece.shape, default=1) > 0
    )
