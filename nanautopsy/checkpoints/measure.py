"""Stored tensors in, their health out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nanautopsy.checkpoints.data_file import read_blocks
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.health import ShortTensor, measure
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.model import Depth, Problem, Source, TensorHealth


def measure_all(
    tensors: Sequence[StoredTensor],
    depth: Depth,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[TensorHealth | Problem]:
    """One result a tensor, in the order given; a ``Problem`` for one that cannot be read.

    ``on_bytes`` is told how many bytes were measured since it was told last.
    """
    for tensor in tensors:
        yield _measure_one(tensor)
        if on_bytes is not None:
            on_bytes(FORMATS[tensor.dtype].nbytes(tensor.numel))


def _measure_one(tensor: StoredTensor) -> TensorHealth | Problem:
    piece = tensor.pieces[0]
    nbytes = FORMATS[tensor.dtype].nbytes(tensor.numel)
    try:
        with piece.file.open() as handle:
            blocks = read_blocks(handle, piece.offset, nbytes)
            health = measure(tensor.name, tensor.dtype, tensor.shape, blocks, piece.file.path)
    except (ShortTensor, OSError) as error:
        source = Source(piece.file.path, tensor=tensor.name, offset=piece.offset)
        return Problem(f"tensor {tensor.name!r} cannot be read: {error}", source)
    return replace(
        health,
        part=tensor.part,
        parameter=tensor.parameter,
        moment=tensor.moment,
        rank=piece.rank,
    )
