"""Where the elements of each parameter lie in the flat vectors that ZeRO keeps on every rank.

Stages 1 and 2 lay the parameters of a group one behind the other and cut that vector into equal
parts, one a rank (``deepspeed/runtime/zero/stage_1_and_2.py``). Stage 3 cuts every parameter by
itself into equal parts, and each rank lays its own parts one behind the other
(``deepspeed/runtime/zero/partition_parameters.py``). Both pad the end to a round number of
elements; what lies there belongs to no parameter.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Parameters of one group, in the order in which they were flattened."""

START_ALIGNMENT = 2
"""Each part of a stage 1 or 2 group has a multiple of so many elements."""


@dataclass(frozen=True, slots=True)
class Span:
    """Elements of one parameter that lie together in one rank's vector."""

    parameter: str
    first: int
    """Row-major index in the parameter."""
    at: int
    """Index in the rank's vector."""
    count: int


def spans_of_part(shapes: Shapes, gaps: Sequence[int], part: int, size: int) -> Iterator[Span]:
    """Stages 1 and 2: what lies in part number ``part`` of a group cut into parts of ``size``.

    ``gaps``: unused elements behind each parameter, where the group was aligned; may be empty.
    """
    begin, end = part * size, (part + 1) * size
    start = 0
    for number, (name, shape) in enumerate(shapes.items()):
        count = math.prod(shape)
        low, high = max(start, begin), min(start + count, end)
        if low < high:
            yield Span(name, low - start, low - begin, high - low)
        start += count + (gaps[number] if number < len(gaps) else 0)
        if start >= end:
            return


def spans_of_slices(shapes: Shapes, rank: int, ranks: int) -> Iterator[Span]:
    """Stage 3: what lies in one rank's vector, all sub-groups of it joined."""
    at = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        share = -(-count // ranks)
        first = rank * share
        if first < count:
            yield Span(name, first, at, min(share, count - first))
        at += share


def cut(span: Span, sizes: Sequence[int]) -> Iterator[tuple[int, Span]]:
    """(number of the piece, span within it) of a span in a vector kept in pieces of ``sizes``.

    What lies beyond the last piece is left out.
    """
    starts = [0, *accumulate(sizes)]
    at, left, first = span.at, span.count, span.first
    number = bisect_right(starts, at) - 1
    while left > 0 and number < len(sizes):
        taken = min(left, starts[number + 1] - at)
        if taken > 0:
            yield number, Span(span.parameter, first, at - starts[number], taken)
            at, left, first = at + taken, left - taken, first + taken
        number += 1


def length_of_part(shapes: Shapes, gaps: Sequence[int], parts: int) -> int:
    """Stages 1 and 2: elements in each part, from the group's parameters alone."""
    total = sum(math.prod(shape) for shape in shapes.values()) + sum(gaps)
    unit = START_ALIGNMENT * parts
    return -(-total // unit) * unit // parts


def length_of_slices(shapes: Shapes, ranks: int) -> int:
    """Stage 3: elements that each rank keeps of all parameters together."""
    return sum(-(-math.prod(shape) // ranks) for shape in shapes.values())
