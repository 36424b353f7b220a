"""The table of what changed between two checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nanautopsy.checkpoint_diff import CheckpointDiff, TensorDiff
from nanautopsy.render._columns import Column, aside, table
from nanautopsy.render._format import count, number
from nanautopsy.render._inspect_cells import number_or_blank, percent_text, ratio, sizes_text
from nanautopsy.render._inspect_rows import share

if TYPE_CHECKING:
    from rich.text import Text


def diff_lines(diff: CheckpointDiff, width: int | None, limit: int) -> Iterator[Text]:
    from rich.text import Text

    changed = sorted((t for t in diff.tensors if not t.identical), key=_most_changed)
    if not changed:
        return
    shown = changed[:limit] if limit else changed
    yield Text()
    yield from table(_diff_columns(shown), width, ["red" if t.turned else "" for t in shown])
    if len(changed) > len(shown):
        left = len(changed) - len(shown)
        yield aside(f"... {count(left, 'more tensor')} changed (--top 0 shows all)", width)


def _most_changed(tensor: TensorDiff) -> tuple[int, float]:
    """Turned, then gone or new, then reshaped, then by how far the magnitudes moved."""
    if tensor.turned:
        return (0, 0.0)
    if tensor.before is None or tensor.after is None:
        return (1, 0.0)
    if tensor.reshaped or tensor.healed:
        return (2, 0.0)
    moved = [abs(math.log(g)) for g in (tensor.growth, tensor.rms_growth) if g]
    return (3, -max(moved, default=0.0))


def _diff_columns(tensors: Sequence[TensorDiff]) -> list[Column]:
    def pair(tensor: TensorDiff, field: str) -> str:
        sides = [getattr(side, field, None) for side in (tensor.before, tensor.after)]
        return "" if None in sides else f"{number(sides[0])} -> {number(sides[1])}"

    def column(heading: str, cells: Sequence[str], importance: int) -> Column:
        return Column(heading, tuple(cells), importance)

    def differing(tensor: TensorDiff) -> str:
        if tensor.elements is None or tensor.after is None:
            return ""
        return percent_text(share(tensor.elements.differing, tensor.after) or 0.0)

    largest = [None if t.elements is None else t.elements.largest for t in tensors]
    return [
        Column("tensor", tuple(t.name for t in tensors), 100, name=True),
        column("what", [what_changed(t) for t in tensors], 95),
        column("max |x|", [pair(t, "max_abs") for t in tensors], 70),
        column("max ratio", [ratio(t.growth) for t in tensors], 80),
        column("RMS", [pair(t, "rms") for t in tensors], 60),
        column("RMS ratio", [ratio(t.rms_growth) for t in tensors], 75),
        column("differing", [differing(t) for t in tensors], 65),
        column("max |a-b|", [number_or_blank(value) for value in largest], 68),
    ]


def what_changed(tensor: TensorDiff) -> str:
    """In a word or two."""
    before, after = tensor.before, tensor.after
    if before is None or after is None:
        return "new" if before is None else "gone"
    if tensor.turned:
        return "turned non-finite"
    if tensor.healed:
        return "finite again"
    if before.shape != after.shape:
        return f"{sizes_text(before.shape)} -> {sizes_text(after.shape)}"
    if before.dtype != after.dtype:
        return f"{before.dtype} -> {after.dtype}"
    if after.nonfinite:
        return "still non-finite"
    return "identical" if tensor.identical else "changed"
