"""Which of a run's checkpoints are measured, and how deeply.

Of a long lineage O(log n) members are measured at the ``finite`` depth, until a sound one and the
damaged one behind it are neighbors; those two and the first are then measured in full, since the
diagnosis compares them. What was not measured says what is inferred of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from nanautopsy.checkpoints.bisection import between, probe_history, spread
from nanautopsy.checkpoints.checksums import broken_checksums
from nanautopsy.checkpoints.damage import constant_infinities, damaged, damaged_moments
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.model import Checkpoint, Depth, Problem, Reading, Record, TensorHealth
from nanautopsy.wording import listed, phrase

SMALL_BYTES = 64 << 20
"""A checkpoint of so few bytes is measured in full at once: reading it twice would cost more."""
GROWTH_MEMBERS = 4
"""Sound checkpoints that show what grew on the way, where they are cheap."""
GROWTH_BYTES = 2 << 30
"""Bytes of a lineage that may be read for growth alone."""


class Progress(Protocol):
    """Whoever wants to know how far measuring is."""

    def begin(self, path: str, nbytes: int) -> None:
        """A checkpoint of ``nbytes`` is about to be measured."""

    def advance(self, nbytes: int) -> None:
        """So many bytes more were measured."""


@dataclass(slots=True)
class _Gauge:
    """Measures checkpoints and keeps what could not be read of them."""

    depth: Depth
    progress: Progress | None
    problems: dict[int, list[Problem]] = field(default_factory=dict)

    def measure(self, stored: StoredCheckpoint, depth: Depth) -> Checkpoint:
        """The checkpoint with its tensors' health."""
        advance = None
        if self.progress is not None:
            self.progress.begin(stored.path, size_of(stored))
            advance = self.progress.advance
        results = list(measure_all(stored.tensors, depth, advance))
        problems = [result for result in results if isinstance(result, Problem)]
        lost = [problem.source.tensor or "" for problem in problems]
        self.problems[id(stored)] = [*problems, *broken_checksums(stored, results)]
        return replace(
            _unmeasured(stored, ""),
            tensors=tuple(result for result in results if isinstance(result, TensorHealth)),
            missing=(*stored.missing, *lost),
            depth=depth,
        )

    def unread(self, stored: StoredCheckpoint) -> list[Problem]:
        """What stood in the way when it was measured last."""
        return self.problems.get(id(stored), [])


def examine(
    readings: Sequence[Reading],
    *,
    depth: Depth = "full",
    everything: bool = False,
    progress: Progress | None = None,
) -> list[Reading]:
    """The readings with every stored checkpoint measured, or inferred from its neighbors.

    ``depth``: the deepest measurement of any; ``everything``: measure all, at that depth.
    """
    found = [r for reading in readings for r in reading.records if isinstance(r, StoredCheckpoint)]
    named = name_moments(found)
    gauge = _Gauge(depth, progress)
    examined: dict[int, Checkpoint] = {}
    turn: int | None = None
    # Weights first: where they turn is where to look into the optimizer's state.
    for members in sorted(lineages(named), key=lambda line: line[0].holds != "model"):
        checkpoints = _examine_lineage(members, gauge, everything, turn)
        if turn is None:
            turn = next((c.step for c in checkpoints if damaged(c)), None)
        examined |= {id(s): c for s, c in zip(members, checkpoints, strict=True)}
    measured = iter([(examined[id(stored)], gauge.unread(stored)) for stored in named])
    return [_with_measured(reading, measured) for reading in readings]


def size_of(stored: StoredCheckpoint) -> int:
    """Bytes of its tensors."""
    return sum(FORMATS[tensor.dtype].nbytes(tensor.numel) for tensor in stored.tensors)


def _examine_lineage(
    members: list[StoredCheckpoint], gauge: _Gauge, everything: bool, turn: int | None
) -> list[Checkpoint]:
    """Every member, measured or inferred."""
    if everything:
        return [gauge.measure(stored, gauge.depth) for stored in members]
    seen: dict[int, Checkpoint] = {}

    def is_bad(member: int) -> bool:
        if member not in seen:
            shallow = gauge.depth == "finite" or size_of(members[member]) > SMALL_BYTES
            seen[member] = gauge.measure(members[member], "finite" if shallow else "full")
        return _is_bad(seen[member], seen[min(seen)], seen[max(seen)])

    hint = next((i for i, s in enumerate(members) if turn is not None and s.step == turn), None)
    probe_history(len(members), is_bad, hint)
    # An answer given before the last member was seen may have been wrong; none is read twice.
    known = probe_history(len(members), is_bad, hint)
    first_bad = next((member for member in sorted(known) if known[member]), None)
    sound = [member for member in known if not known[member] and member < (first_bad or 0)]
    if gauge.depth == "full":
        deep = {0, max(sound, default=0), len(members) - 1 if first_bad is None else first_bad}
        for member in deep:
            if seen[member].depth != "full":
                seen[member] = gauge.measure(members[member], "full")
        for member in _for_growth(members, known, first_bad):
            is_bad(member)
    return [
        seen.get(member) or _unmeasured(stored, _inference(members, known, member))
        for member, stored in enumerate(members)
    ]


def _is_bad(checkpoint: Checkpoint, first: Checkpoint, last: Checkpoint) -> bool:
    by_design = constant_infinities([first, last]) if first is not last else frozenset()
    bad = [*damaged(checkpoint), *damaged_moments(checkpoint)]
    return any(tensor.name not in by_design for tensor in bad)


def _for_growth(
    members: list[StoredCheckpoint], known: dict[int, bool], first_bad: int | None
) -> list[int]:
    """Unread members before the turn that are worth a look, where reading them is cheap."""
    end = len(members) if first_bad is None else first_bad
    sound = [member for member in known if member < end]
    unread = [member for member in range(end) if member not in known]
    wanted = spread(unread, GROWTH_MEMBERS - len(sound))
    cheap = sum(size_of(members[member]) for member in wanted) <= GROWTH_BYTES
    return wanted if cheap else []


def _inference(members: list[StoredCheckpoint], known: dict[int, bool], member: int) -> str:
    """What the neighbors that were read say of a member that was not."""
    before, after = between(known, member)
    places = [members[m].path for m in (before, after) if m is not None]
    beside = listed(places, " and ")
    answers = {known[m] for m in (before, after) if m is not None}
    if answers == {False}:
        return phrase("not read; {beside}, read around it, are finite", beside=beside)
    if answers == {True}:
        return phrase("not read; {beside}, read around it, are non-finite", beside=beside)
    return phrase("not read; {beside}, read around it, differ", beside=beside)


def _unmeasured(stored: StoredCheckpoint, inferred: str) -> Checkpoint:
    return Checkpoint(
        path=stored.path,
        kind=stored.kind,
        step=stored.step,
        tensors=(),
        holds=stored.holds,
        missing=stored.missing,
        state=stored.state,
        depth=None,
        inferred=inferred,
    )


def _with_measured(
    reading: Reading, measured: Iterator[tuple[Checkpoint, list[Problem]]]
) -> Reading:
    """The reading with the next ones of ``measured`` in the places of its stored checkpoints."""
    records: list[Record] = []
    problems = list(reading.problems)
    for record in reading.records:
        if isinstance(record, StoredCheckpoint):
            checkpoint, unread = next(measured)
            records.append(checkpoint)
            problems += unread
        else:
            records.append(record)
    return replace(reading, records=tuple(records), problems=tuple(problems))
