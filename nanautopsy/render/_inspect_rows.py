"""Which tensors an inspection shows, and in which order: the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nanautopsy.checkpoints.damage import parameter_name
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.discover import natural_key
from nanautopsy.inspection import Inspected, Inspection
from nanautopsy.layers import forward_key
from nanautopsy.model import TensorHealth
from nanautopsy.render._facts import badness, tensor_note

_Key: TypeAlias = Any
"""Sorts; of another shape for every order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of one checkpoint."""

    tensor: TensorHealth
    owner: Inspected
    by_design: bool
    """It is non-finite, and that is no damage."""

    @property
    def note(self) -> str:
        """What is remarkable, in two words at most."""
        return "by design" if self.by_design else tensor_note(self.tensor)

    @property
    def bytes(self) -> int:
        """Of the tensor."""
        return FORMATS[self.tensor.dtype].nbytes(self.tensor.numel)


def rows_of(members: Iterable[Inspected]) -> list[Row]:
    """Every measured tensor of these checkpoints."""
    rows = []
    for member in members:
        harmless = frozenset(member.by_design)
        rows += [Row(t, member, t.name in harmless) for t in member.checkpoint.tensors]
    return rows


def telling_rows(inspection: Inspection) -> list[Row]:
    """The tensors of the one checkpoint of each history that tells most."""
    return rows_of(history.telling for history in inspection.histories)


def in_order(rows: Iterable[Row], sort: str, top: int | None = None) -> list[Row]:
    """The rows sorted by a key of :data:`SORTS`, the first ``top``; equal ones by name."""
    keyed = [(SORTS[sort](row), row) for row in rows]
    if top is not None and top < len(keyed):
        # Names are taken apart only for the rows that may come first.
        last = sorted(key for key, _ in keyed)[top]
        keyed = [(key, row) for key, row in keyed if key <= last]
    keyed.sort(key=lambda pair: (pair[0], natural_key(pair[1].tensor.name)))
    return [row for _, row in keyed[:top]]


def _worst(row: Row) -> _Key:
    rank, much, _ = badness(row.tensor)
    if row.by_design:
        return (1.5, 0.0)
    return (3, 0.0) if rank and is_counter(row.tensor) else (rank, much)


def is_counter(tensor: TensorHealth) -> bool:
    """Numbers of which the size tells nothing: steps, seeds, states of generators."""
    return tensor.part == "state" or tensor.moment == "step" or tensor.format_max is None


def _most(value: Callable[[Row], float | None]) -> Callable[[Row], _Key]:
    """Largest first, those without a value last."""

    def key(row: Row) -> _Key:
        number = value(row)
        return (number is None, -(number or 0.0))

    return key


def _least(value: Callable[[Row], float | None]) -> Callable[[Row], _Key]:
    """Smallest first, those without a value last."""

    def key(row: Row) -> _Key:
        number = value(row)
        return (number is None, number or 0.0)

    return key


def share(count: int | None, tensor: TensorHealth) -> float | None:
    """Part of the tensor's elements, 0 to 1."""
    return None if count is None or not tensor.numel else count / tensor.numel


SORTS: Mapping[str, Callable[[Row], _Key]] = {
    "worst": _worst,
    "forward": lambda row: forward_key(parameter_name(row.tensor)),
    "name": lambda row: natural_key(row.tensor.name),
    "file": lambda row: natural_key(row.tensor.path),
    "nonfinite": _most(lambda row: row.tensor.nonfinite),
    "nan": _most(lambda row: row.tensor.nan),
    "inf": _most(lambda row: row.tensor.pos_inf + row.tensor.neg_inf),
    "zero": _most(lambda row: share(row.tensor.zero, row.tensor)),
    "subnormal": _most(lambda row: share(row.tensor.subnormal, row.tensor)),
    "max": _most(lambda row: row.tensor.max_abs),
    "min": _least(lambda row: row.tensor.min_abs),
    "rms": _most(lambda row: row.tensor.rms),
    "headroom": _least(lambda row: row.tensor.headroom),
    "fp16": _least(lambda row: row.tensor.fp16_headroom),
    "size": _most(lambda row: row.bytes),
}
"""What ``--sort`` can sort by: the worst, the most or the scarcest first."""
