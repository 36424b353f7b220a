"""The index page of 10,000 runs: its size, how long it takes to make, and how long Chromium needs
until it can be used.

The runs are those of ``sample_runs`` and of the corpus, scanned and then varied: folders, dates,
versions and steps. Run by hand: ``python tests/benchmarks/index_page.py [FILE]``; with FILE the
page is kept there.
"""

from __future__ import annotations

import copy
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nanautopsy
from nanautopsy.redact import redact_value
from nanautopsy.render.index import Linked, render
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.overview import overview_of
from nanautopsy.scan.results import ScanResult

ROOT = Path(__file__).resolve().parents[2]
RUNS = 10_000
_AT_ONCE = 500
_NOW = 1_764_000_000.0
_TORCH = ("2.0.1+cu118", "2.1.0+cu121", "2.2.2", "2.4.0", "2.5.1", "2.13.0")
_DEEPSPEED = ("0.10.0", "0.12.6", "0.14.2", "0.15.4")


def originals() -> list[ScanResult]:
    """Every run of the samples and of the corpus, scanned."""
    found: list[ScanResult] = []
    for archive in (ROOT / "sample_runs", ROOT / "tests" / "corpus" / "runs"):
        found += nanautopsy.scan(archive)
    return [result for result in found if result.document is not None]


def varied(results: Sequence[ScanResult]) -> Iterator[ScanResult]:
    """So many runs, each like one of the originals, as a team's experiments are like each other."""
    dice = random.Random(7)
    for i in range(RUNS):
        one = results[i % len(results)]
        document: dict[str, Any] = copy.deepcopy(dict(one.document or {}))
        packages = document["environment"].setdefault("packages", {})
        packages |= {"torch": {"version": dice.choice(_TORCH)}}
        packages |= {"deepspeed": {"version": dice.choice(_DEEPSPEED)}}
        steps = dice.randrange(100, 200_000)
        if document["onset"] is not None:
            document["onset"]["step"] = steps
        ended = _NOW - dice.random() * 3e7
        failed = document["verdict"] in ("non-finite", "diverged")
        waste = replace(one.waste, started=ended - 4e4, ended=ended, last_step=steps + 500)
        if failed:
            waste = replace(waste, steps=dice.randrange(5000), seconds=dice.random() * 40_000)
        root = f"team{i % 9}/experiment-{i // 40:03}/{one.root.replace('/', '-')}-seed{i % 40}"
        yield replace(
            one, archive="/mnt/runs", root=root, document=document, waste=waste, records=b"",
            scanned_at=_NOW,
        )  # fmt: skip


def fill(catalog: Catalog) -> None:
    """Put the varied runs into a catalog."""
    waiting: list[ScanResult] = []
    for result in varied(originals()):
        waiting.append(result)
        if len(waiting) == _AT_ONCE:
            catalog.record(waiting)
            waiting = []
    catalog.record(waiting)


USE = """
const done = arguments[0];
const entry = performance.getEntriesByType('navigation')[0];
const painted = () => new Promise((then) => requestAnimationFrame(() => setTimeout(then, 0)));
(async () => {
  const first = performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0;
  const times = [entry.domContentLoadedEventEnd, entry.loadEventEnd, first];
  const input = document.querySelector('#runs .tools input');
  const acts = [
    () => document.querySelector('#runs th button').click(),
    () => { input.value = 'seed3'; input.dispatchEvent(new Event('input')); },
    () => { input.value = 'seed3 team1'; input.dispatchEvent(new Event('input')); },
    () => document.querySelectorAll('.pager button')[1].click(),
  ];
  for (const act of acts) {
    const start = performance.now();
    act();
    await painted();
    times.push(performance.now() - start);
  }
  done([...times, document.querySelectorAll('*').length]);
})();
"""


def load(page: Path) -> list[float]:
    """Milliseconds until the script has run, until all is loaded, until something is painted; for a
    sort, a first and a second filtering and the next rows; and the number of elements."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as profile:
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            driver.get(page.as_uri())
            found: list[float] = driver.execute_async_script(USE)
            return found
        finally:
            driver.quit()


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        with Catalog.open(Path(directory) / "catalog.db") as catalog:
            fill(catalog)
            start = time.perf_counter()
            overview = overview_of(catalog)
            asked = time.perf_counter()
        hidden = redact_value(overview)[0]
        redacted = time.perf_counter()
        links = Linked({run.id: f"reports/{run.id:05}-0123456789.html" for run in overview.failed})
        text = render(hidden, links, version=nanautopsy.__version__)
        rendered = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(f"{len(overview.runs):,} runs, {len(overview.failed):,} of them dead")
        print(
            f"asked the catalog in {asked - start:.1f} s, hid in {redacted - asked:.1f} s, "
            f"rendered in {rendered - redacted:.1f} s; {peak:.0f} MB at most"
        )
        page = Path(sys.argv[1] if sys.argv[1:] else f"{directory}/index.html").resolve()
        page.write_text(text, encoding="utf-8")
        ready, loaded, painted, sorting, finding, again, turning, elements = load(page)
    print(f"page: {len(text.encode()) / 1e6:.2f} MB, {elements:,.0f} elements")
    print(
        f"Chromium: painted after {painted:.0f} ms, usable after {ready:.0f} ms, loaded after "
        f"{loaded:.0f} ms; sorting {sorting:.0f} ms, first filtering {finding:.0f} ms, next "
        f"{again:.0f} ms, next rows {turning:.0f} ms"
    )


if __name__ == "__main__":
    main()
