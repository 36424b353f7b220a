"""The rows of the report's tables, before any HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nanautopsy.checkpoints.damage import damaged, damaged_moments
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.model import (
    Autopsy,
    Axis,
    Checkpoint,
    FindingRole,
    Series,
    SeriesRole,
    Source,
    TensorHealth,
)
from nanautopsy.render._clean import one_line
from nanautopsy.render._facts import ARTIFACT_STATUS, BY_DESIGN, summarize, tensor_note, worst_first
from nanautopsy.render._format import moment, number, scalar, shape, size
from nanautopsy.wording import Phrase, listed, phrase, rephrased

MAX_TENSORS = 500
AMPLE_HEADROOM = 1e6
MAX_ROWS = 1000
"""Rows of any other table; what is left out is counted."""

T = TypeVar("T")

_FINDING_ROLES: Mapping[FindingRole, Phrase] = {
    "initiating": phrase("initiating"),
    "cascade": phrase("cascade"),
    "context": phrase("context"),
}
_ROLES: Mapping[SeriesRole, Phrase] = {
    "loss": phrase("loss"),
    "eval_loss": phrase("eval loss"),
    "grad_norm": phrase("grad norm"),
    "learning_rate": phrase("learning rate"),
    "loss_scale": phrase("loss scale"),
    "skipped_steps": phrase("skipped steps"),
    "layer_gradient": phrase("layer gradient"),
    "layer_parameter": phrase("layer parameter"),
    "layer_activation": phrase("layer activation"),
    "attention_logit": phrase("attention logit"),
    "counter": phrase("counter"),
}
_HOLDS: Mapping[str, Phrase] = {
    "model": phrase("model"),
    "optimizer": phrase("optimizer"),
    "adapter": phrase("adapter"),
    "unknown": phrase("unknown"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, and the number by which it sorts."""

    text: str
    value: float | None = None
    source: bool = False
    """The text is a place: shown as code."""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report."""

    name: str
    """For people: the table's label."""
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int = 0


def _table(
    name: str, headings: Sequence[str], rows: Iterable[tuple[Cell, ...]], left_out: int = 0
) -> Table:
    """The table without the columns in which nothing stands."""
    whole = tuple(rows)
    kept = [i for i in range(len(headings)) if any(row[i].text for row in whole)]
    return Table(
        name,
        tuple(headings[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in whole),
        left_out,
    )


def _text(text: str) -> Cell:
    return Cell(rephrased(text, one_line))


def _number(value: float | None, text: str | None = None, bad: bool = False) -> Cell:
    return Cell("" if value is None else text or f"{value:g}", value, bad=bad)


def _headroom(value: float | None, bad: bool = False) -> Cell:
    """Headroom; beyond a million its exact size means nothing."""
    ample = value is not None and value > AMPLE_HEADROOM
    return _number(value, "> 1e6" if ample else number(value), bad=bad)


def _count(value: int | None, bad: bool = False) -> Cell:
    return Cell("" if value is None else str(value), value, bad=bad and bool(value))


def _place(source: Source) -> Cell:
    return Cell(one_line(str(source)), source=True)


def _cap(items: Sequence[T], limit: int = MAX_ROWS) -> tuple[Sequence[T], int]:
    return items[:limit], max(0, len(items) - limit)


def timeline(autopsy: Autopsy) -> Table:
    """The run's story."""
    shown, left_out = _cap(autopsy.timeline)
    rows = tuple(
        (_count(e.step), Cell(moment(e.time), e.time), _text(e.text), _place(e.source))
        for e in shown
    )
    return _table(
        phrase("Timeline"),
        (phrase("Step"), phrase("Time"), phrase("What happened"), phrase("Source")),
        rows,
        left_out,
    )


def findings(autopsy: Autopsy) -> Table:
    """What the detectors observed."""
    shown, left_out = _cap(autopsy.findings)
    rows = tuple(
        (
            _count(f.step),
            Cell(_FINDING_ROLES[f.role], bad=f.role == "initiating"),
            _text(f.text),
            _text(f.layer or ""),
            _place(f.source),
        )
        for f in shown
    )
    headings = (
        phrase("Step"),
        phrase("Role"),
        phrase("What was observed"),
        phrase("Layer"),
        phrase("Source"),
    )
    return _table(phrase("Findings"), headings, rows, left_out)


def environment(autopsy: Autopsy) -> Table:
    """Library versions, canonical facts and the machine."""
    run = autopsy.run
    rows = []
    for package in run.packages.values():
        others = listed([f"{version} ({source})" for version, source in package.conflicts])
        value: str = package.version
        if others:
            value = phrase("{version}; elsewhere {others}", version=value, others=others)
        rows.append((_text(package.name), _text(value), _place(package.source)))
    for facts in (run.facts, run.environment):
        for key, fact in facts.items():
            rows.append((_text(key), _text(scalar(fact.value)), _place(fact.source)))
    shown, left_out = _cap(rows)
    return _table(
        phrase("Environment"),
        (phrase("Name"), phrase("Value"), phrase("Source")),
        tuple(shown),
        left_out,
    )


def configuration(autopsy: Autopsy) -> Table:
    """Every setting that was read."""
    shown, left_out = _cap(list(autopsy.run.config.items()))
    rows = tuple(
        (_text(key), _text(scalar(fact.value)), _place(fact.source)) for key, fact in shown
    )
    return _table(
        phrase("Configuration"),
        (phrase("Setting"), phrase("Value"), phrase("Source")),
        rows,
        left_out,
    )


def artifacts(autopsy: Autopsy) -> Table:
    """What lay in the directory, and what could be read of it."""
    shown, left_out = _cap(autopsy.run.artifacts)
    rows = tuple(
        (
            Cell(one_line(a.path), source=True),
            _text(a.kind),
            Cell(size(a.bytes), a.bytes),
            Cell(ARTIFACT_STATUS[a.status], bad=a.status != "read"),
            _text(listed(a.problems, "; ")),
            Cell((a.digest or "")[:19], source=True),
        )
        for a in shown
    )
    headings = (
        phrase("Artifact"),
        phrase("Kind"),
        phrase("Size"),
        phrase("Status"),
        phrase("Problems"),
        phrase("Digest"),
    )
    return _table(phrase("Artifacts"), headings, rows, left_out)


def series(autopsy: Autopsy) -> Table:
    """Every series in numbers, those with non-finite points first."""

    def key(pair: tuple[Series, int | None]) -> tuple[bool, int]:
        return (pair[1] is None, pair[1] or 0)

    numbered = [(s, summarize(s).first_nonfinite_step) for s in autopsy.run.series]
    shown, left_out = _cap(sorted(numbered, key=key))
    rows = []
    for one, first in shown:
        known = summarize(one)
        reach = ""
        if known.points:
            reach = phrase("{first} to {last}", first=known.first_step, last=known.last_step)
        rows.append(
            (
                _text(one.tag),
                _text(_ROLES.get(one.role, "")),
                _count(known.points),
                Cell(reach, known.first_step),
                _number(known.smallest, number(known.smallest)),
                _number(known.largest, number(known.largest)),
                _count(known.nonfinite, bad=True),
                _count(first, bad=True),
                Cell(one_line(one.source.path), source=True),
            )
        )
    headings = (
        phrase("Tag"),
        phrase("Role"),
        phrase("Points"),
        one_axis(autopsy),
        "Smallest",
        "Largest",
    )
    more = (phrase("Non-finite"), phrase("First at"), phrase("Artifact"))
    return _table(phrase("Series"), headings + more, tuple(rows), left_out)


def one_axis(autopsy: Autopsy) -> str:
    """What the series count, where all count the same."""
    axes = {s.axis for s in autopsy.run.series}
    return _AXES[axes.pop()] if len(axes) == 1 else phrase("Steps, epochs or records")


_AXES: Mapping[Axis, Phrase] = {
    "step": phrase("Steps"),
    "epoch": phrase("Epochs"),
    "samples": phrase("Samples"),
    "record": phrase("Records"),
}


def checkpoints(autopsy: Autopsy) -> Table:
    """One row a checkpoint."""
    shown, left_out = _cap(autopsy.run.checkpoints)
    rows = []
    for c in shown:
        measured = c.depth is not None
        rooms = [t.headroom for t in c.tensors if t.headroom is not None]
        lowest = min(rooms, default=None)
        rows.append(
            (
                Cell(one_line(c.path), source=True),
                _count(c.step),
                _text(c.kind),
                _text(_HOLDS.get(c.holds, c.holds)),
                _count(len(c.tensors) if measured else None),
                _count(len(damaged(c)) + len(damaged_moments(c)) if measured else None, bad=True),
                _count(sum(t.all_zero for t in c.tensors) if measured else None),
                _headroom(lowest),
                _count(len(c.missing), bad=True),
                _text(c.inferred),
            )
        )
    headings = (
        phrase("Checkpoint"),
        phrase("Step"),
        phrase("Format"),
        phrase("Holds"),
        phrase("Tensors"),
        phrase("Non-finite"),
        phrase("All zero"),
    )
    more = (phrase("Least headroom"), phrase("Unread"), "")
    return _table(phrase("Checkpoints"), headings + more, tuple(rows), left_out)


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


def tensors(checkpoint: Checkpoint, limit: int) -> Table:
    """The health of a checkpoint's tensors, worst first."""
    shown, left_out = _cap(worst_first(checkpoint), limit)
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
        "",
    )
    rows = tuple(_tensor(tensor) for tensor in shown)
    return _table(
        phrase("Tensors of {path}", path=one_line(checkpoint.path)), headings, rows, left_out
    )


def _tensor(tensor: TensorHealth) -> tuple[Cell, ...]:
    share = (tensor.zero or 0) / tensor.numel if tensor.numel else 0.0
    infinite = tensor.pos_inf + tensor.neg_inf
    note = tensor_note(tensor)
    return (
        Cell(one_line(tensor.name), source=True),
        _text(tensor.dtype),
        Cell(shape(tensor.shape), tensor.numel),
        _count(tensor.nan, bad=True),
        _count(infinite, bad=note != BY_DESIGN),
        Cell(f"{100 * share:.3g}%", share, bad=tensor.all_zero),
        _number(tensor.max_abs, number(tensor.max_abs)),
        _headroom(tensor.headroom, bad=note == "low headroom"),
        _number(tensor.rms, number(tensor.rms)),
        Cell(note, bad=bool(note) and note != BY_DESIGN),
    )
