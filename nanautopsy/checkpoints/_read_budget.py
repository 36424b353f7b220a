"""A limit on how often the bytes of a file may be measured, for files that refer to them again
and again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import StoredTensor

_FACTOR = 4
"""Tied weights are listed twice; nothing that trains lists all of its bytes five times."""
_FREE_BYTES = 64 << 20
"""So much may always be read."""


@dataclass(slots=True)
class Budgeted:
    """Tensors that may be measured, and names of those that may not."""

    tensors: list[StoredTensor] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def within_budget(tensors: Iterable[StoredTensor], file_bytes: int) -> Budgeted:
    """Sort ``tensors`` of files that hold ``file_bytes`` bytes together."""
    left = _FREE_BYTES + _FACTOR * file_bytes
    found = Budgeted()
    for tensor in tensors:
        count = sum(math.prod(piece.shape) for piece in tensor.pieces)
        left -= FORMATS[tensor.dtype].nbytes(count)
        if left >= 0:
            found.tensors.append(tensor)
        else:
            found.refused.append(tensor.name)
    return found
