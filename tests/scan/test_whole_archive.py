"""All public artifacts beside copies of the sample runs: on this machine, on a cluster, and into
PostgreSQL the same is found, every run once, and it is what is known of each.

``NANAUTOPSY_COPIES=1000`` makes as many copies; a few dozens are made otherwise.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gallery import SAMPLE_RUNS, sample_names
from postgres import start
from scan.cluster import Cluster, kill
from sqlalchemy import select
from test_real import DIVERGED, HEALTHY, NON_FINITE
from test_samples import EXPECTED

from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.catalog.tables import DOCUMENTS, RUNS
from nanautopsy.scan.packing import unpack
from nanautopsy.scan.query import COLUMNS, rows
from nanautopsy.scan.scan import Options, Scan, open_scan

COPIES = int(os.environ.get("NANAUTOPSY_COPIES", "36"))
PASSING = ("archive", "fingerprint", "scanned_at", "seconds")
"""Columns that tell of the scan, not of the run."""

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def archive(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "archive"
    shutil.copytree(real, root / "real")
    for number, name in zip(range(COPIES), itertools.cycle(sample_names()), strict=False):
        shutil.copytree(SAMPLE_RUNS / name, root / "copies" / f"{number:04}" / name)
    return root


@pytest.fixture(scope="module")
def here(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """On this machine, into a file."""
    return Found.of(archive, str(tmp_path_factory.mktemp("here") / "catalog.db"), Options())


class Found:
    """What a scan yielded, and what its catalog holds."""

    def __init__(self, scan: Scan, catalog: Catalog, yielded: Counter[str]) -> None:
        self.tally, self.yielded = scan.tally, yielded
        self.rows: dict[str, dict[str, Any]] = {}
        for row in rows(catalog):
            root = row["root"]
            assert root not in self.rows
            self.rows[root] = {name: row[name] for name in COLUMNS if name not in PASSING}
        with catalog.reading() as connection:
            query = select(RUNS.c.root, DOCUMENTS.c.document).join(DOCUMENTS)
            self.documents = {
                root: unpack(packed) for root, packed in connection.execute(query) if packed
            }

    @classmethod
    def of(
        cls,
        archive: Path,
        place: str,
        options: Options,
        seen: Callable[[int], None] = lambda count: None,
    ) -> Found:
        began, yielded = time.perf_counter(), Counter[str]()
        with Catalog.open(place) as catalog:
            scan = open_scan(archive, options, catalog)
            for result in scan.results():
                yielded[result.root] += 1
                seen(yielded.total())
            seconds = time.perf_counter() - began
            print(f"{scan.tally.scanned} runs in {seconds:.0f} s: {place}", file=sys.stderr)
            return cls(scan, catalog, yielded)


def test_what_is_known_of_each_is_found(here: Found) -> None:
    copies: defaultdict[str, Counter[tuple[str, str | None]]] = defaultdict(Counter)
    verdicts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for root, row in here.rows.items():
        kind, first, *rest = root.split("/")
        if kind == "copies":
            copies[rest[0]][row["verdict"], row["cause"]] += 1
        else:
            verdicts[first][row["verdict"]] += 1
    names = Counter(itertools.islice(itertools.cycle(sample_names()), COPIES))
    assert copies == {
        name: {("non-finite", EXPECTED[name].cause) if name in EXPECTED else ("healthy", None): n}
        for name, n in names.items()
    }
    for project in HEALTHY:
        assert verdicts[project]["healthy"] >= 1, project
        assert not {"non-finite", "diverged"} & verdicts[project].keys(), project
    for project in DIVERGED:
        assert verdicts[project]["diverged"] == 1 and not verdicts[project]["non-finite"], project
    for project in NON_FINITE:
        assert verdicts[project]["non-finite"] >= 1 and not verdicts[project]["diverged"], project


def test_the_tally_is_of_the_catalog(here: Found) -> None:
    count = Counter(row["verdict"] for row in here.rows.values() if row["verdict"])
    assert here.tally.verdicts == count
    assert here.tally.outcomes == Counter(row["outcome"] for row in here.rows.values())
    assert here.tally.found == here.tally.scanned == len(here.rows)
    assert here.yielded == Counter(here.rows.keys())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    yield started
    started.close()


def test_a_cluster_that_loses_a_worker_finds_the_same(
    archive: Path, here: Found, cluster: Cluster, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    first, _ = cluster.worker("--no-nanny"), cluster.worker("--no-nanny")

    def seen(count: int) -> None:
        if count == len(here.rows) // 3:
            kill(first)

    there = Found.of(archive, str(tmp_path / "c.db"), Options(dask=cluster.address), seen)
    assert first.poll() is not None
    _agree(there, here)


def test_postgresql_holds_the_same(archive: Path, here: Found) -> None:
    with start() as server:
        if server is None:
            pytest.skip("no PostgreSQL server is installed")
        _agree(Found.of(archive, server.new_database(), Options()), here)


def _agree(one: Found, other: Found) -> None:
    assert one.yielded == other.yielded
    assert one.tally.verdicts == other.tally.verdicts
    assert one.tally.causes == other.tally.causes
    assert one.rows == other.rows
    assert one.documents == other.documents
