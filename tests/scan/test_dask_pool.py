"""A scan on a cluster: a real scheduler and worker processes of this machine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from scan import misbehaving
from scan.archives import LOG, SAMPLES, Shelf, lay
from scan.cluster import Cluster, kill

from nanautopsy.scan import dask_pool
from nanautopsy.scan.dask_pool import ClusterTrouble, DaskPool
from nanautopsy.scan.pool import RunLimits
from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.scan import Options, open_scan
from nanautopsy.scan.settings import Settings

pytest.importorskip("distributed")

RUNS = 24


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    yield started
    started.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return lay(tmp_path / "archive", {f"run{n:02}/train.log": LOG for n in range(RUNS)})


def test_a_worker_is_killed_and_every_run_is_scanned_once(
    cluster: Cluster, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = cluster.worker("--no-nanny"), cluster.worker("--no-nanny")
    monkeypatch.setattr(
        "nanautopsy.scan.scan.open_pool",
        lambda options, settings: DaskPool(
            cluster.address, settings, RunLimits(60.0), misbehaving.slow
        ),
    )
    shelf, seen = Shelf(), Counter[str]()
    for result in open_scan(archive, Options(), shelf).results():
        seen[result.root] += 1
        if seen.total() == 4:
            kill(first)
    assert seen == Counter(f"run{n:02}" for n in range(RUNS))
    assert shelf.writes == RUNS == len(shelf.kept)
    assert {result.outcome for result in shelf.kept.values()} == {"analyzed"}


def test_a_bad_run_costs_itself(cluster: Cluster, tmp_path: Path) -> None:
    cluster.worker()  # under a nanny, as clusters start them
    names = ("hangs", "is-killed", "good1", "eats", "good2")
    archive = lay(tmp_path / "archive", {f"{name}/train.log": LOG for name in names})
    scan = open_scan(archive, Options())
    results: dict[str, ScanResult] = {}
    limits = RunLimits(6.0, 1 << 30)
    with DaskPool(cluster.address, scan.settings, limits, misbehaving.work) as pool:
        for done in pool.results(scan._jobs({})):
            results |= {result.root: result for result in done}
    assert {name: result.outcome for name, result in results.items()} == {
        "hangs": "timed-out",
        "is-killed": "crashed",
        "eats": "out-of-memory",
        "good1": "analyzed",
        "good2": "analyzed",
    }


def test_sample_runs_on_the_cluster(cluster: Cluster) -> None:
    cluster.worker("--no-nanny")
    scan = open_scan(SAMPLES, Options(dask=cluster.address))
    assert len(list(scan.results())) == 12
    assert scan.tally.verdicts == {"non-finite": 6, "healthy": 6}


# --- clusters that are not there or not right -----------------------------------------------------


def settings(path: str = "/") -> Settings:
    return Settings(path, path)


def test_no_scheduler() -> None:
    begun = time.monotonic()
    with pytest.raises(ClusterTrouble, match=r"127\.0\.0\.1:9: no scheduler answers there"):
        DaskPool("tcp://127.0.0.1:9", settings(), RunLimits()).__enter__()
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1", "tcp://", ""])
def test_no_address(address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ClusterTrouble, match=f"^{address}: is no address of a scheduler: "):
        DaskPool(address, settings(), RunLimits()).__enter__()
    assert time.monotonic() - begun < 5


def test_no_worker(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_pool, "WORKERS_SECONDS", 1.0)
    with pytest.raises(ClusterTrouble, match="has no worker"):
        DaskPool(cluster.address, settings(), RunLimits()).__enter__()


def test_a_worker_that_does_not_see_the_archive(cluster: Cluster) -> None:
    cluster.worker("--no-nanny")
    with pytest.raises(ClusterTrouble, match="does not see /nowhere: it must be shared storage"):
        DaskPool(cluster.address, settings("/nowhere"), RunLimits()).__enter__()


def test_another_version_on_the_workers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.worker("--no-nanny")
    monkeypatch.setattr(dask_pool, "rules_of", lambda settings: "other.other")
    with pytest.raises(ClusterTrouble, match="has another version of nanautopsy"):
        DaskPool(cluster.address, settings(), RunLimits()).__enter__()


def test_the_scheduler_goes_away(cluster: Cluster, archive: Path) -> None:
    cluster.worker("--no-nanny")
    scan = open_scan(archive, Options(dask=cluster.address), shelf := Shelf())
    with pytest.raises(ClusterTrouble, match="the scheduler went away"):
        for _ in scan.results():
            kill(cluster.scheduler)
    assert shelf.kept, "what is done is kept"
