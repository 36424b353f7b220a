"""What was counted over the elements of one tensor, and the health that follows from it.

The kernel (:mod:`nanautopsy.checkpoints.kernel.passes`) gives one :class:`Tally` a block; they are
added in the order of the blocks, so that the sum of squares has the same last bit however many
threads counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.kernel.bad_places import BadPlaces
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.model import BadRows, Depth, TensorHealth


@dataclass(slots=True)
class Tally:
    """Counts over some elements. After a ``finite`` measurement only ``finite`` (how many),
    ``nan``, ``pos_inf``, ``neg_inf`` and ``max_abs`` mean something."""

    finite: int = 0
    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0
    zero: int = 0
    subnormal: int = 0
    max_abs: float | None = None
    min_abs: float | None = None
    """Smallest magnitude that is not zero."""
    squares: float = 0.0
    """Sum of the finite elements' squares, over ``scale**2``."""
    scale: float = 1.0
    """A power of two; other than 1 only where squares would leave float64."""

    def add(self, other: Tally) -> None:
        """Count the elements of ``other`` too."""
        self.finite += other.finite
        self.nan += other.nan
        self.pos_inf += other.pos_inf
        self.neg_inf += other.neg_inf
        self.zero += other.zero
        self.subnormal += other.subnormal
        if other.max_abs is not None:
            self.max_abs = max(other.max_abs, self.max_abs or 0.0)
        if other.min_abs is not None:
            self.min_abs = min(other.min_abs, self.min_abs or math.inf)
        self._add_squares(other)

    def repeated(self, times: int) -> Tally:
        """The counts if each element stood there so often."""
        return Tally(
            self.finite * times,
            self.nan * times,
            self.pos_inf * times,
            self.neg_inf * times,
            self.zero * times,
            self.subnormal * times,
            self.max_abs,
            self.min_abs,
            self.squares * times,
            self.scale,
        )

    def rms(self) -> float | None:
        """Root mean square of the finite elements."""
        if not self.finite:
            return None
        return self.scale * math.sqrt(self.squares / self.finite)

    def _add_squares(self, other: Tally) -> None:
        if other.scale == self.scale or not other.squares:
            self.squares += other.squares
        elif not self.squares:
            self.squares, self.scale = other.squares, other.scale
        elif other.scale > self.scale:
            self.squares *= (self.scale / other.scale) ** 2
            self.squares += other.squares
            self.scale = other.scale
        else:
            self.squares += other.squares * (other.scale / self.scale) ** 2


TALLY_FIELDS: Mapping[str, Any] = {field.name: field.default for field in fields(Tally)}
"""Names and defaults, in order."""


def health_of(
    tensor: StoredTensor, tally: Tally, depth: Depth, places: BadPlaces | None
) -> TensorHealth:
    """The health of a tensor over which ``tally`` was counted; ``places`` where it is damaged."""
    full = depth == "full"
    at = tensor.pieces[0] if tensor.pieces else None
    first: tuple[int, ...] | None = None
    rows: BadRows | None = None
    if places is not None and places.first is not None:
        at = tensor.pieces[places.piece]
        first = unravel(places.first, tensor.shape)
        rows = places.rows(tally.nan + tally.pos_inf + tally.neg_inf)
    return TensorHealth(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        nan=tally.nan,
        pos_inf=tally.pos_inf,
        neg_inf=tally.neg_inf,
        zero=tally.zero if full else None,
        max_abs=tally.max_abs,
        rms=tally.rms() if full else None,
        format_max=FORMATS[tensor.dtype].maximum,
        first_nonfinite=first,
        path="" if at is None else at.file.path,
        subnormal=tally.subnormal if full else None,
        min_abs=tally.min_abs if full else None,
        bad_rows=rows,
        part=tensor.part,
        parameter=tensor.parameter,
        moment=tensor.moment,
        rank=None if at is None else at.rank,
        depth=depth,
    )


def unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of row-major element ``flat``; any number of dimensions, unlike NumPy's own."""
    index = []
    for size in reversed(shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(reversed(index))
