"""The report's tables of checkpoints and of their tensors, before any HTML."""

from __future__ import annotations

from collections.abc import Mapping

from nanautopsy.checkpoints.damage import damaged, damaged_moments
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.model import Autopsy, Checkpoint, TensorHealth
from nanautopsy.render._anchors import Anchors, cited, tensor_key
from nanautopsy.render._facts import BY_DESIGN, tensor_note, worst_first
from nanautopsy.render._format import number, shape
from nanautopsy.render._table import Cell, Row, Table, capped, code, integer, short, table, text
from nanautopsy.render._table import number as number_cell
from nanautopsy.wording import Phrase, phrase

MAX_TENSORS = 600
"""Tensors of all checkpoints together; those that the report cites come on top."""
MAX_CHECKPOINTS = 200
AMPLE_HEADROOM = 1e6
_Places = set[tuple[str, str | None]]
"""Path of a file or a checkpoint, and a tensor's name."""
_HOLDS: Mapping[str, Phrase] = {
    "model": phrase("model"),
    "optimizer": phrase("optimizer"),
    "adapter": phrase("adapter"),
    "unknown": phrase("unknown"),
}


def checkpoints(autopsy: Autopsy, anchors: Anchors) -> Table:
    """One row a checkpoint."""
    shown, left_out = capped(autopsy.run.checkpoints, MAX_CHECKPOINTS)
    rows = [_checkpoint(c, anchors) for c in shown]
    headings = (
        phrase("Checkpoint"),
        phrase("Step"),
        phrase("Format"),
        phrase("Holds"),
        phrase("Tensors"),
        phrase("Non-finite"),
        phrase("All zero"),
        phrase("Least headroom"),
        phrase("Unread"),
        phrase("Remark"),
    )
    advice = phrase("All of them: `nanautopsy analyze RUN_DIR --format json`.")
    return table(phrase("Checkpoints"), headings, rows, left_out, advice)


def _checkpoint(c: Checkpoint, anchors: Anchors) -> Row:
    measured = c.depth is not None
    rooms = [t.headroom for t in c.tensors if t.headroom is not None]
    return Row(
        (
            code(c.path),
            integer(c.step),
            text(c.kind),
            text(_HOLDS.get(c.holds, c.holds)),
            integer(len(c.tensors) if measured else None),
            integer(len(damaged(c)) + len(damaged_moments(c)) if measured else None, bad=True),
            integer(sum(t.all_zero for t in c.tensors) if measured else None),
            _headroom(min(rooms, default=None)),
            integer(len(c.missing), bad=True),
            text(c.inferred),
        ),
        anchors.give(("checkpoint", c.path), f"checkpoint-{c.path}"),
    )


def _headroom(value: float | None, *, bad: bool = False) -> Cell:
    """Headroom; beyond a million its exact size means nothing."""
    ample = value is not None and value > AMPLE_HEADROOM
    return number_cell(value, "> 1e6" if ample else number(value), bad=bad)


def tensors(autopsy: Autopsy, anchors: Anchors) -> list[Table]:
    """The tensors of the checkpoints that tell most, and whatever else the report cites."""
    places: _Places = {(s.path, s.tensor) for s in cited(autopsy) if s.tensor is not None}
    telling = telling_checkpoints(autopsy)
    others = [
        c
        for c in autopsy.run.checkpoints
        if c not in telling and any(_is_cited(c, t, places) for t in c.tensors)
    ]
    limit = MAX_TENSORS // max(1, len(telling))
    tables = [_tensors(c, places, 0, anchors) for c in others]
    return tables + [_tensors(c, places, limit, anchors) for c in telling]


def _is_cited(checkpoint: Checkpoint, tensor: TensorHealth, places: _Places) -> bool:
    return (tensor.path, tensor.name) in places or (checkpoint.path, tensor.name) in places


def telling_checkpoints(autopsy: Autopsy) -> tuple[Checkpoint, ...]:
    """The first damaged checkpoint and the last sound one of its lineage; else first and last."""
    lines = lineages([c for c in autopsy.run.checkpoints if c.tensors])
    for is_bad in (damaged, damaged_moments):
        for line in lines:
            first = next((i for i, c in enumerate(line) if is_bad(c)), None)
            if first is not None:
                return tuple(line[max(0, first - 1) : first + 1])
    ends = next((line for line in lines if line[0].holds == "model"), lines[0] if lines else [])
    return tuple(ends[:1] + ends[1:][-1:])


def _tensors(checkpoint: Checkpoint, places: _Places, limit: int, anchors: Anchors) -> Table:
    """The health of a checkpoint's tensors, worst first; cited ones are never left out."""
    in_order = worst_first(checkpoint)
    chosen = [
        tensor
        for i, tensor in enumerate(in_order)
        if i < limit or _is_cited(checkpoint, tensor, places)
    ]
    rows = [_tensor(checkpoint, tensor, places, anchors) for tensor in chosen]
    headings = (
        phrase("Tensor"),
        phrase("Type"),
        phrase("Shape"),
        phrase("NaN"),
        phrase("Inf"),
        phrase("Zero"),
        phrase("Largest"),
        phrase("Headroom"),
        phrase("RMS"),
        phrase("Remark"),
    )
    return table(
        phrase("Tensors of {path}", path=short(checkpoint.path)),
        headings,
        rows,
        len(in_order) - len(chosen),
        phrase("All of them: `nanautopsy inspect --top 0 CHECKPOINT`."),
    )


def _tensor(
    checkpoint: Checkpoint,
    tensor: TensorHealth,
    places: _Places,
    anchors: Anchors,
) -> Row:
    share = (tensor.zero or 0) / tensor.numel if tensor.numel else 0.0
    note = tensor_note(tensor)
    return Row(
        (
            code(tensor.name),
            text(tensor.dtype),
            Cell(short(shape(tensor.shape)), tensor.numel),
            integer(tensor.nan, bad=True),
            integer(tensor.pos_inf + tensor.neg_inf, bad=note != BY_DESIGN),
            Cell(f"{100 * share:.3g}%", share, bad=tensor.all_zero),
            number_cell(tensor.max_abs, number(tensor.max_abs)),
            _headroom(tensor.headroom, bad=note == "low headroom"),
            number_cell(tensor.rms, number(tensor.rms)),
            text(note, bad=bool(note) and note != BY_DESIGN),
        ),
        _anchor(checkpoint, tensor, places, anchors),
    )


def _anchor(
    checkpoint: Checkpoint,
    tensor: TensorHealth,
    places: _Places,
    anchors: Anchors,
) -> str:
    """Cited by its file or by its checkpoint: one row, so one id under both names."""
    if not _is_cited(checkpoint, tensor, places):
        return ""
    given = anchors.give(tensor_key(tensor.path, tensor.name), f"tensor-{tensor.name}")
    if given:
        anchors.alias(tensor_key(checkpoint.path, tensor.name), given)
    return given
