"""An inspection as a table for other programs: one row a tensor, numbers unrounded.

Empty cells are not known. The header's first columns tell :mod:`nanautopsy.own_reports` that the
file is no evidence.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TypeAlias

from nanautopsy.checkpoint_diff import TensorDiff
from nanautopsy.inspection import Inspection
from nanautopsy.model import TensorHealth
from nanautopsy.render._clean import clean, one_line
from nanautopsy.render._inspect_rows import Row, in_order, rows_of

COLUMNS = (
    *("checkpoint", "checkpoint_step", "tensor", "part", "parameter", "moment", "dtype", "shape"),
    *("elements", "nan", "pos_inf", "neg_inf", "zero", "subnormal", "max_abs", "min_abs", "rms"),
    *("headroom", "fp16_headroom", "first_nonfinite", "nonfinite_rows", "rank", "file", "depth"),
    "note",
)
DIFF_COLUMNS = (
    *("tensor", "tensor_change", "identical", "dtype_before", "dtype_after", "shape_before"),
    *("shape_after", "nonfinite_before", "nonfinite_after", "max_abs_before", "max_abs_after"),
    *("rms_before", "rms_after", "differing_elements", "largest_difference", "turned_elements"),
)
_Cell: TypeAlias = "str | int | float | None"


def render(inspection: Inspection, *, sort: str = "worst", top: int | None = None) -> str:
    """The rows of every measured checkpoint, each sorted alike. ``top``: rows of each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if inspection.diff is not None:
        writer.writerow(DIFF_COLUMNS)
        writer.writerows(_shown(_diff_cells(tensor)) for tensor in inspection.diff.tensors)
        return out.getvalue()
    writer.writerow(COLUMNS)
    for member in inspection.inspected:
        rows = in_order(rows_of([member]), sort, top or None)
        writer.writerows(_shown(_cells(row)) for row in rows)
    return out.getvalue()


def _shown(cells: Iterator[_Cell]) -> list[_Cell]:
    return [one_line(clean(cell)) if isinstance(cell, str) else cell for cell in cells]


def _cells(row: Row) -> Iterator[_Cell]:
    tensor, checkpoint = row.tensor, row.owner.checkpoint
    yield from (checkpoint.path, checkpoint.step, tensor.name, tensor.part, tensor.parameter)
    yield from (tensor.moment, tensor.dtype, _sizes(tensor.shape), tensor.numel, tensor.nan)
    yield from (tensor.pos_inf, tensor.neg_inf, tensor.zero, tensor.subnormal, tensor.max_abs)
    yield from (tensor.min_abs, tensor.rms, tensor.headroom, tensor.fp16_headroom)
    yield None if tensor.first_nonfinite is None else _sizes(tensor.first_nonfinite)
    yield None if tensor.bad_rows is None else tensor.bad_rows.count
    yield from (tensor.rank, tensor.path, tensor.depth, row.note)


def _diff_cells(tensor: TensorDiff) -> Iterator[_Cell]:
    before, after, elements = tensor.before, tensor.after, tensor.elements
    yield tensor.name
    yield "new" if before is None else "gone" if after is None else "both"
    yield None if elements is None else str(tensor.identical).lower()
    yield from (_value(before, "dtype"), _value(after, "dtype"))
    yield None if before is None else _sizes(before.shape)
    yield None if after is None else _sizes(after.shape)
    for name in ("nonfinite", "max_abs", "rms"):
        yield from (_value(before, name), _value(after, name))
    yield from (
        (None, None, None)
        if elements is None
        else (
            elements.differing,
            elements.largest,
            elements.turned,
        )
    )


def _value(tensor: TensorHealth | None, name: str) -> _Cell:
    return getattr(tensor, name, None)


def _sizes(numbers: tuple[int, ...]) -> str:
    """``4096x512``; empty for a scalar."""
    return "x".join(map(str, numbers))
