"""Workers on this machine: a process each, and one that dies, hangs or eats memory costs its run
alone.

A worker analyzes one run at a time and many in turn. Processes, their supervision and the time
limit are pebble's; the memory limit is the operating system's (``RLIMIT_DATA``: what is allocated,
not the files that are mapped).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    InvalidStateError,
    TimeoutError,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from nanautopsy.scan.results import Outcome, ScanResult
from nanautopsy.scan.settings import Job
from nanautopsy.scan.work import examine, unanalyzed

if TYPE_CHECKING:
    from pebble import ProcessPool

T = TypeVar("T")
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GATHER_SECONDS, _LOOK_SECONDS = 0.25, 0.02
"""How long a result may wait for others, and how often they are looked for."""
_IDLE_SECONDS = 0.5
"""How long nothing may be heard of the runs: whoever shows progress shows that it goes on."""
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


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_memory(workers: int) -> int:
    """Four fifths of the machine's memory, shared among the workers; 1 GiB at least."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = 8 << 30
    return max(1 << 30, memory * 4 // 5 // max(1, workers))


class PoolTrouble(Exception):
    """There can be no worker processes; its text is one line that says why."""


class Supervised:
    """Processes that analyze runs, and what became of them.

    A process that ends while it analyzes a run fails this run. One that ends before it has begun
    any breaks the pool, which then does nothing that waits: new processes take its place.
    """

    def __init__(
        self, workers: int, limits: RunLimits, work: Callable[[Job], ScanResult] = examine
    ) -> None:
        self._workers, self._seconds, self._work = workers, limits.seconds, work
        self._memory = limits.memory or default_memory(workers)
        self._open: set[Future[Any]] = set()
        self._renewing = Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._workers,
            initializer=prepare,
            initargs=(self._memory,),
            context=forking(),
        )

    def check(self) -> None:
        """Raise :class:`PoolTrouble` where no process comes up: or every run would be said to have
        crashed its own."""
        from pebble import ProcessExpired

        try:
            with _undisturbed():
                up = self._opened(self._pool.schedule(os.getpid))
            self._outcome(up)
        except (ProcessExpired, RuntimeError, OSError, MemoryError) as error:
            self.stop()
            raise PoolTrouble(
                "worker processes cannot be started. They import the main module: a script scans "
                'under `if __name__ == "__main__":`'
            ) from error
        except BaseException:
            self.stop()
            raise

    def schedule(self, job: Job) -> Future[ScanResult]:
        """Analyze the run as soon as a process is free; :class:`PoolTrouble` where there is none
        and none can be started."""
        with self._renewing:
            if not self._pool.active:
                self.look()
                self.stop()
                self._pool = self._new_pool()
                self.check()
            return self._opened(self._pool.schedule(self._work, args=(job,), timeout=self._seconds))

    def look(self) -> None:
        """Where the pool is broken, end what waits for it: it would wait forever."""
        if self._pool.active:
            return
        for future in tuple(self._open):
            with suppress(InvalidStateError):
                future.set_exception(BrokenProcessPool("its process ended before it began"))

    def _opened(self, future: Future[T]) -> Future[T]:
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def _outcome(self, future: Future[T]) -> T:
        while not wait((future,), timeout=_IDLE_SECONDS).done:
            self.look()
        return future.result()

    def result(self, future: Future[ScanResult], job: Job, begun: float) -> ScanResult:
        """What came of a run that was scheduled at ``begun`` (by the monotonic clock)."""
        from pebble import ProcessExpired

        try:
            try:
                return self._outcome(future)
            except BrokenProcessPool:
                return self._outcome(self.schedule(job))
        except PoolTrouble:
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

    def close(self) -> None:
        """End the processes; nothing is being analyzed any more."""
        self._pool.close()
        self._pool.join()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        self._pool.stop()
        self._pool.join()


class LocalPool:
    """``with LocalPool(workers, limits) as pool: for done in pool.results(jobs): ...``"""

    def __init__(
        self, workers: int, limits: RunLimits, work: Callable[[Job], ScanResult] = examine
    ) -> None:
        self._workers, self._limits, self._work = workers, limits, work

    def __enter__(self) -> LocalPool:
        self._processes = Supervised(self._workers, self._limits, self._work)
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
                waiting[self._processes.schedule(job)] = (job, time.monotonic())
            done = self._done(waiting)
            yield [self._processes.result(future, *waiting.pop(future)) for future in done]

    def _done(self, waiting: Collection[Future[ScanResult]]) -> set[Future[ScanResult]]:
        """The runs that ended: together cheaper to keep than one by one, as long as the workers
        have enough to do."""
        done, pending = wait(waiting, timeout=_IDLE_SECONDS, return_when=FIRST_COMPLETED)
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


def forking() -> multiprocessing.context.BaseContext:
    """Forks of a process that has everything imported and no thread, where there are such."""
    for name in _THREAD_SETTINGS:
        os.environ.setdefault(name, "1")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nanautopsy.scan.work"])
    with _undisturbed():
        forkserver.ensure_running()
    return context


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C comes afterwards, and not at all to processes that are started: a terminal sends it
    to all, and these leave it to their parent from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which, started later, would let it through again
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def prepare(memory: int | None) -> None:
    """Make this process a worker: it leaves Ctrl-C to its parent and keeps within its memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _THREAD_SETTINGS:
        os.environ[name] = "1"
    if memory is None:
        return
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
