"""Stored tensors in, their health out.

The work is cut into jobs in a way that depends on the tensors alone, and what the jobs count is
added in the order of the elements, so that the result is the same to the last bit on any number
of cores.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import TypeAlias

from nanautopsy.checkpoints._safetensors_header import quote
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.health import Tally, health_of
from nanautopsy.checkpoints.kernel.batches import Batch
from nanautopsy.checkpoints.kernel.jobs import Job, Measurement, Workspace
from nanautopsy.checkpoints.kernel.plan import Plan
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.model import Depth, Problem, Source, TensorHealth
from nanautopsy.wording import phrase

_THREADS = 16
"""More do not read faster from one machine's memory."""
_WORTH_THREADS = 8 << 20
"""Bytes below which starting threads takes longer than measuring."""

_OnBytes: TypeAlias = "Callable[[int], None] | None"


def measure_all(
    tensors: Sequence[StoredTensor],
    depth: Depth,
    on_bytes: _OnBytes = None,
    *,
    threads: int | None = None,
) -> Iterator[TensorHealth | Problem]:
    """The health of every tensor, in the order given.

    Before the health of a tensor of which something cannot be read stands a ``Problem``; where
    nothing of it can be, the ``Problem`` stands alone. A tensor of which a part is missing is
    measured at the ``full`` depth, so that it is never taken for one that is zero throughout.
    ``on_bytes`` is told, on the caller's thread, how many bytes were measured since it was told
    last; ``threads``: how many read and count, by default one a core.
    """
    plan = Plan(depth)
    subjects = [plan.add(tensor) for tensor in tensors]
    plan.close()
    told = 0
    for nbytes in _run(plan, threads):
        told += nbytes
        if on_bytes is not None:
            on_bytes(nbytes)
    totals: dict[Measurement, Tally] = defaultdict(Tally)
    for stretch in plan.stretches:
        totals[stretch.measurement].add(stretch.total)
    if on_bytes is not None:
        whole = sum(FORMATS[t.dtype].nbytes(t.numel) for t in tensors if t.dtype in FORMATS)
        on_bytes(max(0, whole - told))  # of shared storages and repeated elements
    for tensor, subject in zip(tensors, subjects, strict=True):
        if isinstance(subject, Problem):
            yield subject
        else:
            total = totals.get(subject) or Tally(*subject.counts)
            yield from _results(tensor, subject, total)


def _run(plan: Plan, threads: int | None) -> Iterator[int]:
    """Do the jobs; the bytes of each, as they are done."""
    lock = Lock()
    idle: deque[Workspace] = deque()

    def do(job: Job | Batch) -> int:
        try:
            work = idle.pop()
        except IndexError:
            work = Workspace(plan.files, lock)
        try:
            job.run(work)
        finally:
            idle.append(work)
        return job.nbytes

    try:
        # Batches call NumPy too often to gain from threads.
        yield from map(do, plan.batches)
        yield from _spread(do, plan.jobs, threads or min(_cores(), _THREADS))
    finally:
        for work in idle:
            work.reader.close()


def _spread(do: Callable[[Job], int], jobs: Sequence[Job], threads: int) -> Iterator[int]:
    if threads == 1 or sum(job.nbytes for job in jobs) < _WORTH_THREADS:
        yield from map(do, jobs)
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = ThreadPoolExecutor(threads, "measure")
    try:
        for done in as_completed([pool.submit(do, job) for job in jobs]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _results(
    tensor: StoredTensor, measurement: Measurement, total: Tally
) -> Iterator[TensorHealth | Problem]:
    """What is said of a tensor. The measurement may be that of another with the same storage."""
    seen = total.finite + total.nan + total.pos_inf + total.neg_inf
    if measurement.failures:
        yield _problem(tensor, measurement)
        # That all which could be read is zero says nothing of a tensor meant to be read whole.
        if not seen or (measurement.depth == "finite" and measurement.places is None):
            return
    elif not seen and tensor.numel:
        yield Problem(
            phrase("tensor {name}: none of it is here", name=quote(tensor.name)),
            _source(tensor, 0),
        )
        return
    yield health_of(tensor, total, measurement.depth, measurement.places)


def _problem(tensor: StoredTensor, measurement: Measurement) -> Problem:
    piece, _, why = min(measurement.failures)
    lost = sum(count for _, count, _ in measurement.failures)
    text = phrase(
        "tensor {name}: {lost} of {numel} elements cannot be read: {why}",
        name=quote(tensor.name),
        lost=lost,
        numel=tensor.numel,
        why=why,
    )
    return Problem(text, _source(tensor, piece))


def _source(tensor: StoredTensor, piece: int) -> Source:
    if not tensor.pieces:
        return Source("", tensor=tensor.name)
    at = tensor.pieces[piece]
    return Source(at.file.path, tensor=tensor.name, offset=at.offset)
