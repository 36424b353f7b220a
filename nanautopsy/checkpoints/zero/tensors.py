"""The flat vectors of all ranks, put together parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.checkpoints.zero.groups import Group, Vector, subgroup_sizes
from nanautopsy.checkpoints.zero.maps import Span, cut


@dataclass(frozen=True, slots=True)
class Assembled:
    """One tensor, and how much of it is there."""

    tensor: StoredTensor
    present: int
    """Elements that the files hold."""


def assemble(group: Group, tell_rank: bool) -> Iterator[Assembled]:
    """Every parameter's master weights and moments, or the vectors as they are where it is not
    known what lies where. ``tell_rank``: the data-parallel rank is the run's rank."""
    for vector in group.vectors:
        if group.spans is not None:
            yield from _by_parameter(group, vector, tell_rank)
        elif group.ranks[0].is_third_stage:
            yield from _by_rank(group, vector, tell_rank)
        else:
            yield _whole_group(group, vector, tell_rank)


def piece_of(
    flat: StoredTensor, at: int, count: int, origin: int, rank: int | None
) -> Piece | None:
    """Elements ``at`` and following of a flat tensor, as many of ``count`` as the file holds."""
    if len(flat.pieces) != 1 or len(flat.shape) != 1 or flat.pieces[0].strides is not None:
        return None
    whole = flat.pieces[0]
    width = FORMATS[flat.dtype].bits // 8
    offset = whole.offset + at * width
    count = min(count, flat.numel - at, (whole.file.size - offset) // width)
    return Piece(whole.file, offset, (count,), None, origin, rank) if count > 0 else None


def _by_parameter(group: Group, vector: Vector, tell_rank: bool) -> Iterator[Assembled]:
    pieces: dict[str, list[Piece]] = {name: [] for name in group.shapes}
    sizes = subgroup_sizes(group.vectors)
    dtype, big_endian = _format(vector)
    for one, row, spans in zip(group.ranks, vector.tensors, group.spans or (), strict=True):
        rank = one.rank if tell_rank else None
        alike = [flat if flat is not None and flat.dtype == dtype else None for flat in row]
        for span in spans:
            pieces[span.parameter] += _pieces(span, alike, sizes, rank)
    for name, shape in group.shapes.items():
        tensor = StoredTensor(
            name=f"{name}.{vector.kind}",
            dtype=dtype,
            shape=shape,
            pieces=tuple(sorted(pieces[name], key=_origin)),
            part=vector.part,
            parameter=name,
            moment=None if vector.part == "master" else vector.kind,
            big_endian=big_endian,
        )
        yield Assembled(tensor, _count(tensor.pieces))


def _pieces(
    span: Span, row: Sequence[StoredTensor | None], sizes: Sequence[int], rank: int | None
) -> Iterator[Piece]:
    for number, part in cut(span, sizes):
        flat = row[number] if number < len(row) else None
        piece = None if flat is None else piece_of(flat, part.at, part.count, part.first, rank)
        if piece is not None:
            yield piece


def _whole_group(group: Group, vector: Vector, tell_rank: bool) -> Assembled:
    """Stages 1 and 2: the group as one vector, to the end of the last part that is here."""
    pieces = []
    length = 0
    for one, place, row in zip(group.ranks, group.places, vector.tensors, strict=True):
        flat = row[0] if row else None
        if flat is not None:
            length = max(length, place * group.size + flat.numel)
            rank = one.rank if tell_rank else None
            piece = piece_of(flat, 0, flat.numel, place * group.size, rank)
            pieces += [piece] if piece is not None else []
    name = f"group.{group.number}.{vector.kind}{group.label}"
    return _nameless(name, vector, (length,), sorted(pieces, key=_origin))


def _by_rank(group: Group, vector: Vector, tell_rank: bool) -> Iterator[Assembled]:
    """Stage 3: every rank's sub-groups apart."""
    for one, row in zip(group.ranks, vector.tensors, strict=True):
        for number, flat in enumerate(row):
            if flat is None:
                continue
            rank = one.rank if tell_rank else None
            piece = piece_of(flat, 0, flat.numel, 0, rank)
            name = f"group.{number}.{vector.kind}@rank_{one.rank}"
            yield _nameless(name, vector, flat.shape, [] if piece is None else [piece])


def _nameless(name: str, vector: Vector, shape: tuple[int, ...], pieces: list[Piece]) -> Assembled:
    dtype, big_endian = _format(vector)
    moment = None if vector.part == "master" else vector.kind
    tensor = StoredTensor(
        name, dtype, shape, tuple(pieces), vector.part, moment=moment, big_endian=big_endian
    )
    return Assembled(tensor, _count(tensor.pieces))


def _format(vector: Vector) -> tuple[str, bool]:
    """Dtype and byte order of its tensors; all ranks' are alike."""
    found = (tensor for row in vector.tensors for tensor in row if tensor is not None)
    return next(((tensor.dtype, tensor.big_endian) for tensor in found), ("F32", False))


def _origin(piece: Piece) -> int:
    return piece.origin if isinstance(piece.origin, int) else 0


def _count(pieces: Iterable[Piece]) -> int:
    return sum(math.prod(piece.shape) for piece in pieces)
