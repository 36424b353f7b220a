"""How the elements of one piece of a tensor lie in its file, cut into blocks to read.

The *storage order* of a piece is that of its elements' bytes, whatever its dimensions are. A piece
without gaps is one run of bytes; of any other, the blocks are the runs and what lies between them,
as long as that is little, so that no more is read than the piece spans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import NumberFormat
from nanautopsy.checkpoints.stored import Piece, StoredTensor

BLOCK_BYTES = 1 << 20
"""Read and judged at once: it stays in a core's own cache, and calls cost little beside it."""
_FAR_BYTES = 1 << 15
"""A gap of more is not read but skipped: about what one more system call costs."""
_MAX_ELEMENTS = 1 << 60
"""More has no place in any file, and their numbers none in an int64."""

_Dims: TypeAlias = "tuple[tuple[int, int], ...]"
"""(size, distance in elements) of each dimension, the farthest distance first."""


class BadLayout(ValueError):
    """The piece cannot be what it says; the text says why."""


@dataclass(frozen=True, slots=True)
class Block:
    """Neighboring bytes of a file and the elements among them."""

    offset: int
    """First byte."""
    extent: int
    """Elements from the first to the last, gaps included."""
    start: int
    """Number of its first element in storage order."""
    count: int
    """Elements of the piece among them."""
    dims: _Dims | None
    """How the elements lie among them; ``None``: without gaps."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One piece, element by element."""

    offset: int
    bits: int
    count: int
    """Different elements that are stored inside the file."""
    lost: int
    """Elements that lie past the file's end."""
    repeat: int
    """How often each of them stands in the tensor (dimensions of stride 0)."""
    runs: _Dims
    """Dimensions as they lie in the file, neighbors without a gap merged into one."""
    split: int
    """Which of ``runs`` is cut into groups of ``group``; those after it lie within a block."""
    group: int
    base: int
    """Row-major index, in the whole tensor, of element 0 in storage order."""
    axes: _Dims
    """Size and row-major step of each dimension, in storage order."""
    linear: bool
    """Element i in storage order is row-major element ``base + i``."""
    monotone: bool
    """Storage order and row-major order agree."""
    rows_ascend: bool
    """The tensor's rows lie in the file one after the other."""
    rows_cycle: bool
    """Neighbors in the file belong to neighboring rows: the first dimension runs fastest."""
    repeats_rows: tuple[int, int] | None
    """Rows (first, past the last) that are all the same; (0, 0) where rows differ; ``None`` where
    elements repeat in a way that is not worked out."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        if not self.count:
            return 0
        outer = math.prod(size for size, _ in self.runs[: self.split])
        return outer * -(-self.runs[self.split][0] // self.group)

    def block(self, number: int) -> Block:
        """One of them, in storage order."""
        size, step = self.runs[self.split]
        outer, place = divmod(number, -(-size // self.group))
        element, start = place * self.group * step, place * self.group
        weight = size
        for n, distance in reversed(self.runs[: self.split]):
            outer, index = divmod(outer, n)
            element += index * distance
            start += index * weight
            weight *= n
        inner = self.runs[self.split + 1 :]
        within = math.prod(n for n, _ in inner)
        members = min(self.group, size - place * self.group)
        dims = ((members, step), *inner)
        extent = _extent(dims)
        count = members * within
        offset = self.offset + element * self.bits // 8
        return Block(offset, extent, start * within, count, None if extent == count else dims)

    def row_major(self, position: int) -> int:
        """The row-major index, in the whole tensor, of an element in storage order."""
        if self.linear:
            return self.base + position
        index = self.base
        for size, step in reversed(self.axes):
            position, here = divmod(position, size)
            index += here * step
        return index

    def row_majors(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for many."""
        if self.linear:
            return positions + self.base
        indices = np.full(len(positions), self.base, dtype=np.int64)
        for size, step in reversed(self.axes):
            positions, here = np.divmod(positions, size)
            indices += here * step
        return indices


def lay_out(tensor: StoredTensor, piece: Piece, format: NumberFormat, file_size: int) -> Layout:
    """Work out where the elements of a piece lie. Raises :class:`BadLayout`."""
    corner = _check(tensor, piece)
    sizes = piece.shape
    strides = piece.strides if piece.strides is not None else row_major_strides(sizes)
    steps = row_major_strides(sizes if corner is None else tensor.shape)
    real = [d for d, size in enumerate(sizes) if size > 1 and strides[d] > 0]
    real.sort(key=lambda d: -strides[d])
    runs = _merged(tuple((sizes[d], strides[d]) for d in real))
    axes = tuple((sizes[d], steps[d]) for d in real)
    if format.bits % 8 and (len(runs) > 1 or runs[0][1] != 1):
        raise BadLayout(f"{format.name} elements with gaps between them")
    whole = math.prod(size for size, _ in runs)
    runs = _clipped(runs, (file_size - piece.offset) * 8 // format.bits)
    count = math.prod(size for size, _ in runs)
    repeat = math.prod(sizes[d] for d in range(len(sizes)) if not strides[d])
    split, group = _cut(runs, format)
    return Layout(
        offset=piece.offset,
        bits=format.bits,
        count=count,
        lost=(whole - count) * repeat,
        repeat=repeat,
        runs=runs,
        split=split,
        group=group,
        base=_first(piece, steps),
        axes=axes,
        linear=_is_linear(axes),
        monotone=all(a[1] > b[1] for a, b in pairwise(axes)),
        rows_ascend=_is_linear(axes) or bool(corner and axes and axes[0][1] == steps[0]),
        rows_cycle=bool(corner and axes and axes[-1][1] == steps[0]),
        repeats_rows=_repeated_rows(corner, sizes, strides, repeat),
    )


def _first(piece: Piece, steps: tuple[int, ...]) -> int:
    """Row-major index, in the tensor, of the piece's first element."""
    if isinstance(piece.origin, int):
        return piece.origin
    return sum(place * step for place, step in zip(piece.origin, steps, strict=True))


def _repeated_rows(
    corner: tuple[int, ...] | None, sizes: tuple[int, ...], strides: tuple[int, ...], repeat: int
) -> tuple[int, int] | None:
    if corner is None:
        return (0, 0) if repeat == 1 else None
    if sizes and sizes[0] > 1 and not strides[0]:
        return corner[0], corner[0] + sizes[0]
    return 0, 0


def row_major_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Distances between neighbors, in elements, of a row-major array without gaps."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _check(tensor: StoredTensor, piece: Piece) -> tuple[int, ...] | None:
    """The corner of a box; ``None`` for a slice of the flattened tensor."""
    shape, origin = piece.shape, piece.origin
    strides = (0,) * len(shape) if piece.strides is None else piece.strides
    if len(strides) != len(shape) or min((*shape, *strides, piece.offset, 0)) < 0:
        raise BadLayout("impossible shape, strides or offset")
    count = math.prod(shape)
    if max(count, tensor.numel) > _MAX_ELEMENTS:
        raise BadLayout(f"{count} elements are more than any file holds")
    if isinstance(origin, int):
        if origin < 0 or origin + count > tensor.numel:
            raise BadLayout(f"elements {origin} to {origin + count} of only {tensor.numel}")
        return (0,) * len(shape) if shape == tensor.shape else None
    inside = len(origin) == len(shape) == len(tensor.shape) and min((*origin, 0)) >= 0
    ends = [place + size for place, size in zip(origin, shape, strict=False)]
    if not inside or any(end > size for end, size in zip(ends, tensor.shape, strict=True)):
        text = f"a part of shape {list(shape)} at {list(origin)} does not lie in the tensor"
        raise BadLayout(f"{text} of shape {list(tensor.shape)}")
    return origin


def _merged(dims: _Dims) -> _Dims:
    """Dimensions between which there is no gap, as one; at least one is left."""
    merged: list[tuple[int, int]] = []
    for size, step in dims:
        if merged and merged[-1][1] == size * step:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    for number, (_, step) in enumerate(merged):
        if step < _extent(tuple(merged[number + 1 :])):
            raise BadLayout("elements overlap in the file")
    return tuple(merged) or ((1, 1),)


def _clipped(runs: _Dims, available: int) -> _Dims:
    """What of it lies within the first ``available`` elements."""
    (size, step), inner = runs[0], runs[1:]
    fitting = (available - _extent(inner)) // step + 1
    return ((max(0, min(size, fitting)), step), *inner)


def _extent(dims: _Dims) -> int:
    """Elements from the first to the last."""
    return 1 + sum((size - 1) * step for size, step in dims)


def _cut(runs: _Dims, format: NumberFormat) -> tuple[int, int]:
    """Which dimension is cut into groups to make blocks, and how many belong to a group."""
    limit = max(64, BLOCK_BYTES * 8 // format.bits // 64 * 64)
    split = len(runs) - 1
    far = _FAR_BYTES * 8 // format.bits
    while split and _extent(runs[split:]) <= limit and _gap(runs, split - 1) <= far:
        split -= 1
    inner = _extent(runs[split + 1 :])
    step = runs[split][1]
    if _gap(runs, split) > far:
        return split, 1
    return split, max(1, (limit - inner) // step + 1)


def _gap(runs: _Dims, number: int) -> int:
    """Elements between two neighbors along one dimension that belong to neither."""
    return runs[number][1] - _extent(runs[number + 1 :])


def _is_linear(axes: _Dims) -> bool:
    expected = 1
    for size, step in reversed(axes):
        if step != expected:
            return False
        expected *= size
    return True
