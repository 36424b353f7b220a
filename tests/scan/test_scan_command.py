"""``nanautopsy scan``: from an archive to a catalog, whatever comes between."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scan.archives import LOG, SAMPLES, lay
from scan.catalogs import assert_sound, counted

from nanautopsy.cli import nanautopsy
from nanautopsy.scan.catalog import Catalog

COMMAND = [sys.executable, "-m", "nanautopsy", "scan"]
RUNS = 40


def run(*arguments: object) -> Result:
    return CliRunner().invoke(nanautopsy, ["scan", *map(str, arguments)])


def roots(catalog: Path, archive: Path) -> dict[str, str]:
    with Catalog.open(catalog, create=False) as opened:
        return {root: known.outcome for root, known in opened.known(str(archive)).items()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = lay(tmp_path / "archive", {f"r{n:02}/train.log": LOG for n in range(RUNS)})
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def test_the_tally(tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    result = run(SAMPLES, "--catalog", catalog, "--jobs", 2)
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0] == "12 runs: 12 scanned, 0 unchanged"
    assert {"6 non-finite", "6 healthy", "1 fp16-overflow", "1 version-bug"} <= set(lines)
    assert any(line.startswith("Spent after the onset: 231 steps") for line in lines)
    assert lines[-1] == f"Catalog: {catalog}"
    assert len(roots(catalog, SAMPLES)) == 12


def test_again_reads_nothing(archive: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    run(archive, "--catalog", catalog)
    result = run(archive, "--catalog", catalog)
    assert f"{RUNS} runs: 0 scanned, {RUNS} unchanged" in result.stdout


def test_the_list_says_why_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(SAMPLES, "--list")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 12
    assert "lr-spike (6 files: runs/: events.out.tfevents" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_exit_code(tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    assert run(SAMPLES, "--catalog", catalog, "--exclude", "*spike", "--exit-code").exit_code == 1
    healthy = run(SAMPLES / "lr-spike-healthy", "--catalog", catalog, "--exit-code")
    assert healthy.exit_code == 0


def test_quiet(tmp_path: Path) -> None:
    result = run(SAMPLES / "lr-spike", "--catalog", tmp_path / "c.db", "--quiet")
    assert result.output == ""


def test_secrets_and_homes_are_hidden(tmp_path: Path) -> None:
    config = "output_dir: /home/evangeline/out\nlearning_rate: 0.1\nnum_train_epochs: 3\n"
    archive = lay(tmp_path / "archive", {"r/train.log": LOG, "r/config.yaml": config})
    for options, hidden in (([], True), (["--no-redact"], False)):
        catalog = tmp_path / f"{hidden}.db"
        run(archive, "--catalog", catalog, *options)
        with Catalog.open(catalog) as opened:
            records = opened.records(str(archive), "r")
        assert (b"evangeline" not in zlib.decompress(records)) == hidden


# --- bad input ------------------------------------------------------------------------------------


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    for word in words:
        assert word in line


def test_no_archive(tmp_path: Path) -> None:
    refused(run(tmp_path / "nope", "--catalog", tmp_path / "c.db"), "no such file or directory")


def test_no_run(tmp_path: Path) -> None:
    lay(tmp_path / "a", {"x.py": "print()\n"})
    refused(run(tmp_path / "a", "--catalog", tmp_path / "c.db"), "no run was found")


def test_a_file_that_is_no_catalog(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database\n" * 100)
    refused(run(archive, "--catalog", other), str(other))
    assert other.read_text() == "not a database\n" * 100


def test_a_newer_catalog(archive: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.db"
    Catalog.open(catalog).close()
    with sqlite3.connect(catalog) as database:
        database.execute("update nanautopsy_schema set version_num = '9999'")
    before = catalog.read_bytes()
    refused(run(archive, "--catalog", catalog), str(catalog), "newer nanautopsy", "left as it is")
    assert catalog.read_bytes() == before


def test_a_directory_that_cannot_be_written(
    archive: Path,
    open_folder: Path,
    unprivileged: Callable[[], AbstractContextManager[None]],
) -> None:
    open_folder.chmod(0o555)
    with unprivileged():
        result = run(SAMPLES, "--catalog", open_folder / "c.db")
    assert result.exit_code == 2
    assert str(open_folder / "c.db") in result.stderr.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 384 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if _mount(folder, "size=384k").returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _mount(folder: Path, options: str) -> subprocess.CompletedProcess[bytes]:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False)


def test_a_full_disk(archive: Path, small_disk: Path) -> None:
    catalog = small_disk / "c.db"
    result = run(archive, "--catalog", catalog, "--jobs", 2)
    assert result.exit_code == 2
    told = f"nanautopsy: {catalog}: the disk is full: nothing of this step was written"
    assert result.stderr.splitlines()[-1].startswith(told)
    kept = counted(catalog)
    assert kept < RUNS
    assert_sound(catalog)
    assert _mount(small_disk, "remount,size=16m").returncode == 0
    again = run(archive, "--catalog", catalog, "--jobs", 2)
    assert f"{RUNS} runs: {RUNS - kept} scanned, {kept} unchanged" in again.stdout
    assert_sound(catalog)


def test_a_quota(archive: Path, tmp_path: Path) -> None:
    """No file may grow past a limit: the system refuses to write, and the disk is not full."""
    catalog = tmp_path / "c.db"
    limit = 256 << 10
    told = subprocess.run(
        [*COMMAND, str(archive), "--catalog", str(catalog), "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert told.returncode == 2
    last = told.stderr.splitlines()[-1]
    assert last.startswith(f"nanautopsy: {catalog}: the disk refuses to write (full, over a quota")
    assert "Traceback" not in told.stderr
    assert counted(catalog) < RUNS
    assert_sound(catalog)
    assert f"{RUNS} runs: " in run(archive, "--catalog", catalog, "--jobs", 2).stdout
    assert len(roots(catalog, archive)) == RUNS


def test_no_scheduler(archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    result = run(archive, "--catalog", tmp_path / "c.db", "--dask", "tcp://127.0.0.1:9")
    refused(result, "tcp://127.0.0.1:9: no scheduler answers there")


@pytest.mark.parametrize("size", ["0", "-1", "many", "1.2.3G"])
def test_no_size(archive: Path, size: str) -> None:
    result = run(archive, f"--memory-limit={size}")
    assert result.exit_code == 2
    assert "is no size" in result.stderr.splitlines()[-1]
