"""Tables, JSON lines and a Trainer's state beside pandas and the standard library; align's memory.

Aims: 30 MB/s and more each, line numbers and damage kept; ten million points aligned under 1 GB.
"""

from __future__ import annotations

import csv
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nanautopsy.align import align
from nanautopsy.discover import Discovery
from nanautopsy.model import Artifact, Reading, Series, Source
from nanautopsy.readers import json_lines, table, trainer_state

ROWS = 100_000
POINTS = 10_000_000
SERIES = 40


def ours(reader: object, kind: str, path: Path) -> int:
    """Points that our reader gives."""
    artifact = Artifact(path.name, kind, "x", ((path.name, path),), path.stat().st_size)
    records = reader.read(artifact)  # type: ignore[attr-defined]
    return sum(len(record) for record in records if isinstance(record, Series))


def by_csv(path: Path) -> int:
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return sum(len([float(cell) for cell in row if cell]) for row in rows)


def by_json(path: Path) -> int:
    with open(path) as file:
        return sum(len(json.loads(line)) for line in file)


def by_pandas(path: Path) -> int:
    import pandas

    frame = pandas.read_json(path, lines=True) if path.suffix == ".jsonl" else pandas.read_csv(path)
    return int(frame.size)


def state_by_json(path: Path) -> int:
    with open(path) as file:
        return len(json.load(file)["log_history"])


def write(folder: Path) -> tuple[Path, Path, Path]:
    """The same rows as CSV, JSON lines and ``trainer_state.json``."""
    generator = random.Random(1)
    rows = [
        {
            "loss": generator.random(),
            "grad_norm": 3 * generator.random(),
            "learning_rate": 1e-4 * generator.random(),
            "epoch": round(step / 1000, 3),
            "step": step,
        }
        for step in range(ROWS)
    ]
    sheet, lines, state = (
        folder / "metrics.csv",
        folder / "log.jsonl",
        folder / "trainer_state.json",
    )
    with open(sheet, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    state.write_text(json.dumps({"log_history": rows, "global_step": ROWS}, indent=2))
    return sheet, lines, state


def report(name: str, path: Path, read: Callable[[], int]) -> None:
    best = min(_timed(read) for _ in range(3))
    print(f"{name:28} {path.stat().st_size / best / 1e6:7.1f} MB/s")


def _timed(read: Callable[[], int]) -> float:
    begin = time.process_time()
    read()
    return time.process_time() - begin


def memory() -> None:
    """Peak of a run of ten million points, before and after it was aligned."""
    steps = np.arange(POINTS // SERIES, dtype=np.int64)
    series = tuple(
        Series(f"m{i}_loss", steps.copy(), np.random.rand(len(steps)), Source("log"),
               times=1.7e9 + steps, lines=steps.copy())
        for i in range(SERIES)
    )  # fmt: skip
    artifact = Artifact("log", "x", "x", (), 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    align("run", Discovery((artifact,), (), (), ()), [Reading(artifact, series, ())])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{POINTS} points aligned: peak {before:.0f} MB before, {after:.0f} MB after")


def main() -> None:
    memory()
    with tempfile.TemporaryDirectory() as folder:
        sheet, lines, state = write(Path(folder))
        report("csv: ours", sheet, lambda: ours(table.READER, "csv", sheet))
        report("csv: csv and float", sheet, lambda: by_csv(sheet))
        report("json lines: ours", lines, lambda: ours(json_lines.READER, "json-lines", lines))
        report("json lines: json.loads", lines, lambda: by_json(lines))
        try:
            report("csv: pandas", sheet, lambda: by_pandas(sheet))
            report("json lines: pandas", lines, lambda: by_pandas(lines))
        except ImportError:
            print("pandas is not installed")
        report("trainer state: ours", state, lambda: ours(trainer_state.READER, "x", state))
        report("trainer state: json.load", state, lambda: state_by_json(state))


if __name__ == "__main__":
    main()
