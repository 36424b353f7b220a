"""Cutting flat vectors back into parameters, for any shapes and any number of ranks."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanautopsy.checkpoints.data_file import LocalFile
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.checkpoints.torch_objects import Storages
from nanautopsy.checkpoints.zero.files import FileName, Slices, StateFile
from nanautopsy.checkpoints.zero.groups import groups_of
from nanautopsy.checkpoints.zero.maps import (
    cut,
    length_of_part,
    length_of_slices,
    spans_of_part,
    spans_of_slices,
)

SHAPES = st.lists(st.lists(st.integers(0, 7), max_size=3).map(tuple), min_size=1, max_size=8).map(
    lambda shapes: {f"p{i}": shape for i, shape in enumerate(shapes)}
)
PADDING = -1


def parameters_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.int64]]:
    """Every element another number."""
    found, start = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        found[name] = np.arange(start, start + count)
        start += count
    return found


@given(SHAPES, st.integers(1, 9), st.data())
def test_parts_of_a_flat_group(
    shapes: dict[str, tuple[int, ...]], ranks: int, data: st.DataObject
) -> None:
    gaps = data.draw(st.lists(st.integers(0, 7), min_size=len(shapes), max_size=len(shapes)))
    values = parameters_of(shapes)
    flat = np.concatenate(
        [np.append(v, [PADDING] * gap) for v, gap in zip(values.values(), gaps, strict=True)]
    )
    size = length_of_part(shapes, gaps, ranks)
    assert size * ranks >= len(flat)
    flat = np.append(flat, [PADDING] * (size * ranks - len(flat)))
    rebuilt = {name: np.full(len(v), PADDING) for name, v in values.items()}
    for rank in range(ranks):
        part = flat[rank * size : (rank + 1) * size]
        for span in spans_of_part(shapes, gaps, rank, size):
            rebuilt[span.parameter][span.first : span.first + span.count] = part[
                span.at : span.at + span.count
            ]
    for name, expected in values.items():
        assert np.array_equal(rebuilt[name], expected)


@given(SHAPES, st.integers(1, 9), st.data())
def test_slices_of_every_parameter(
    shapes: dict[str, tuple[int, ...]], ranks: int, data: st.DataObject
) -> None:
    values = parameters_of(shapes)
    rebuilt = {name: np.full(len(v), PADDING) for name, v in values.items()}
    for rank in range(ranks):
        slices = []
        for value in values.values():
            share = -(-len(value) // ranks)
            padded = np.append(value, [PADDING] * (share * ranks - len(value)))
            slices.append(padded[rank * share : (rank + 1) * share])
        vector = np.concatenate(slices)
        assert len(vector) == length_of_slices(shapes, ranks)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(vector)), max_size=3)))
        pieces = np.split(vector, cuts)
        for span in spans_of_slices(shapes, rank, ranks):
            for number, part in cut(span, [len(piece) for piece in pieces]):
                held = pieces[number][part.at : part.at + part.count]
                assert len(held) == part.count
                rebuilt[part.parameter][part.first : part.first + part.count] = held
    for name, expected in values.items():
        assert np.array_equal(rebuilt[name], expected)


def test_what_lies_behind_the_last_piece_is_left_out() -> None:
    (span,) = spans_of_slices({"p": (10,)}, 0, 1)
    assert [(number, part.count) for number, part in cut(span, [4, 3])] == [(0, 4), (1, 3)]


def test_counts_that_lie_cost_no_time() -> None:
    file = LocalFile("f", Path("f"))
    flat = StoredTensor("", "F32", (4,), (Piece(file, 0, (4,)),))
    source = StateFile(FileName("optimizer", "", 0), file, {}, Storages(file), Storages(file))
    one = Slices(source, 0, weights=[flat, flat], counts=[1 << 59, 1], stage=2)
    begin = time.monotonic()
    groups = list(groups_of([one], [{"p": (4,)}, {"deepspeed_experts.0.w": (4,)}], 1 << 59))
    assert time.monotonic() - begin < 1
    assert [group.number for group in groups] == [0, 1]
