"""An archive that changes between being listed and being read, and while a scan goes on."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from scan.archives import LOG, SAMPLES, Shelf, lay

from nanautopsy.scan import work
from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.scan import Options, open_scan

LONG_AGO = 1_700_000_000
WEIGHTS = "checkpoints/step_50.safetensors"


def _grow(run: Path) -> None:
    with open(run / "train.log", "ab") as log:
        log.write(b"step 999 loss 1.0\n" * 100)


def _cut(run: Path) -> None:
    os.truncate(run / WEIGHTS, 1000)


def _empty(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _without(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def _replaced(name: str, by: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).unlink()
        by(run / name)

    return change


CHANGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "grown": (_grow, "non-finite", ""),
    "cut": (_cut, "non-finite", "cut short inside the header"),
    "emptied": (_empty, "undetermined", "holds 0 bytes"),
    "log-gone": (_without("train.log"), "non-finite", "No such file or directory"),
    "weights-gone": (_without(WEIGHTS), "non-finite", "No such file or directory"),
    "log-a-folder": (_replaced("train.log", Path.mkdir), "non-finite", "not a regular file"),
    "weights-a-folder": (_replaced(WEIGHTS, Path.mkdir), "non-finite", "not a regular file"),
    "log-a-pipe": (_replaced("train.log", os.mkfifo), "non-finite", "not a regular file"),
    "log-a-loop": (
        _replaced("train.log", lambda path: path.symlink_to(path)),
        "non-finite",
        "Too many levels of symbolic links",
    ),
    "log-endless": (
        _replaced("train.log", lambda path: path.symlink_to("/dev/zero")),
        "non-finite",
        "not a regular file",
    ),
}
"""What happens to a run, what is found of it still, and what is said."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScanResult]:
    """Results of runs that changed after they were listed."""
    archive = tmp_path_factory.mktemp("archive")
    for name in (*CHANGES, "gone", "as-ever"):
        shutil.copytree(SAMPLES / "lr-spike", archive / name)
        shutil.copyfile(LOG, archive / name / "train.log")
    jobs = list(open_scan(archive)._jobs({}))
    for name, (change, _, _) in CHANGES.items():
        change(archive / name)
    shutil.rmtree(archive / "gone")
    return {job.root: work.examine(job) for job in jobs}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_left_of_a_run_is_analyzed(read: dict[str, ScanResult], name: str) -> None:
    _, verdict, said = CHANGES[name]
    result = read[name]
    assert (result.outcome, result.reason) == ("analyzed", "")
    assert result.document is not None
    assert result.document["verdict"] == verdict
    told = [p for artifact in result.document["run"]["artifacts"] for p in artifact["problems"]]
    assert any(said in problem for problem in told) if said else not told


def test_a_run_that_is_gone_says_so(read: dict[str, ScanResult]) -> None:
    assert read["gone"].outcome == "unreadable"
    assert "No such file or directory" in read["gone"].reason
    assert read["as-ever"].outcome == "analyzed"


def test_a_scan_of_what_never_holds_still(tmp_path: Path) -> None:
    names = [f"r{n:02}" for n in range(30)]
    archive = lay(tmp_path / "archive", {f"{name}/train.log": LOG for name in names})
    done = threading.Event()
    restless = threading.Thread(target=_change_at_random, args=(archive, names, done))
    restless.start()
    try:
        seen: Counter[str] = Counter()
        shelf = Shelf()
        scan = open_scan(archive, Options(jobs=2, timeout=60.0), shelf)
        for result in scan.results():
            seen[result.root.removesuffix("/train.log")] += 1
            assert result.outcome in ("analyzed", "unreadable")
            assert "\n" not in result.reason and "defect" not in result.reason
    finally:
        done.set()
        restless.join()
    assert not [root for root, count in seen.items() if count != 1]
    assert all("\n" not in problem.text for problem in scan.tree.problems)

    shutil.rmtree(archive)
    lay(archive, {f"{name}/train.log": LOG for name in names})
    for path in archive.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    list(open_scan(archive, Options(jobs=2, prune=True), shelf).results())
    assert {root: result.outcome for (_, root), result in shelf.kept.items()} == dict.fromkeys(
        names, "analyzed"
    )


def _change_at_random(archive: Path, names: list[str], done: threading.Event) -> None:
    """Deletes, lays anew, lengthens and replaces by folders, until it is told to stop."""
    chosen = random.Random(7)
    while not done.is_set():
        run = archive / chosen.choice(names)
        match chosen.randrange(4):
            case 0:
                shutil.rmtree(run, ignore_errors=True)
            case 1:
                run.mkdir(exist_ok=True)
                if not (run / "train.log").is_dir():
                    shutil.copyfile(LOG, run / "train.log")
            case 2 if (run / "train.log").is_file():
                _grow(run)
            case 3 if (run / "train.log").is_file():
                _replaced("train.log", Path.mkdir)(run)
        time.sleep(0.002)
