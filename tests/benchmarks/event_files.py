"""A million scalars in one event file: our reader beside TensorBoard's two loaders.

Aims: less than half the time of TensorBoard's Rust data server (which checks no payload unless it
is told to), a hundredth of that of its Python ``EventAccumulator``; ours checks every checksum.
"""

from __future__ import annotations

import math
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event

from nanautopsy.model import Artifact, Series
from nanautopsy.readers import _crc32c
from nanautopsy.readers.tensorboard import READER

POINTS = 1_000_000
TAGS = (
    *("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "loss_scale"),
    *(f"grad_norm/layers.{i}.mlp" for i in range(35)),
)
"""Forty; lengths of names come in runs, as those of layers do."""
REPEATS = 8


def write(path: Path, points: int) -> None:
    """An event file as torch writes it, with a validation every 250 steps."""
    payloads = [Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString()]
    time_of, step = 1.7e9, 0
    while len(payloads) <= points:
        for tag in TAGS if step % 250 else (*TAGS, "eval/loss", "eval/accuracy"):
            time_of += random.random() / 100
            event = Event(wall_time=time_of, step=step)
            event.summary.value.add(tag=tag, simple_value=random.random())
            payloads.append(event.SerializeToString())
        step += 1
    lengths = np.array([len(payload) for payload in payloads], dtype=np.int64)
    joined = np.frombuffer(b"".join(payloads), dtype=np.uint8)
    payload_crcs = _crc32c.mask(_crc32c.crc32c(joined, np.cumsum(lengths) - lengths, lengths))
    raw = np.frombuffer(lengths.astype("<u8").tobytes(), dtype=np.uint8)
    eights = np.full(len(lengths), 8)
    length_crcs = _crc32c.mask(_crc32c.crc32c(raw, np.arange(len(lengths)) * 8, eights))
    with open(path, "wb") as file:
        for payload, first, last in zip(payloads, length_crcs, payload_crcs, strict=True):
            header = struct.pack("<QI", len(payload), int(first))
            file.write(header + payload + struct.pack("<I", int(last)))


def ours(path: Path) -> float:
    """Seconds to read everything."""
    artifact = Artifact(path.name, "tensorboard", READER.name, ((path.name, path),), 0)
    begin = time.perf_counter()
    records = list(READER.read(artifact))
    seconds = time.perf_counter() - begin
    assert sum(len(r) for r in records if isinstance(r, Series)) >= POINTS
    return seconds


def rust(folder: Path, *flags: str) -> float:
    """Seconds of the data server's first load, as it logs them; NaN where it is not installed."""
    try:
        from tensorboard_data_server import server_binary
    except ImportError:
        return math.nan
    command = [server_binary(), "--logdir", str(folder), "--port", "0", "-v", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"Finished load cycle \(([\d.]+)(µs|ms|s)\)", line)
            if found:
                process.kill()
                return float(found[1]) * {"µs": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]
    return math.nan


def accumulator(folder: Path) -> float:
    """Seconds of ``EventAccumulator``, once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begin = time.perf_counter()
    EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return time.perf_counter() - begin


def main() -> None:
    """Print seconds and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "events.out.tfevents.1700000000.host.1.0"
        write(path, POINTS)
        # In turn, so that a machine whose speed drifts does not favor one; the best of each.
        rounds = [(ours(path), rust(folder), rust(folder, "--checksum")) for _ in range(REPEATS)]
        mine, plain, checked = (min(column) for column in zip(*rounds, strict=True))
        print(f"{POINTS} scalars, {path.stat().st_size / 1e6:.0f} MB")
        print(f"nanautopsy, checksums verified   {mine:7.3f} s")
        for label, seconds in (("", plain), ("--checksum", checked)):
            ratio = mine / seconds
            print(f"data server {label:20} {seconds:7.3f} s   ours / theirs {ratio:.2f}")
        if "--fast" not in sys.argv:
            theirs = accumulator(folder)
            ratio = theirs / mine
            print(f"EventAccumulator                 {theirs:7.3f} s   theirs / ours {ratio:.0f}")


if __name__ == "__main__":
    main()
