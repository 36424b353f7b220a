"""How long the diagnosis of a run takes that was read already: 1,000 series of 10,000 points.

Run by hand: ``python tests/benchmarks/diagnosis.py``. The limit is 100 ms; the ratio is to one pass
of ``numpy.isfinite`` over the same points, which no answer can do without.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from builders import make_run, series, tensor

from nanautopsy.autopsy import judge, load_rules
from nanautopsy.model import Checkpoint, Run

SERIES, POINTS, TENSORS = 1_000, 10_000, 300
DEATH = 9_000
LIMIT = 0.1
"""Seconds."""
_GLOBAL = ("train/loss", "train/grad_norm", "train/lr", "eval/loss", "train/accuracy")
_OF_LAYER = ("grad_norm/", "weight_norm/", "activation_absmax/")


def run_of(dies: bool) -> Run:
    """A run of the common tags, most of them of layers, and two checkpoints."""
    generator = np.random.default_rng(7)
    steps = np.arange(1, POINTS + 1)
    made = []
    for i in range(SERIES):
        tag = _GLOBAL[i] if i < len(_GLOBAL) else f"{_OF_LAYER[i % 3]}model.layers.{i // 3}.mlp"
        values = 1.0 + 0.1 * generator.random(POINTS)
        if dies and "lr" not in tag and "eval" not in tag:
            values[DEATH:] = np.nan
        made.append(replace(series(tag, values, steps), source=series(tag, [0.0]).source))
    names = [f"model.layers.{i}.mlp.weight" for i in range(TENSORS)]
    checkpoints = [
        Checkpoint(
            f"checkpoint-{step}",
            "safetensors",
            step,
            tuple(tensor(name, (64, 64), nan=4096 if bad else 0) for name in names),
        )
        for step, bad in ((5_000, False), (10_000, dies))
    ]
    return make_run(*made, *checkpoints, config={"training": {"optimizer": "AdamW", "bf16": True}})


def best(work: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of several."""
    durations = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        durations.append(time.perf_counter() - begin)
    return min(durations)


def main() -> None:
    """Print both runs."""
    rules = load_rules()
    for dies in (True, False):
        run = run_of(dies)
        once = best(lambda run=run: [np.isfinite(s.values).all() for s in run.series])  # type: ignore[misc]
        whole = best(lambda run=run: judge(run, rules, redact=False))  # type: ignore[misc]
        hidden = best(lambda run=run: judge(run, rules))  # type: ignore[misc]
        print(
            f"{'died' if dies else 'well'}: {whole * 1e3:.0f} ms of {LIMIT * 1e3:.0f} ms, "
            f"{whole / once:.1f} times one pass of isfinite ({once * 1e3:.1f} ms); "
            f"hiding secrets takes {(hidden - whole) * 1e3:.0f} ms more"
        )


if __name__ == "__main__":
    main()
