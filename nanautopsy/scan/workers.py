"""Worker processes on this machine: forks that have everything imported, kept within their memory.

Processes, their supervision and the time limit are pebble's; the memory limit is the operating
system's (``RLIMIT_DATA``: what is allocated, not the files that are mapped).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pebble import ProcessPool

T = TypeVar("T")
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
IDLE_SECONDS = 0.5
"""How long nothing may be heard of the workers: whoever shows progress shows that it goes on."""
_STARTS = 3
"""Times that processes are started before there can be none: the system may kill one at once."""


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


class WorkerTrouble(Exception):
    """There can be no worker processes; its text is one line that says why."""


def _no_process() -> tuple[type[Exception], ...]:
    """What says that a process did not come up."""
    from pebble import ProcessExpired

    return (ProcessExpired, RuntimeError, OSError, MemoryError)


class Workers:
    """Processes that call functions.

    One that ends during a call fails this call. One that ends before it has begun any breaks
    pebble's pool, which then does nothing that waits: new processes take its place.
    """

    def __init__(self, count: int, memory: int | None = None) -> None:
        """``memory``: bytes that each may take; see :func:`default_memory`."""
        self._count, self._memory = count, memory or default_memory(count)
        self._open: set[Future[Any]] = set()
        self._renewing = Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._count,
            initializer=_prepare,
            initargs=(self._memory,),
            context=_forking(),
        )

    def check(self) -> None:
        """Raise :class:`WorkerTrouble` where no process comes up: or every call would be said to
        have crashed its own."""
        try:
            for _ in range(_STARTS - 1):
                with suppress(*_no_process()):
                    return self._start()
                self._renew()
            self._start()
        except _no_process() as error:
            self.stop()
            raise WorkerTrouble(
                "worker processes cannot be started. They import the main module: a script scans "
                'under `if __name__ == "__main__":`'
            ) from error
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        with _undisturbed():
            up = self._opened(self._pool.schedule(os.getpid))
        self._outcome(up)

    def _renew(self) -> None:
        self.look()
        self.stop()
        self._pool = self._new_pool()

    def schedule(
        self, function: Callable[..., T], *args: Any, seconds: float | None = None
    ) -> Future[T]:
        """Call it as soon as a process is free; :class:`WorkerTrouble` where there is none and none
        can be started."""
        with self._renewing:
            if not self._pool.active:
                self._renew()
                self.check()
            return self._opened(self._pool.schedule(function, args=args, timeout=seconds))

    def look(self) -> None:
        """Where the pool is broken, end what waits for it: it would wait forever."""
        if self._pool.active:
            return
        for future in tuple(self._open):
            with suppress(InvalidStateError):
                future.set_exception(BrokenProcessPool("its process ended before it began"))

    def outcome(self, future: Future[T], again: Callable[[], Future[T]]) -> T:
        """What came of a call; where the pool broke before it, of one that ``again`` schedules.

        Raises what the call raised, ``TimeoutError``, or ``pebble.ProcessExpired``.
        """
        try:
            return self._outcome(future)
        except BrokenProcessPool:
            return self._outcome(again())

    def close(self) -> None:
        """End the processes; nothing is being called any more."""
        self._pool.close()
        self._pool.join()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        self._pool.stop()
        self._pool.join()

    def _opened(self, future: Future[T]) -> Future[T]:
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def _outcome(self, future: Future[T]) -> T:
        while not wait((future,), timeout=IDLE_SECONDS).done:
            self.look()
        return future.result()


def _forking() -> multiprocessing.context.BaseContext:
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


def _prepare(memory: int | None) -> None:
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
