"""One bad run costs itself."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scan.archives import LOG, found, lay
from scan.catalogs import counted
from scan.misbehaving import work

from nanautopsy.scan.pool import LocalPool, RunLimits
from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.settings import Job, Settings
from nanautopsy.scan.workers import default_memory

BAD = ("hangs", "eats", "segfaults", "is-killed", "exits", "raises")


def jobs(archive: Path) -> list[Job]:
    settings = Settings(str(archive), os.path.realpath(archive))
    return [Job(settings, run.root, run.files, "f", "r") for run in found(archive).values()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScanResult]:
    archive = tmp_path_factory.mktemp("archive")
    for name in (*BAD, *(f"good{n}" for n in range(6))):
        lay(archive, {f"{name}/train.log": LOG})
    pool = LocalPool(2, RunLimits(seconds=5.0, memory=1 << 30), work)
    with pool:
        return {r.root: r for done in pool.results(jobs(archive)) for r in done}


def test_every_run_has_a_result(results: dict[str, ScanResult]) -> None:
    assert len(results) == len(BAD) + 6


def test_the_others_are_analyzed(results: dict[str, ScanResult]) -> None:
    for name, result in results.items():
        if name.startswith("good"):
            assert result.outcome == "analyzed"
            assert result.document is not None
            assert result.document["verdict"] == "non-finite"


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("hangs", "timed-out", "not done in 5 s"),
        ("eats", "out-of-memory", "memory ran out"),
        ("segfaults", "crashed", "its process was killed by SIGSEGV"),
        ("is-killed", "crashed", "its process was killed by SIGKILL (the system kills so when"),
        ("exits", "crashed", "its process ended with status 3"),
        ("raises", "crashed", "ZeroDivisionError"),
    ],
)
def test_a_bad_run_says_why(
    results: dict[str, ScanResult], name: str, outcome: str, reason: str
) -> None:
    if name == "eats" and sys.platform != "linux":
        pytest.skip("RLIMIT_DATA limits allocations on Linux alone")
    assert results[name].outcome == outcome
    assert reason in results[name].reason
    assert "\n" not in results[name].reason
    assert results[name].document is None


@pytest.mark.parametrize("where", ["file", "standard input"])
def test_a_program_that_workers_cannot_import(tmp_path: Path, where: str) -> None:
    """No run is said to have crashed its process when none comes up."""
    lay(tmp_path / "archive", {"a/train.log": LOG})
    place, catalog = str(tmp_path / "archive"), tmp_path / "c.db"
    script = f"import nanautopsy\nlist(nanautopsy.scan({place!r}, catalog={str(catalog)!r}))\n"
    (tmp_path / "script.py").write_text(script)
    program = "-" if where == "standard input" else str(tmp_path / "script.py")
    told = subprocess.run(
        [sys.executable, program],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1
    assert told.stderr.strip().splitlines()[-1] == (
        "nanautopsy.scan.workers.WorkerTrouble: worker processes cannot be started. They import "
        'the main module: a script scans under `if __name__ == "__main__":`'
    )
    assert counted(catalog) == 0


@pytest.mark.parametrize("pause", [0.0, 0.05, 1.0])
def test_workers_that_end_before_they_begin_a_run(tmp_path: Path, pause: float) -> None:
    """Others take their place, whether what waits was given to them before or afterwards."""
    lay(tmp_path, {f"run{n}/train.log": LOG for n in range(3)})
    with LocalPool(2, RunLimits(seconds=30.0)) as pool:
        for worker in multiprocessing.active_children():
            worker.kill()
        time.sleep(pause)
        results = [r for done in pool.results(jobs(tmp_path)) for r in done]
    assert [r.outcome for r in results] == ["analyzed"] * 3, [r.reason for r in results]


def test_memory_is_shared_among_the_workers() -> None:
    assert default_memory(10**6) == 1 << 30
    assert default_memory(1) >= default_memory(2) >= 1 << 30
