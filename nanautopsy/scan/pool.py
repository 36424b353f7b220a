"""Scanning on this machine: one run that dies, hangs or eats memory costs itself alone.

A worker process analyzes one run at a time and many in turn.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from dataclasses import dataclass

from nanautopsy.scan.results import Outcome, ScanResult
from nanautopsy.scan.settings import Job
from nanautopsy.scan.work import examine, unanalyzed
from nanautopsy.scan.workers import IDLE_SECONDS, Workers, WorkerTrouble

_GATHER_SECONDS, _LOOK_SECONDS = 0.25, 0.02
"""How long a result may wait for others, and how often they are looked for."""
_AHEAD = 16
"""Runs that wait for each worker, so that none waits for a run."""
_TIMED_OUT: Outcome = "timed-out"
_CRASHED: Outcome = "crashed"
_OUT_OF_MEMORY: Outcome = "out-of-memory"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may take."""

    seconds: float | None = None
    memory: int | None = None
    """Bytes; its share of four fifths of the machine's where it is not said."""


class RunWorkers(Workers):
    """Processes that analyze runs, and what became of each."""

    def __init__(
        self, workers: int, limits: RunLimits, work: Callable[[Job], ScanResult] = examine
    ) -> None:
        super().__init__(workers, limits.memory)
        self._seconds, self._work = limits.seconds, work

    def analyze(self, job: Job) -> Future[ScanResult]:
        """Analyze the run as soon as a process is free; raises
        :class:`~nanautopsy.scan.workers.WorkerTrouble`."""
        return self.schedule(self._work, job, seconds=self._seconds)

    def result(self, future: Future[ScanResult], job: Job, begun: float) -> ScanResult:
        """What came of a run that was scheduled at ``begun`` (by the monotonic clock)."""
        from pebble import ProcessExpired

        try:
            return self.outcome(future, lambda: self.analyze(job))
        except WorkerTrouble:
            raise
        except TimeoutError:
            outcome, reason = _TIMED_OUT, f"not done in {self._seconds:g} s"
        except ProcessExpired as error:
            outcome, reason = _CRASHED, _how_it_ended(error.exitcode)
        except MemoryError:
            outcome, reason = _OUT_OF_MEMORY, "memory ran out"
        except Exception as error:
            reason = f"its result did not come back: {type(error).__name__}: {error}"
            outcome = _CRASHED
        return unanalyzed(job, outcome, reason, time.monotonic() - begun)


class LocalPool:
    """``with LocalPool(workers, limits) as pool: for done in pool.results(jobs): ...``"""

    def __init__(
        self, workers: int, limits: RunLimits, work: Callable[[Job], ScanResult] = examine
    ) -> None:
        self._workers, self._limits, self._work = workers, limits, work

    def __enter__(self) -> LocalPool:
        self._processes = RunWorkers(self._workers, self._limits, self._work)
        self._processes.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._processes.close() if kind is None else self._processes.stop()

    def results(self, jobs: Iterable[Job]) -> Iterator[list[ScanResult]]:
        """What is done, as soon as it is, and nothing at times when nothing is; jobs are asked for
        as workers come free."""
        waiting: dict[Future[ScanResult], tuple[Job, float]] = {}
        source = iter(jobs)
        more = True
        while more or waiting:
            while more and len(waiting) < self._workers * _AHEAD:
                job = next(source, None)
                if job is None:
                    more = False
                    break
                waiting[self._processes.analyze(job)] = (job, time.monotonic())
            done = self._done(waiting)
            yield [self._processes.result(future, *waiting.pop(future)) for future in done]

    def _done(self, waiting: Collection[Future[ScanResult]]) -> set[Future[ScanResult]]:
        """The runs that ended: together cheaper to keep than one by one, as long as the workers
        have enough to do."""
        done, pending = wait(waiting, timeout=IDLE_SECONDS, return_when=FIRST_COMPLETED)
        if not done:
            self._processes.look()
            return done
        deadline = time.monotonic() + _GATHER_SECONDS
        while len(pending) > 2 * self._workers and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            done, pending = wait(waiting, timeout=0)
        return done


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (the system kills so when memory runs out)" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"
