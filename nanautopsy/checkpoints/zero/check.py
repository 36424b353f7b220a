"""Whether a map of flat vectors is right: fp32 copies are compared with the weights themselves.

After every step the engine rounds the fp32 copies to the weights' own format, so that the two
agree bit for bit. A map that names the wrong parameters shows at a glance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.checkpoints.zero.groups import Group
from nanautopsy.checkpoints.zero.tensors import assemble

_SAMPLE = 16
"""Elements compared of one parameter."""
_MOST_PARAMETERS = 400
"""Parameters compared of one group, spread over it."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many parameters were compared, and of how many the copies agree."""

    compared: int
    equal: int

    @property
    def denies(self) -> bool:
        """The map is wrong: a flipped bit or two would not part so many."""
        return self.equal * 2 < self.compared


def agreement(group: Group, weights: Mapping[str, StoredTensor]) -> Agreement:
    """Compare the group's master weights with the ``weights`` of the model, by name."""
    only = tuple(vector for vector in group.vectors if vector.part == "master")
    masters = [
        item.tensor
        for item in assemble(replace(group, vectors=only), tell_rank=False)
        if item.tensor.pieces
    ]
    stride = max(1, len(masters) // _MOST_PARAMETERS)
    compared = equal = 0
    for master in masters[::stride]:
        weight = weights.get(master.parameter or "")
        answer = None if weight is None else _agree(master, weight)
        if answer is not None:
            compared += 1
            equal += answer
    return Agreement(compared, equal)


def _agree(master: StoredTensor, weight: StoredTensor) -> bool | None:
    """``None`` where that cannot be told: all elements alike, or a format of other numbers."""
    if master.dtype != "F32" or weight.dtype not in ("F32", "F16", "BF16"):
        return None
    if weight.numel != master.numel or len(weight.pieces) != 1 or weight.pieces[0].strides:
        return None
    piece, own = master.pieces[0], weight.pieces[0]
    count = min(_SAMPLE, piece.shape[0])
    first = piece.origin if isinstance(piece.origin, int) else 0
    width = FORMATS[weight.dtype].bits // 8
    copies = _words(piece.file, piece.offset, count, 4, master.big_endian)
    bits = _words(own.file, own.offset + first * width, count, width, weight.big_endian)
    if copies is None or bits is None:
        return None
    rounded = _round(copies, weight.dtype)
    if len(np.unique(bits)) == 1 and len(np.unique(rounded)) == 1 and count > 1:
        return None if bits[0] == rounded[0] else False
    nan = _is_nan(bits, weight.dtype) & _is_nan(rounded, weight.dtype)
    return bool(np.all((bits == rounded) | nan))


def _words(
    file: DataFile, offset: int, count: int, width: int, big_endian: bool
) -> NDArray[np.uint32] | None:
    """``count`` bit patterns; ``None`` where the file does not hold them."""
    try:
        with file.open() as handle:
            handle.seek(offset)
            data = handle.read(count * width) or b""
    except OSError:
        return None
    if len(data) < count * width:
        return None
    order = ">" if big_endian else "<"
    return np.frombuffer(data, dtype=f"{order}u{width}").astype(np.uint32)


def _round(patterns: NDArray[np.uint32], dtype: str) -> NDArray[np.uint32]:
    """float32 patterns to those of ``dtype``, to the nearest, ties to even."""
    if dtype == "F32":
        return patterns
    if dtype == "F16":
        with np.errstate(over="ignore", invalid="ignore"):
            halves = patterns.view(np.float32).astype(np.float16)
        return halves.view(np.uint16).astype(np.uint32)
    wide = patterns.astype(np.uint64)
    rounded = (wide + 0x7FFF + ((wide >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    nan = _is_nan(patterns, "F32")
    return np.asarray(np.where(nan, 0x7FC0, rounded), dtype=np.uint32)


def _is_nan(patterns: NDArray[np.uint32], dtype: str) -> NDArray[np.bool_]:
    format = FORMATS[dtype]
    magnitude = patterns & np.uint32((1 << (format.bits - 1)) - 1)
    return np.asarray(magnitude > np.uint32(format.infinity))
