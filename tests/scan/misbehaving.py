"""Work that goes wrong in every way a run can make it go wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import numpy as np

from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.settings import Job
from nanautopsy.scan.work import examine


def work(job: Job) -> ScanResult:
    """Whatever the run's name says."""
    name = job.root.rpartition("/")[2]
    if name == "hangs":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(600)
    if name == "eats":
        kept = [np.empty(1 << 24) for _ in range(1000)]
        assert kept
    if name == "segfaults":
        ctypes.string_at(0)
    if name == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "exits":
        os._exit(3)
    if name == "raises":
        raise ZeroDivisionError("of a rule")
    return examine(job)


def slow(job: Job) -> ScanResult:
    """As ever, and a while longer."""
    time.sleep(0.3)
    return examine(job)
