"""Half a million values in one W&B run file: our reader beside the ``DataStore`` of wandb 0.19.

``python tests/benchmarks/wandb_files.py [PYTHON]``, where PYTHON is an interpreter that has
wandb 0.19 (later packages ship no reader), measures both on the same file. Two figures are given
for it: records scanned and parsed, and the values out of them as numbers, which is what ours gives.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nanautopsy.model import Artifact, Series
from nanautopsy.readers.wandb_offline import READER

sys.path.insert(0, str(Path(__file__).parents[1]))
from wandbfiles import field, item, run_file

ROWS = 50_000
KEYS = ("train/loss", "train/grad_norm", *(f"train/metric_{i}" for i in range(8)))
REPEATS = 5

_THEIRS = """
import json, sys, time
from wandb.proto import wandb_internal_pb2 as pb
from wandb.sdk.internal.datastore import DataStore

def read(values):
    begin = time.perf_counter()
    store = DataStore()
    store.open_for_scan(sys.argv[1])
    while (data := store.scan_data()) is not None:
        record = pb.Record()
        record.ParseFromString(data)
        if values and record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                json.loads(item.value_json)
    return time.perf_counter() - begin

print(json.dumps([min(read(values) for _ in range(3)) for values in (False, True)]))
"""


def write(path: Path) -> None:
    """A run as wandb 0.19 writes it: items in any order, the summary before each row."""
    chance = random.Random(7)
    records = []
    for step in range(ROWS):
        row = {key: chance.random() for key in KEYS}
        row |= {"_step": step, "_runtime": step / 10, "_timestamp": 1.7e9 + step / 10}
        items = [field(1, item([key], json.dumps(value))) for key, value in row.items()]
        records.append(field(1, 2 * step) + field(3, b"".join(items)))
        chance.shuffle(items)
        tail = field(2, field(1, step))
        records.append(field(1, 2 * step + 1) + field(2, b"".join(items) + tail))
    path.write_bytes(run_file(records))


def ours(path: Path) -> float:
    """Seconds to read everything."""
    artifact = Artifact(path.name, "wandb", READER.name, ((path.name, path),), 0)
    begin = time.perf_counter()
    records = list(READER.read(artifact))
    seconds = time.perf_counter() - begin
    assert sum(len(r) for r in records if isinstance(r, Series)) == ROWS * (len(KEYS) + 1)
    return seconds


def main() -> None:
    """Print seconds and ratios."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run-abcd.wandb"
        write(path)
        mine = min(ours(path) for _ in range(REPEATS))
        print(f"{ROWS * len(KEYS)} values, {path.stat().st_size / 1e6:.0f} MB")
        print(f"nanautopsy                    {mine:6.3f} s")
        if len(sys.argv) > 1:
            command = [sys.argv[1], "-c", _THEIRS, str(path)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            labels = ("DataStore, records parsed", "DataStore, values as numbers")
            for label, seconds in zip(labels, json.loads(output), strict=True):
                print(f"{label:29} {seconds:6.3f} s   theirs / ours {seconds / mine:.1f}")


if __name__ == "__main__":
    main()
