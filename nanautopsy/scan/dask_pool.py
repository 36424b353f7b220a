"""Workers of a dask.distributed cluster. Each analyzes its runs in processes of its own, so that a
run that dies, hangs or eats memory costs neither the worker nor its other runs.

A worker that is lost takes nothing with it: the scheduler gives its runs to others. All workers
must see the archive under the same path, and have this version of nanautopsy.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from nanautopsy.remote import is_url, shown
from nanautopsy.scan.pool import RunLimits, RunWorkers
from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.rules import rules_of
from nanautopsy.scan.settings import Job, Settings
from nanautopsy.scan.work import examine, unanalyzed

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 8.0
WORKERS_SECONDS = 60.0
"""How long a cluster may be without any worker, at the beginning and later."""
_AHEAD = 3
"""Runs that wait for each thread, so that none waits for a run."""
_LOOK_SECONDS = 2.0
_LOG = logging.getLogger("distributed")
_PLUGIN = "nanautopsy-isolation"


class ClusterTrouble(Exception):
    """One line that says what is wrong with the cluster."""


class DaskPool:
    """``with DaskPool(address, settings, limits) as pool: for done in pool.results(jobs): ...``"""

    def __init__(
        self,
        address: str,
        settings: Settings,
        limits: RunLimits,
        work: Callable[[Job], ScanResult] = examine,
    ) -> None:
        self._address, self._settings = address, settings
        self._limits, self._work = limits, work

    def __enter__(self) -> DaskPool:
        # Every retry of a connection is logged; what comes of it is said in one line.
        self._level = _LOG.level
        _LOG.setLevel(logging.CRITICAL)
        with ExitStack() as undo:
            undo.callback(_LOG.setLevel, self._level)
            self._client = _connected(self._address)
            undo.callback(self._client.close)
            self._await_workers()
            self._check_workers()
            self._client.register_plugin(_isolation(self._limits, self._work), name=_PLUGIN)
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._client.unregister_worker_plugin(_PLUGIN)
        except Exception:  # the scheduler may be what failed
            if kind is None:
                raise self._gone() from None
        finally:
            self._client.close()
            _LOG.setLevel(self._level)

    def results(self, jobs: Iterable[Job]) -> Iterator[list[ScanResult]]:
        """What is done, as soon as it is, and nothing at times when nothing is; jobs are asked for
        as workers come free."""
        waiting: dict[Future[ScanResult], Job] = {}
        source = iter(jobs)
        more, last_seen = True, time.monotonic()
        while more or waiting:
            threads = self._threads()
            while more and len(waiting) < max(1, threads) * _AHEAD:
                job = next(source, None)
                if job is None:
                    more = False
                    break
                waiting[self._client.submit(_isolated, job, pure=False)] = job
            last_seen = time.monotonic() if threads else last_seen
            if time.monotonic() - last_seen > WORKERS_SECONDS:
                raise ClusterTrouble(f"{self._address}: no worker for {WORKERS_SECONDS:.0f} s")
            done = self._done(waiting)
            yield [self._result(future, waiting.pop(future)) for future in done]

    def _done(self, waiting: Iterable[Future[ScanResult]]) -> list[Future[ScanResult]]:
        """Those that ended, after a while if there are none yet."""
        from concurrent.futures import CancelledError

        from distributed import wait
        from distributed.client import FuturesCancelledError

        futures = list(waiting)
        if not futures:
            return []
        try:
            with self._client.as_current():
                ended = wait(futures, timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
            return list(ended.done)
        except TimeoutError:
            return []
        except (CancelledError, FuturesCancelledError):
            raise self._gone() from None

    def _gone(self) -> ClusterTrouble:
        return ClusterTrouble(f"{self._address}: the scheduler went away")

    def _result(self, future: Future[ScanResult], job: Job) -> ScanResult:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            result: ScanResult = future.result()
            return result
        except KilledWorker:
            return unanalyzed(job, "crashed", "every worker that took it was lost", 0.0)
        except (CancelledError, CommClosedError, OSError):
            raise self._gone() from None
        except Exception as error:
            text = f"its result did not come back: {type(error).__name__}: {error}"
            return unanalyzed(job, "crashed", text, 0.0)
        finally:
            future.release()

    def _threads(self) -> int:
        if self._client.status != "running":
            raise self._gone()
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] for worker in workers)

    def _await_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            text = f"the scheduler has no worker, and got none in {WORKERS_SECONDS:.0f} s"
            raise ClusterTrouble(f"{self._address}: {text}") from None

    def _check_workers(self) -> None:
        """They must judge alike and see what is to be read."""
        own = rules_of(self._settings)
        for worker, answer in self._client.run(
            _greeting, self._settings, on_error="return"
        ).items():
            if isinstance(answer, BaseException):
                text = f"cannot run nanautopsy: {type(answer).__name__}: {answer}"
            elif answer[0] != own:
                text = "has another version of nanautopsy, or of what extends it"
            elif not answer[1]:
                text = f"does not see {shown(self._settings.address)}: it must be shared storage"
            else:
                continue
            raise ClusterTrouble(" ".join(f"worker {worker} {text}".split()))


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        text = "--dask needs dask.distributed: pip install 'nanautopsy[cluster]'"
        raise ClusterTrouble(text) from None
    try:
        # A client that is made of a bad address leaves a thread behind that fails much later.
        _check_address(address)
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError):
        raise ClusterTrouble(f"{address}: no scheduler answers there") from None
    except (ValueError, TypeError, ImportError) as error:
        text = " ".join(str(error).split())
        raise ClusterTrouble(f"{address}: is no address of a scheduler: {text}") from None


def _check_address(address: str) -> None:
    """Raise ``ValueError`` (or what its protocol raises) for one that leads nowhere."""
    from distributed.comm.addressing import parse_address
    from distributed.comm.registry import get_backend

    protocol, place = parse_address(address)
    get_backend(protocol).get_address_host(place)


def _greeting(settings: Settings) -> tuple[str, bool]:
    """On a worker: its rules, and whether it sees the archive."""
    return rules_of(settings), is_url(settings.archive) or os.path.exists(settings.address)


def _isolated(job: Job) -> ScanResult:
    """On a worker: the run in one of its processes."""
    from distributed import get_worker

    plugin: Any = get_worker().plugins[_PLUGIN]
    result: ScanResult = plugin.run(job)
    return result


def _isolation(limits: RunLimits, work: Callable[[Job], ScanResult]) -> Any:
    """A plugin that gives each worker, also one that joins later, its processes."""
    from distributed import WorkerPlugin

    class Isolation(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            # Workers under a nanny are daemons, which may have no children; these end with them.
            multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
            self.processes = RunWorkers(worker.state.nthreads, limits, work)

        def teardown(self, worker: Any) -> None:
            self.processes.stop()

        def run(self, job: Job) -> ScanResult:
            begun = time.monotonic()
            return self.processes.result(self.processes.analyze(job), job, begun)

    return Isolation()
