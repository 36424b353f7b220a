"""The page of a giant: its size, and how long Chromium needs until it can be used.

50,000 tensors in each of two checkpoints, 5,000 series with a million points together. Run by hand:
``python tests/benchmarks/page.py [FILE]``; with FILE the page is kept there.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import factories

from nanautopsy.model import Autopsy, Checkpoint, Series, TensorHealth
from nanautopsy.render.html import render

TENSORS, SERIES, POINTS = 50_000, 5_000, 200
ONSET = 150
"""Steps from which every fiftieth series is not finite."""


def giant() -> Autopsy:
    """The failing run with very much of everything."""
    failing = factories.failing()
    checkpoints = tuple(
        Checkpoint(f"checkpoint-{step}", "safetensors", step, _tensors(bad))
        for step, bad in ((100, False), (200, True))
    )
    config = factories.facts(
        {f"training.group{i // 50}.setting{i}": i for i in range(5_000)}, failing.onset.source
    )
    run = replace(failing.run, series=_series(), checkpoints=checkpoints, config=config)
    onset = replace(failing.onset, step=ONSET, last_finite=ONSET - 1)
    return replace(failing, run=run, onset=onset)


def _tensors(bad: bool) -> tuple[TensorHealth, ...]:
    return tuple(
        factories.tensor(
            f"model.layers.{i // 100}.mlp.experts.{i % 100}.down_proj.weight",
            max_abs=1.0 + i % 997,
            nan=16 if bad and i % 5_000 == 0 else 0,
        )
        for i in range(TENSORS)
    )


def _series() -> tuple[Series, ...]:
    steps = np.arange(POINTS)
    generator = np.random.default_rng(3)
    found = [factories.series("train/loss", steps, generator.random(POINTS), "loss")]
    for i in range(SERIES - 1):
        values = generator.lognormal(0, 1, POINTS)
        if i % 50 == 0:
            values[ONSET:] = np.nan
        layer = f"model.layers.{i // 10}.mlp.{i % 10}"
        tag = f"gradients/{layer}"
        found.append(factories.series(tag, steps, values, "layer_gradient", layer=layer))
    return tuple(found)


INTERACTIVE = """
const done = arguments[0];
const entry = performance.getEntriesByType('navigation')[0];
const start = performance.now();
document.querySelector('#tensors details[open] th button').click();
requestAnimationFrame(() => setTimeout(() => done([
  entry.domContentLoadedEventEnd, entry.loadEventEnd, performance.now() - start,
  document.querySelectorAll('*').length,
]), 0));
"""


def load(page: Path) -> list[float]:
    """Milliseconds until the script has run, until all is loaded, that one sort takes to be
    painted; and the number of elements."""
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
            found: list[float] = driver.execute_async_script(INTERACTIVE)
            return found
        finally:
            driver.quit()


def main() -> None:
    """Print the figures."""
    autopsy = giant()
    start = time.perf_counter()
    text = render(autopsy)
    took = time.perf_counter() - start
    points = sum(len(series) for series in autopsy.run.series)
    print(f"{2 * TENSORS:,} tensors, {SERIES:,} series, {points:,} points")
    print(f"page: {len(text.encode()) / 1e6:.2f} MB, rendered in {took:.1f} s")
    with tempfile.TemporaryDirectory() as directory:
        page = Path(sys.argv[1] if sys.argv[1:] else f"{directory}/giant.html").resolve()
        page.write_text(text, encoding="utf-8")
        ready, loaded, sorting, elements = load(page)
    print(f"Chromium: usable after {ready:.0f} ms, loaded after {loaded:.0f} ms, ", end="")
    print(f"a sort painted in {sorting:.0f} ms; {elements:,.0f} elements")


if __name__ == "__main__":
    main()
