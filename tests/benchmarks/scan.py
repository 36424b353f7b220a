"""Scanning an archive, beside analyzing its runs one by one in a warm process.

``python tests/benchmarks/scan.py [--runs N] [--workers N]`` copies the sample runs and the labelled
corpus, which were really trained, until there are enough, scans them into a catalog, and
prints the table with what a million such runs would take. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nanautopsy.scan import work
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.limits import Limits
from nanautopsy.scan.scan import Options, open_scan
from nanautopsy.scan.tally import Tally

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = 100
"""Experiments that the runs are spread over."""
ALONE = 300
"""Runs that are analyzed one by one."""
PAIRED = 1000
"""Runs that one worker and several scan, in turn."""
MILLION = 1_000_000


def sources() -> list[Path]:
    """Runs of real trainings."""
    samples = [p for p in sorted((CHECKOUT / "sample_runs").iterdir()) if p.name != "generate"]
    return samples + sorted((CHECKOUT / "tests" / "corpus" / "runs").iterdir())


def build(root: Path, runs: int) -> None:
    """Copies of them, told apart by number."""
    for number, source in zip(range(runs), itertools.cycle(sources()), strict=False):
        shutil.copytree(source, root / f"e{number % FOLDERS:02}" / f"r{number:06}")


@dataclass
class Course:
    """What was seen while a scan went on."""

    catalog: Path
    points: list[tuple[int, float, float, int]] = field(default_factory=list)
    """(runs done, seconds, MiB of this process, bytes of the catalog)."""
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, tally: Tally) -> None:
        size = sum(p.stat().st_size for p in self.catalog.parent.glob(self.catalog.name + "*"))
        seconds = time.perf_counter() - self.began
        self.points.append((tally.scanned, seconds, resident(), size))

    def at(self, share: float) -> tuple[int, float, float, int]:
        """The point at a share of the way."""
        wanted = share * self.points[-1][0]
        return next(point for point in self.points if point[0] >= wanted)


def resident() -> float:
    """MiB of memory that this process holds; its workers are others."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def scan(archive: Path, catalog: Path, workers: int, limits: Limits | None = None) -> Course:
    """One scan, watched."""
    course = Course(catalog)
    options = Options(jobs=workers, limits=limits or Limits())
    with Catalog.open(catalog) as opened:
        for _ in open_scan(archive, options, opened, course).results():
            pass
    course.points.append(
        (*course.points[-1][:1], time.perf_counter() - course.began, resident(), 0)
    )
    return course


def alone(archive: Path) -> float:
    """Seconds a run, in this process, once everything is warm."""
    jobs = list(itertools.islice(open_scan(archive)._jobs({}), 2 * ALONE))
    for job in jobs[:50]:
        work.examine(job)
    begun = time.perf_counter()
    for job in jobs[-ALONE:]:
        work.examine(job)
    return (time.perf_counter() - begun) / ALONE


def scaling(archive: Path, folder: Path, workers: int) -> tuple[float, list[float]]:
    """Seconds of one worker, and how much faster several were, three times in turn."""
    kept = PAIRED * FOLDERS // max(PAIRED, sum(1 for _ in archive.glob("*/*")))
    exclude = tuple(f"e{number:02}" for number in range(max(1, kept), FOLDERS))
    ratios, single = [], 0.0
    for turn in range(3):
        times = {}
        for count in (1, workers):
            course = scan(archive, folder / f"s{turn}{count}.db", count, Limits(exclude=exclude))
            times[count] = course.points[-1][1]
        single = times[1]
        ratios.append(times[1] / times[workers])
    return single, ratios


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    arguments = parser.parse_args()
    with folder_of(arguments.folder) as folder:
        measure(folder, arguments.runs, arguments.workers)


@contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    """A folder to work in, removed afterwards."""
    with tempfile.TemporaryDirectory(dir=given, prefix="nanautopsy-scan-") as name:
        yield Path(name)


def measure(folder: Path, runs: int, workers: int) -> None:
    """Build, scan, scan again, and tell."""
    archive, catalog = folder / "archive", folder / "catalog.db"
    build(archive, runs)
    single = alone(archive)
    course = scan(archive, catalog, workers)
    begun = time.perf_counter()
    again = scan_again(archive, catalog, workers)
    rescan = time.perf_counter() - begun
    _, ratios = scaling(archive, folder, workers)
    seconds = course.points[-1][1]
    per_core = seconds * workers / runs
    size = catalog.stat().st_size
    print(f"runs                             {runs:10,}   {workers} workers")
    print(f"alone, warm process              {single * 1e3:10.1f} ms/run")
    print(f"scan                             {per_core * 1e3:10.1f} ms/run and core")
    print(f"ratio                            {per_core / single:10.2f}   (target: at most 1.3)")
    gain = statistics.median(ratios)
    print(f"1 -> {workers} workers                   {gain:10.2f}   (target: at least 1.8 for 2)")
    print(
        f"scan again, nothing changed      {rescan:10.2f} s (target: under 5)   {again} unchanged"
    )
    print("course of the scan:")
    for share in (0.25, 0.5, 0.75, 1.0):
        done, passed, memory, held = course.at(share)
        print(
            f"  {done:10,} runs  {done / passed:7.1f} runs/s  coordinator {memory:6.0f} MiB"
            f"  catalog {held / done / 1024:6.2f} KiB/run"
        )
    project(course, size, runs, rescan)


def scan_again(archive: Path, catalog: Path, workers: int) -> int:
    """Runs that a second scan found unchanged."""
    with Catalog.open(catalog) as opened:
        again = open_scan(archive, Options(jobs=workers), opened)
        for _ in again.results():
            pass
    return again.tally.unchanged


def project(course: Course, size: int, runs: int, rescan: float) -> None:
    """What a million would take, by the growth between a quarter and the end."""
    early, late = course.at(0.25), course.at(1.0)
    rate = (late[0] - early[0]) / (late[1] - early[1])
    memory = max(0.0, late[2] - early[2]) / (late[0] - early[0])
    print("a million such runs, by the growth from a quarter of the way to the end:")
    print(f"  scan         {MILLION / rate / 3600:8.1f} h at {rate:.1f} runs/s")
    print(f"  scan again   {rescan / runs * MILLION / 60:8.1f} min")
    print(f"  catalog      {size / runs * MILLION / (1 << 30):8.1f} GiB")
    print(f"  coordinator  {late[2] + memory * (MILLION - late[0]):8.0f} MiB")


if __name__ == "__main__":
    main()
