"""Scans that are killed, interrupted or run into each other leave a sound catalog, lose at most
what was being analyzed, and the next scan completes it.

``NANAUTOPSY_KILLS=10`` kills so often; twice otherwise. The moments are random, and printed.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scan.archives import LOG, lay
from scan.catalogs import KILLS, assert_sound, counted, when

from nanautopsy.scan.catalog import Catalog

COMMAND = [sys.executable, "-m", "nanautopsy", "scan"]
RUNS = 24
ALL = {f"r{n:02}": "analyzed" for n in range(RUNS)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = lay(tmp_path / "archive", {f"{name}/train.log": LOG for name in ALL})
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


def started(archive: Path, catalog: Path, *options: str) -> subprocess.Popen[str]:
    """A scan in a process group of its own."""
    command = [*COMMAND, str(archive), "--catalog", str(catalog), "--jobs", "2", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def completed(archive: Path, catalog: Path, *options: str) -> str:
    """What a scan prints that nobody disturbs."""
    process = started(archive, catalog, *options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def outcomes(archive: Path, catalog: Path) -> dict[str, str]:
    with Catalog.open(catalog, create=False) as opened:
        return {root: known.outcome for root, known in opened.known(str(archive)).items()}


def children(parent: int) -> list[int]:
    """Living processes that a process started."""
    return [pid for pid, status in _living() if int(status[1]) == parent]


def group(leader: int) -> list[int]:
    """Living processes of a group."""
    return [pid for pid, status in _living() if int(status[2]) == leader]


def _living() -> Iterator[tuple[int, list[str]]]:
    """(process, state, parent, group, ...) of Linux's ``/proc``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if status[0] != "Z":
            yield int(folder.name), status


@pytest.fixture
def moments() -> list[int]:
    """How many runs the catalog holds when the next kill comes: none, and any others."""
    seed = random.randrange(1_000_000)
    print(f"kills: seed {seed}")
    chosen = random.Random(seed)
    return [0, *(chosen.randrange(1, RUNS) for _ in range(KILLS - 1))]


def test_the_whole_scan_is_killed(archive: Path, catalog: Path, moments: list[int]) -> None:
    for moment in moments:
        for path in catalog.parent.glob(f"{catalog.name}*"):
            path.unlink()
        process = started(archive, catalog)
        when(lambda: counted(catalog) >= moment or process.poll() is not None)  # noqa: B023
        before = counted(catalog)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if before:
            assert_sound(catalog)
        kept = counted(catalog)
        assert kept >= before >= min(moment, RUNS)
        out = completed(archive, catalog)
        assert f"{RUNS} runs: {RUNS - kept} scanned, {kept} unchanged" in out
        assert outcomes(archive, catalog) == ALL
        assert_sound(catalog)


def test_a_scan_that_dies_again_and_again_comes_to_its_end(archive: Path, catalog: Path) -> None:
    """Only the process that coordinates dies; its workers notice and leave, too."""
    kept = 0
    for _ in range(KILLS):
        process = started(archive, catalog)
        when(lambda: counted(catalog) > kept or process.poll() is not None)  # noqa: B023
        process.kill()
        process.wait()
        when(lambda: not group(process.pid))  # noqa: B023
        assert counted(catalog) >= kept
        kept = counted(catalog)
    assert f"{RUNS} runs: {RUNS - kept} scanned, {kept} unchanged" in completed(archive, catalog)
    assert outcomes(archive, catalog) == ALL
    assert_sound(catalog)


def test_workers_are_killed(archive: Path, catalog: Path) -> None:
    process = started(archive, catalog)
    killed = 0
    while killed < KILLS and process.poll() is None:
        reached = counted(catalog)
        workers = [pid for child in children(process.pid) for pid in children(child)]
        if workers:
            os.kill(random.choice(workers), signal.SIGKILL)
            killed += 1
            when(lambda: counted(catalog) > reached or process.poll() is not None)  # noqa: B023
        time.sleep(0.02)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert killed and f"{RUNS} runs: {RUNS} scanned" in out
    found = outcomes(archive, catalog)
    assert found.keys() == ALL.keys()
    lost = [outcome for outcome in found.values() if outcome != "analyzed"]
    assert len(lost) <= killed and set(lost) <= {"crashed"}
    with closing(sqlite3.connect(catalog)) as database:
        reasons = database.execute("select reason from runs where outcome = 'crashed'").fetchall()
    assert all("killed by SIGKILL" in reason for (reason,) in reasons)
    assert_sound(catalog)
    # They are not tried again by themselves: what kills its worker once may do so each time.
    assert f"{RUNS} runs: 0 scanned" in completed(archive, catalog)
    assert f"{RUNS} runs: {len(lost)} scanned" in completed(archive, catalog, "--retry")
    assert outcomes(archive, catalog) == ALL


@pytest.mark.parametrize("to_all", [True, False], ids=["terminal", "kill -INT"])
def test_interrupted(archive: Path, catalog: Path, to_all: bool) -> None:
    """A terminal sends Ctrl-C to the whole group, ``kill`` to the one process."""
    lay(archive, {f"more{n:03}/train.log": LOG for n in range(400)})  # or a busy machine is late
    process = started(archive, catalog)
    when(lambda: counted(catalog) >= 3 or process.poll() is not None)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("nanautopsy: interrupted; what is done is kept")
    assert "Traceback" not in err
    scanned = int(out.split(" runs: ")[1].split()[0])
    assert 3 <= scanned <= counted(catalog)
    when(lambda: not group(process.pid))
    assert_sound(catalog)


def test_interrupted_as_it_begins(archive: Path, catalog: Path) -> None:
    """Whatever is being imported or started then, in whichever process, nobody is shown it."""
    for _ in range(KILLS):
        process = started(archive, catalog)
        when(lambda: catalog.exists() or process.poll() is not None)  # noqa: B023
        time.sleep(random.random())
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
        # Python itself dies of it where it came inside of exec(): a shell says 130 of both.
        assert process.returncode in (130, -signal.SIGINT)
        assert "nanautopsy: interrupted" in err and "Traceback" not in err
        when(lambda: not group(process.pid))  # noqa: B023
        for path in catalog.parent.glob(f"{catalog.name}*"):
            path.unlink()


def test_two_scans_at_once(archive: Path, catalog: Path) -> None:
    both = [started(archive, catalog) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert outcomes(archive, catalog) == ALL
    assert_sound(catalog)
