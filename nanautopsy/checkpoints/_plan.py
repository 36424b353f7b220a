"""Which jobs measure a list of tensors."""

from __future__ import annotations

import math
from typing import TypeAlias

from nanautopsy.checkpoints._jobs import Batch, Job, Measurement, Small, Stretch, Stretches
from nanautopsy.checkpoints._layout import BadLayout, Layout, lay_out
from nanautopsy.checkpoints._reading import Files, Unreadable
from nanautopsy.checkpoints.formats import FORMATS, NumberFormat
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import Depth, Problem, Source

JOB_BYTES = 16 << 20
"""Of one job: enough that handing it to a thread costs nothing beside it."""
SMALL_ELEMENTS = 1 << 12
"""A piece of fewer elements is counted together with others."""
_BATCH_ELEMENTS = 1 << 16
_BATCH_ITEMS = 1 << 11
_CALL_BYTES = 1 << 14
"""Reading fewer bytes takes hardly less time."""

_Kind: TypeAlias = "tuple[str, Depth, bool]"


class Plan:
    """Jobs, made as tensors are added; they depend on nothing but the tensors."""

    def __init__(self, depth: Depth) -> None:
        self.files = Files()
        self._depth = depth
        self._jobs: list[Job] = []
        self._seen: dict[object, Measurement] = {}
        self._stretches: list[Stretch] = []
        self._stretched = 0
        self._batches: dict[_Kind, list[Small]] = {}
        self._batched: dict[_Kind, int] = {}

    def add(self, tensor: StoredTensor) -> Measurement | Problem:
        """Plan one tensor's measurement: the same one for all that share their storage."""
        format = FORMATS.get(tensor.dtype)
        if format is None:
            path = tensor.pieces[0].file.path if tensor.pieces else ""
            text = f"{tensor.dtype!r:.100} is no number format that is known"
            return Problem(text, Source(path, tensor=tensor.name))
        files = [self.files.number(piece.file) for piece in tensor.pieces]
        places = tuple(map(_place, tensor.pieces, files))
        key = (tensor.dtype, tensor.big_endian, tensor.shape, places)
        known = self._seen.get(key)
        if known is not None:
            return known
        measurement = Measurement(tensor, format, self._depth)
        self._seen[key] = measurement
        self._add_pieces(measurement, files)
        return measurement

    def finish(self) -> list[Job]:
        """All jobs; nothing can be added afterwards."""
        for kind in self._batches:
            self._close_batch(kind)
        self._close_stretches()
        return self._jobs

    def _add_pieces(self, measurement: Measurement, files: list[int]) -> None:
        tensor = measurement.tensor
        numel = tensor.numel
        held = sum(math.prod(piece.shape) for piece in tensor.pieces)
        if held > numel:
            text = f"its {len(files)} pieces claim to hold {held} elements"
            measurement.failures.append((0, numel, text))
            return
        todo: list[tuple[int, Small | Layout]] = []
        for number, (piece, file) in enumerate(zip(tensor.pieces, files, strict=True)):
            count = math.prod(piece.shape)
            if count:
                try:
                    todo.append((number, self._place(measurement, number, count, file)))
                except (BadLayout, Unreadable) as error:
                    measurement.failures.append((number, count, str(error)))
        if held < numel or measurement.failures:
            measurement.depth = "full"
        for number, place in todo:
            if isinstance(place, Small):
                self._add_small(place)
            else:
                self._add_layout(measurement, number, files[number], place)

    def _place(
        self, measurement: Measurement, number: int, count: int, file: int
    ) -> Small | Layout:
        """Where a piece of ``count`` elements lies. Raises ``BadLayout``, ``Unreadable``."""
        tensor, format = measurement.tensor, measurement.format
        piece, size = tensor.pieces[number], self.files.size(file)
        if _is_small(piece, tensor, format, count, size):
            return Small(file, piece.offset, format.nbytes(count), number, measurement)
        layout = lay_out(tensor, piece, format, size)
        if layout.lost:
            text = f"past the end of the file at byte {size}"
            measurement.failures.append((number, layout.lost, text))
        return layout

    def _add_small(self, small: Small) -> None:
        measurement = small.measurement
        format = measurement.format
        kind = (format.name, measurement.depth, measurement.tensor.big_endian)
        items = self._batches.setdefault(kind, [])
        items.append(small)
        elements = self._batched.get(kind, 0) + small.nbytes * 8 // format.bits
        self._batched[kind] = elements
        if elements > _BATCH_ELEMENTS or len(items) == _BATCH_ITEMS:
            self._close_batch(kind)

    def _close_batch(self, kind: _Kind) -> None:
        name, depth, big_endian = kind
        if self._batches[kind]:
            self._jobs.append(Batch(FORMATS[name], depth, big_endian, self._batches[kind]))
        self._batches[kind] = []
        self._batched[kind] = 0

    def _add_layout(self, measurement: Measurement, piece: int, file: int, layout: Layout) -> None:
        if not layout.blocks:
            return
        cost = max(_CALL_BYTES, measurement.format.nbytes(layout.block(0).extent))
        blocks = max(1, JOB_BYTES // cost)
        for begin in range(0, layout.blocks, blocks):
            end = min(begin + blocks, layout.blocks)
            self._stretches.append(Stretch(measurement, piece, file, layout, begin, end))
            self._stretched += (end - begin) * cost
            if self._stretched >= JOB_BYTES:
                self._close_stretches()

    def _close_stretches(self) -> None:
        if self._stretches:
            self._jobs.append(Stretches(self._stretches))
        self._stretches = []
        self._stretched = 0


def _place(piece: Piece, file: int) -> object:
    return file, piece.offset, piece.shape, piece.strides, piece.origin


def _is_small(
    piece: Piece, tensor: StoredTensor, format: NumberFormat, count: int, size: int
) -> bool:
    if count >= SMALL_ELEMENTS or piece.strides is not None:
        return False
    if format.bits % 8 or format.kind == "complex":
        return False
    whole = piece.shape == tensor.shape and piece.origin == 0
    inside = 0 <= piece.offset <= size - format.nbytes(count)
    return whole and inside and min(piece.shape, default=1) > 0
