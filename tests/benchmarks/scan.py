"""Scanning an archive, beside analyzing its runs one by one in a warm process.

``python tests/benchmarks/scan.py [--runs N] [--workers N]`` copies the sample runs and the labelled
corpus, which were really trained, until there are enough (every second round varies them: logs
that end early, checkpoints left out), scans them into a catalog, and prints the table with what a
million such runs would take.

Wall times mean something on an idle machine alone. CPU times, of this process and of its workers,
are printed beside them: they say what a run costs whoever else computes meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nanautopsy.scan import work
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.limits import Limits
from nanautopsy.scan.rules import asking_of
from nanautopsy.scan.scan import Options, open_scan
from nanautopsy.scan.tally import Tally

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = 100
"""Experiments that the runs are spread over."""
ALONE = 300
"""Runs that are analyzed one by one, before the scan and after it."""
PAIRED = 1000
"""Runs that one worker and several scan, in turn."""
MILLION = 1_000_000
_TICKS = os.sysconf("SC_CLK_TCK")


def sources() -> list[Path]:
    """Runs of real trainings."""
    samples = [p for p in sorted((CHECKOUT / "sample_runs").iterdir()) if p.name != "generate"]
    return samples + sorted((CHECKOUT / "tests" / "corpus" / "runs").iterdir())


def build(root: Path, runs: int) -> None:
    """Copies of them, told apart by number."""
    real = sources()
    for number, source in zip(range(runs), itertools.cycle(real), strict=False):
        place = root / f"e{number % FOLDERS:02}" / f"r{number:06}"
        shutil.copytree(source, place)
        vary(place, number // len(real))


def vary(run: Path, round_: int) -> None:
    """As it is, with logs that end early, or without checkpoints."""
    for path in run.rglob("*"):
        if round_ % 3 == 1 and path.suffix in (".log", ".txt", ".jsonl", ".out"):
            os.truncate(path, path.stat().st_size * (60 + round_ % 40) // 100)
        if round_ % 3 == 2 and path.suffix in (".safetensors", ".pt", ".pth", ".ckpt", ".npz"):
            path.unlink()


@dataclass(frozen=True)
class Moment:
    """How far a scan is."""

    runs: int
    seconds: float
    own: float
    """Seconds of CPU of this process, which coordinates."""
    workers: float
    """Of its workers."""
    memory: float
    """MiB of this process."""
    catalog: int
    """Bytes."""


@dataclass
class Course:
    """What was seen while a scan went on."""

    catalog: Path
    every: int = 1
    """Runs between two looks."""
    moments: list[Moment] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def __call__(self, tally: Tally) -> None:
        if not self.moments or tally.scanned >= self.moments[-1].runs + self.every:
            self.look(tally.scanned)

    def look(self, runs: int) -> None:
        """Note this moment."""
        size = sum(p.stat().st_size for p in self.catalog.parent.glob(self.catalog.name + "*"))
        workers = sum(cpu(pid) for pid in descendants(os.getpid()))
        # Workers that ended are seen no more; what they had spent stands in the moment before.
        workers = max(workers, self.moments[-1].workers if self.moments else 0.0)
        seconds = time.perf_counter() - self.began
        self.moments.append(Moment(runs, seconds, time.process_time(), workers, resident(), size))

    @property
    def seconds(self) -> float:
        """Of the whole scan."""
        return self.moments[-1].seconds

    def at(self, share: float) -> Moment:
        """The moment at a share of the way."""
        wanted = share * self.moments[-1].runs
        return next(moment for moment in self.moments if moment.runs >= wanted)


def resident() -> float:
    """MiB of memory that this process holds; its workers are others."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def descendants(parent: int) -> list[int]:
    """Processes below one."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with_parent = _status(int(folder.name))
        if with_parent:
            below.setdefault(int(with_parent[1]), []).append(int(folder.name))
    found, pending = [], [parent]
    while pending:
        inside = below.get(pending.pop(), [])
        found += inside
        pending += inside
    return found


def cpu(pid: int) -> float:
    """Seconds of CPU that a process took."""
    status = _status(pid)
    return (int(status[11]) + int(status[12])) / _TICKS if status else 0.0


def _status(pid: int) -> list[str]:
    """State, parent, ... as Linux tells them; empty for a process that ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def scan(archive: Path, catalog: Path, workers: int, limits: Limits | None = None) -> Course:
    """One scan, watched."""
    course = Course(catalog, every=50)
    course.look(0)
    options = Options(jobs=workers, limits=limits or Limits())
    with Catalog.open(catalog) as opened:
        begun = open_scan(archive, options, opened, course)
        for _ in begun.results():
            pass
    course.look(begun.tally.scanned)
    return course


def alone(archive: Path) -> tuple[float, float]:
    """(seconds, seconds of CPU) a run takes in this process, once everything is warm."""
    jobs = list(open_scan(archive)._jobs({}))
    chosen = jobs[:: max(1, len(jobs) // ALONE)][:ALONE]
    for job in chosen[:50]:
        work.examine(job)
    begun, spent = time.perf_counter(), time.process_time()
    for job in chosen:
        work.examine(job)
    count = len(chosen)
    return (time.perf_counter() - begun) / count, (time.process_time() - spent) / count


def scaling(archive: Path, folder: Path, workers: int) -> list[float]:
    """How much faster several workers were than one, three times in turn."""
    kept = PAIRED * FOLDERS // max(PAIRED, sum(1 for _ in archive.glob("*/*")))
    exclude = tuple(f"e{number:02}" for number in range(max(1, kept), FOLDERS))
    ratios = []
    for turn in range(3):
        times = {
            count: scan(
                archive, folder / f"s{turn}{count}.db", count, Limits(exclude=exclude)
            ).seconds
            for count in (1, workers)
        }
        ratios.append(times[1] / times[workers])
    return ratios


@dataclass(frozen=True)
class Again:
    """A scan of what did not change."""

    unchanged: int
    seconds: float
    own: float
    """Seconds of CPU."""
    held: float
    """Bytes a run of what it reads of the catalog beforehand."""


def scan_again(archive: Path, catalog: Path, workers: int) -> Again:
    """One such scan, from opening the catalog to closing it."""
    begun, spent = time.perf_counter(), time.process_time()
    with Catalog.open(catalog) as opened:
        again = open_scan(archive, Options(jobs=workers), opened)
        for _ in again.results():
            pass
    seconds, own = time.perf_counter() - begun, time.process_time() - spent
    with Catalog.open(catalog) as opened:
        tracemalloc.start()
        settings = again.settings
        kept = opened.known(settings.address), opened.kinds(settings.address, asking_of(settings))
        held = tracemalloc.get_traced_memory()[0] / max(1, len(kept[0]))
        tracemalloc.stop()
    return Again(again.tally.unchanged, seconds, own, held)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    parser.add_argument("--no-scaling", action="store_true", help="leave out 1 worker against more")
    arguments = parser.parse_args()
    with folder_of(arguments.folder) as folder:
        archive = folder / "archive"
        build(archive, arguments.runs)
        measure(archive, folder, arguments.workers)
        if not arguments.no_scaling:
            ratios = scaling(archive, folder, arguments.workers)
            shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            line("1 worker / more", f"{statistics.median(ratios):.2f}", f"at least 1.8 ({shown})")


@contextmanager
def folder_of(given: Path | None) -> Iterator[Path]:
    """A folder to work in, removed afterwards."""
    with tempfile.TemporaryDirectory(dir=given, prefix="nanautopsy-scan-") as name:
        yield Path(name)


def measure(archive: Path, folder: Path, workers: int) -> None:
    """Scan, scan again, and tell."""
    catalog = folder / "catalog.db"
    before = alone(archive)
    course = scan(archive, catalog, workers)
    after = alone(archive)
    wall, single = ((a + b) / 2 for a, b in zip(before, after, strict=True))
    # The first moments are the workers' start, which a larger archive pays once as well.
    early, late = course.at(0.05), course.at(1.0)
    runs = late.runs - early.runs
    per_core = (late.seconds - early.seconds) * workers / runs
    own, spent = (late.own - early.own) / runs, (late.workers - early.workers) / runs
    line("runs", f"{late.runs:,}", f"{workers} workers, {course.seconds:.0f} s")
    line("alone, warm", f"{wall * 1e3:.1f} ms", f"{single * 1e3:.1f} ms of CPU")
    line("scan, a run and core", f"{per_core * 1e3:.1f} ms", "wall time")
    line("ratio", f"{per_core / wall:.2f}", "at most 1.3, on an idle machine")
    line("ratio of CPU time", f"{(own + spent) / single:.2f}", _shares(spent, own))
    again = scan_again(archive, catalog, workers)
    remark = f"under 5 ({again.own:.1f} s of CPU), {again.unchanged:,} unchanged"
    line("scan again", f"{again.seconds:.1f} s", remark)
    print("course of the scan:")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        now = course.at(share)
        size = f"{now.catalog / max(1, now.runs) / 1024:.2f} KiB/run" if now.runs else ""
        rate = f"{now.runs / now.seconds:.1f} runs/s" if now.runs else ""
        print(f"  {now.runs:8,} runs {rate:>13}  coordinator {now.memory:4.0f} MiB  catalog {size}")
    project(course, catalog.stat().st_size, again)


def _shares(workers: float, own: float) -> str:
    return f"{workers * 1e3:.1f} ms of a worker and {own * 1e3:.1f} ms of the coordinator a run"


def line(name: str, value: str, remark: str) -> None:
    """One row of the table."""
    print(f"{name:24}{value:>12}   {remark}", flush=True)


def project(course: Course, size: int, again: Again) -> None:
    """What a million would take, by the growth from a quarter of the way to the end."""
    early, late = course.at(0.25), course.at(1.0)
    runs = late.runs - early.runs
    rate = runs / (late.seconds - early.seconds)
    spent = (late.own + late.workers - early.own - early.workers) / runs
    memory = max(0.0, late.memory - early.memory) / runs
    print("a million such runs, by the growth from a quarter of the way to the end:")
    print(f"  scan         {MILLION / rate / 3600:8.1f} h at {rate:.1f} runs/s")
    print(f"               {MILLION * spent / 3600:8.1f} h of CPU")
    print(f"  scan again   {again.seconds / late.runs * MILLION / 60:8.1f} min")
    print(f"  catalog      {size / late.runs * MILLION / (1 << 30):8.1f} GiB")
    print(f"  coordinator  {late.memory + memory * (MILLION - late.runs):8.0f} MiB")
    print(f"  ... again    {late.memory + again.held * MILLION / (1 << 20):8.0f} MiB")


if __name__ == "__main__":
    main()
