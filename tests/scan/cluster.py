"""A dask.distributed cluster of this machine: a real scheduler and worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


class Cluster:
    """A scheduler and workers, each a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._processes = folder, []  # type: ignore[var-annotated]
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + 60
        while not self._file.exists() or not self._file.read_text().endswith("}"):
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.1)
        self.address: str = json.loads(self._file.read_text())["address"]

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        return self._start("dask_worker", "--nthreads", "1", "--no-dashboard", *options)

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        module = f"distributed.cli.{program}"
        command = [sys.executable, "-m", module, "--scheduler-file", str(self._file), *options]
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *_given()])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            kill(process)


def _given() -> list[str]:
    return [path] if (path := os.environ.get("PYTHONPATH")) else []


def kill(process: subprocess.Popen[bytes]) -> None:
    """With all its children, as a machine that loses power."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
