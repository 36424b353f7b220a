"""An archive in an object store, scanned by the command as its users start it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3
from scan.archives import LOG, SAMPLES, WEIGHTS

pytest.importorskip("moto")
pytest.importorskip("s3fs")

NAMES = ("lr-spike", "lr-spike-healthy", "minigemini-deepspeed")


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3.Bucket]:
    with s3.start() as started:
        yield started


@dataclass
class Scans:
    """Scans of one folder of a bucket into one catalog."""

    bucket: s3.Bucket
    url: str
    catalog: Path

    def __call__(self, *options: str) -> subprocess.CompletedProcess[str]:
        self.bucket.read.clear()
        command = ["scan", self.url, "--catalog", str(self.catalog), "--jobs", "2", *options]
        return subprocess.run(
            [sys.executable, "-m", "nanautopsy", *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | self.bucket.environment,
        )

    def rows(self) -> dict[str, tuple[str, str | None, str | None]]:
        """(outcome, verdict, cause) by root."""
        with sqlite3.connect(self.catalog) as database:
            asked = database.execute("select root, outcome, verdict, cause from runs")
            return {root: tuple(rest) for root, *rest in asked}


@pytest.fixture
def scans(bucket: s3.Bucket, tmp_path: Path) -> Scans:
    return Scans(bucket, bucket.url(tmp_path.name), tmp_path / "catalog.db")


def test_runs_are_read_once_and_the_catalog_is_none(
    scans: Scans, bucket: s3.Bucket, tmp_path: Path
) -> None:
    prefix = tmp_path.name
    for name in NAMES:
        bucket.put(SAMPLES / name, f"{prefix}/{name}")
    assert scans().stdout.startswith("3 runs: 3 scanned, 0 unchanged\n")
    assert scans.rows() == {
        "lr-spike": ("analyzed", "non-finite", "lr-spike"),
        "lr-spike-healthy": ("analyzed", "healthy", None),
        "minigemini-deepspeed": ("analyzed", "non-finite", "version-bug"),
    }
    assert any(key.endswith(".safetensors") for key in bucket.read)

    # Its own catalog comes to lie in the archive; one run grows.
    bucket.write(f"{prefix}/nanautopsy-catalog.db", scans.catalog.read_bytes())
    log = (SAMPLES / "minigemini-deepspeed" / "train.log").read_bytes()
    bucket.write(f"{prefix}/minigemini-deepspeed/train.log", log + b"one more line\n")
    assert scans().stdout.startswith("3 runs: 1 scanned, 2 unchanged\n")
    fetched = {key.removeprefix(f"{prefix}/") for key in bucket.read}
    assert not any(key.startswith("lr-spike") for key in fetched)
    assert scans.rows().keys() == set(NAMES)

    assert scans().stdout.startswith("3 runs: 0 scanned, 3 unchanged\n")
    assert bucket.read == set()


def test_what_cannot_be_read_is_said(scans: Scans, bucket: s3.Bucket, tmp_path: Path) -> None:
    prefix, text = tmp_path.name, LOG.read_bytes()
    bucket.write(f"{prefix}/good/train.log", text)
    bucket.write(f"{prefix}/marked/", b"")
    bucket.write(f"{prefix}/marked/train 1.log", text)
    bucket.write(f"{prefix}/up/../train.log", text)
    bucket.write(f"{prefix}//empty/train.log", text)
    # An object that was moved to an archive tier is listed, and refused when it is asked for.
    cold = {"StorageClass": "GLACIER"}
    bucket.write(f"{prefix}/cold/train.log", text, **cold)
    bucket.write(f"{prefix}/half/train.log", text)
    bucket.write(f"{prefix}/half/model.safetensors", WEIGHTS.read_bytes(), **cold)
    told = scans()
    assert told.returncode == 0
    assert scans.rows().keys() == {"good", "marked", "up/..", "half"}
    assert {rest[:2] for rest in scans.rows().values()} == {("analyzed", "non-finite")}
    assert "cold/train.log: cannot be read, so not taken for a run: access denied" in told.stderr
    assert ".: holds keys with an empty name (//), which are not looked into" in told.stderr
    with sqlite3.connect(scans.catalog) as database:
        asked = "select path, status from artifacts join runs on runs.id = run_id where root='half'"
        assert ("model.safetensors", "skipped") in database.execute(asked).fetchall()


@pytest.mark.parametrize(
    ("url", "words"),
    [("s3://no-such-bucket/runs", "nothing there"), ("s3://team/no/such/key", "nothing there")],
)
def test_what_is_not_there(scans: Scans, url: str, words: str) -> None:
    scans.url = url
    told = scans()
    assert told.returncode == 2
    assert told.stderr.splitlines() == [f"nanautopsy: {url}: {words}"]
