"""Which of a run's checkpoints are measured, and how deeply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.model import Checkpoint, Problem, Reading, Record, TensorHealth


def examine(readings: Sequence[Reading]) -> list[Reading]:
    """The readings with every stored checkpoint measured."""
    return [_examined(reading) for reading in readings]


def _examined(reading: Reading) -> Reading:
    records: list[Record] = []
    problems = list(reading.problems)
    for record in reading.records:
        if isinstance(record, StoredCheckpoint):
            measured, unread = _measured(record)
            records.append(measured)
            problems += unread
        else:
            records.append(record)
    return replace(reading, records=tuple(records), problems=tuple(problems))


def _measured(stored: StoredCheckpoint) -> tuple[Checkpoint, list[Problem]]:
    results = list(measure_all(stored.tensors, "full"))
    problems = [result for result in results if isinstance(result, Problem)]
    lost = [problem.source.tensor or "" for problem in problems]
    checkpoint = Checkpoint(
        path=stored.path,
        kind=stored.kind,
        step=stored.step,
        tensors=tuple(result for result in results if isinstance(result, TensorHealth)),
        holds=stored.holds,
        missing=(*stored.missing, *lost),
        state=stored.state,
    )
    return checkpoint, problems
