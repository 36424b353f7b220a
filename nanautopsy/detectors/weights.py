"""The first checkpoint whose weights are not finite, against the last sound one before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanautopsy.checkpoints.damage import (
    constant_infinities,
    damaged,
    damaged_moments,
    parameter_name,
    weights,
)
from nanautopsy.checkpoints.lineages import lineages, ordered_ones
from nanautopsy.detectors.interface import Detector
from nanautopsy.layers import in_forward_order
from nanautopsy.model import Checkpoint, Finding, Run, TensorHealth
from nanautopsy.wording import counted, listed, phrase, shortlist

_SPREAD_SHARE = 0.5
"""Share of the tensors beyond which damage has spread."""
_FLIPPED = 2
"""Elements: two bits that flip between two checkpoints are one defect's."""
_MANY = 8
"""Elements of which one is a single one: a vector of a norm has as many as its layer is wide."""


def _detect(run: Run) -> Iterator[Finding]:
    lines = lineages([c for c in run.checkpoints if weights(c)])
    for line in ordered_ones(lines, lambda line: any(_bad(c, line) for c in line)):
        first = next((i for i, c in enumerate(line) if _bad(c, line)), None)
        if first is not None:
            yield _turned(line, first)


def _bad(checkpoint: Checkpoint, line: Sequence[Checkpoint]) -> list[TensorHealth]:
    by_design = constant_infinities(line)
    return [t for t in damaged(checkpoint) if t.name not in by_design]


def _turned(line: Sequence[Checkpoint], first: int) -> Finding:
    checkpoint = line[first]
    by_name = {t.name: t for t in _bad(checkpoint, line)}
    bad = [by_name[name] for name in in_forward_order(list(by_name))]
    floats = weights(checkpoint)
    good = [c for c in line[:first] if c.step is not None]
    everything = len(bad) == len(floats)
    telling = tells_layer(bad, len(floats))
    rows = rows_of(bad[0]) if telling else ""
    text = phrase(
        "{bad} of {all} tensors of {path} hold non-finite values: {names}{step}{rows}",
        bad=len(bad),
        all=len(floats),
        path=checkpoint.path,
        names=phrase("all of them")
        if everything and len(bad) > 1
        else shortlist([t.name for t in bad]),
        step="" if checkpoint.step is None else phrase(" (step {step})", step=checkpoint.step),
        rows=phrase(", in {rows}", rows=rows) if rows else "",
    )
    return Finding(
        id="nonfinite-parameters",
        text=text,
        source=bad[0].at(),
        step=checkpoint.step,
        last_good=good[-1].step if good else None,
        layer=parameter_name(bad[0]) if telling else None,
        data={
            "tensors": tuple(dict.fromkeys(parameter_name(t) for t in bad)),
            "everything": everything,
            "tells_layer": telling,
            "value": "nan" if any(t.nan for t in bad) else "inf",
            "persistent": all(_bad(later, line) for later in line[first:]),
            "holds": checkpoint.holds,
            "first_checkpoint": first == 0,
            # Of a gathered weight only the optimizer's parts of it tell whose it was.
            "rank": one_rank(checkpoint, [*bad, *damaged_moments(checkpoint)]),
            "elements": sum(t.nonfinite for t in bad),
            "throughout": all(t.nonfinite == t.numel for t in bad),
            "rows": rows_of(bad[0]) if len(bad) == 1 else None,
            "last_rows": len(bad) == 1 and _are_last(bad[0]),
            "stretch": len(bad) == 1 and _is_stretch(bad[0]),
            "flipped": len(bad) == 1 and _is_flipped(bad[0]),
            "lone": len(bad) == 1 and _is_lone(bad[0]),
            "whole_rows": len(bad) == 1 and bad[0].bad_rows is not None and bad[0].bad_rows.whole,
        },
    )


def tells_layer(bad: Sequence[TensorHealth], among: int) -> bool:
    """Whether the damage is still where it arose.

    One NaN gradient turns every trained tensor NaN throughout within a step or two (the norm, the
    clip coefficient and the next forward pass all spread it); what is left then is only what was
    frozen. Damage in a few tensors, or in some elements of fewer than half, has not spread.
    ``among``: how many tensors of the kind there are.
    """
    share = len(bad) / among
    partly = any(t.nonfinite < t.numel for t in bad)
    return len(bad) == 1 or share <= (_SPREAD_SHARE if partly else _SPREAD_SHARE / 2)


def rows_of(tensor: TensorHealth) -> str:
    """Which rows hold the damage, where these are not all and lie together."""
    rows = tensor.bad_rows
    if rows is None or rows.count == tensor.shape[0] or len(rows.ranges) > 3:
        return ""
    runs = [
        str(a) if b - a == 1 else phrase("{first} to {last}", first=a, last=b - 1)
        for a, b in rows.ranges
    ]
    return counted(
        rows.count,
        "row {rows} of {all}",
        "rows {rows} of {all}",
        rows=listed(runs),
        all=tensor.shape[0],
    )


def _are_last(tensor: TensorHealth) -> bool:
    """Whether the damaged rows are the last ones of a table, which is where it grew."""
    rows = tensor.bad_rows
    if rows is None or len(tensor.shape) < 2 or rows.count == tensor.shape[0]:
        return False
    return len(rows.ranges) == 1 and rows.ranges[0][1] == tensor.shape[0]


def _is_flipped(tensor: TensorHealth) -> bool:
    """Whether less than a row and less than a column of a matrix is damaged, one element or two.

    The gradient of a matrix is a product of what comes in and what comes back: one bad number in
    either spoils a whole row or a whole column.
    """
    rows = tensor.shape[0] if len(tensor.shape) > 1 else 0
    least = min(rows, tensor.numel // rows) if rows else 0
    return tensor.nonfinite <= _FLIPPED and tensor.nonfinite < least


def _is_lone(tensor: TensorHealth) -> bool:
    """Whether one element of many is damaged, in a format in which no eps flushes to zero."""
    return tensor.nonfinite == 1 and tensor.numel >= _MANY and tensor.dtype in ("F32", "F64")


def _is_stretch(tensor: TensorHealth) -> bool:
    """Whether more than a row of non-finite elements fills one run of neighboring rows but for
    its two ends."""
    rows = tensor.bad_rows
    if rows is None or rows.whole or len(rows.ranges) != 1 or tensor.shape[0] == 0:
        return False
    per_row = tensor.numel // tensor.shape[0]
    return rows.count >= 3 and (rows.count - 2) * per_row < tensor.nonfinite < rows.count * per_row


def one_rank(checkpoint: Checkpoint, bad: Sequence[TensorHealth]) -> int | None:
    """The only rank whose own part of the tensors is damaged, where there are several ranks."""
    several = len({t.rank for t in checkpoint.tensors if t.rank is not None}) > 1
    state = checkpoint.state.get("world_size")
    several = several or (isinstance(state, int) and state > 1)
    ranks = {t.rank for t in bad if t.rank is not None}
    return ranks.pop() if several and len(ranks) == 1 else None


DETECTOR = Detector("weights", _detect)
