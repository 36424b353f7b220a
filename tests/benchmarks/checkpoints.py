"""Measuring a checkpoint beside reading it, and beside what people run today.

Aims, against a plain read of the same file from page cache: 0.7 of its speed at the ``finite``
depth, 0.4 at the ``full`` one; 30 times the speed of loading the file with torch and asking
``torch.isfinite(t).all()`` of each tensor; 200,000 small tensors in under 3 s; with ``--huge``,
less than 300 MB of memory for a file of 10 GB.

Two plain reads are timed: ``readinto`` one reused buffer of 4 MB, the fastest there is, against
which the ratios stand, and ``file.read()``, which has to be given fresh memory by the system.
On a machine that does other work the short read is lucky more often than what takes longer: the
ratio of processor times, of one thread, does not depend on it.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from nanautopsy.checkpoints.data_file import LocalFile
from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import Depth, Problem

MEGABYTES = 512
SMALL = 200_000
DTYPES = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
}


def layer_shapes(count: int) -> list[tuple[int, ...]]:
    """A transformer's shapes, about ``count`` elements in all."""
    width = 2048
    shapes: list[tuple[int, ...]] = [(16_000, width)]
    while sum(map(math.prod, shapes)) < count:
        shapes += [(width,), (3 * width, width), (width, width), (width,), (4 * width, width)]
        shapes += [(width, 4 * width)]
    return shapes


def write(path: Path, dtype: str, megabytes: int) -> list[StoredTensor]:
    """Weights as they are after training, one tensor after the other."""
    block = np.random.default_rng(0).standard_normal(1 << 20, dtype=np.float32) * 0.02
    values = block.astype(DTYPES[dtype])
    file = LocalFile(path.name, path)
    tensors = []
    with open(path, "wb") as out:
        for number, shape in enumerate(layer_shapes(megabytes * 2**20 // values.itemsize)):
            piece = Piece(file, out.tell(), shape)
            tensors.append(StoredTensor(f"layers.{number}", dtype, shape, (piece,)))
            for _ in range(0, math.prod(shape), values.size):
                left = math.prod(shape) - (out.tell() - piece.offset) // values.itemsize
                out.write(values[:left].tobytes())
    return tensors


def read_into_one_buffer(path: Path) -> None:
    """The plain read that the ratios stand against."""
    buffer = memoryview(bytearray(4 << 20))
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def read_at_once(path: Path) -> None:
    """What a script writes."""
    with open(path, "rb") as file:
        file.read()


def measure(tensors: list[StoredTensor], depth: Depth, threads: int | None = None) -> None:
    """Ours."""
    for result in measure_all(tensors, depth, threads=threads):
        assert not isinstance(result, Problem), result


def torch_file(path: Path, dtype: str) -> Callable[[], None] | None:
    """Load with torch, ask each tensor; ``None`` where torch cannot be imported."""
    try:
        import torch
        from safetensors.torch import load_file, save_file
    except ImportError:
        return None
    kinds = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    if dtype not in kinds:
        return None
    megabytes = path.stat().st_size >> 20
    width = 2048
    rows = (megabytes << 20) // 16 // width // kinds[dtype].itemsize
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(rows, width, generator=generator).mul_(0.02).to(kinds[dtype])
    copy = path.with_suffix(".safetensors")
    save_file({f"layers.{i}": weights.clone() for i in range(16)}, copy)

    def ask() -> None:
        for tensor in load_file(copy).values():
            assert torch.isfinite(tensor).all()

    return ask


def best(
    calls: dict[str, Callable[[], None]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The least seconds of each, in turn, so that a drifting machine does not favor one."""
    seconds = dict.fromkeys(calls, math.inf)
    for _ in range(repeats):
        for name, call in calls.items():
            begin = clock()
            call()
            seconds[name] = min(seconds[name], clock() - begin)
    return seconds


def compare(folder: Path, dtype: str, megabytes: int, repeats: int) -> None:
    """Print one line."""
    path = folder / f"{dtype}.bin"
    tensors = write(path, dtype, megabytes)
    calls: dict[str, Callable[[], None]] = {
        "readinto": lambda: read_into_one_buffer(path),
        "finite": lambda: measure(tensors, "finite"),
        "full": lambda: measure(tensors, "full"),
    }
    alone: dict[str, Callable[[], None]] = {
        "readinto": lambda: read_into_one_buffer(path),
        "finite": lambda: measure(tensors, "finite", 1),
        "full": lambda: measure(tensors, "full", 1),
    }
    seconds = best(calls, repeats)
    processor = best(alone, repeats, time.process_time)
    seconds |= best({"read": lambda: read_at_once(path)}, 2)
    gigabytes = path.stat().st_size / 1e9
    line = f"{dtype:8}"
    for name in ("readinto", "read"):
        line += f" {name} {gigabytes / seconds[name]:5.1f} GB/s "
    for name in ("finite", "full"):
        line += f"| {name} {gigabytes / seconds[name]:5.1f} GB/s"
        line += f" ratio {seconds['readinto'] / seconds[name]:4.2f}"
        line += f" (processor time {processor['readinto'] / processor[name]:4.2f};"
        line += f" to read() {seconds['read'] / seconds[name]:4.1f}) "
    ask = torch_file(path, dtype)
    if ask is not None:
        theirs = best({"torch": ask}, 2)["torch"]
        line += f"| torch {gigabytes / theirs:5.2f} GB/s, ours finite"
        line += f" {theirs / seconds['finite']:.0f}x, full {theirs / seconds['full']:.0f}x"
    print(line, flush=True)
    path.unlink()
    path.with_suffix(".safetensors").unlink(missing_ok=True)


def many_small(folder: Path) -> None:
    """Print the time for tensors of 1 to 256 elements."""
    path = folder / "small.bin"
    path.write_bytes(np.ones(SMALL * 256, dtype=np.float32).tobytes())
    file = LocalFile(path.name, path)
    shapes: list[tuple[int, ...]] = [(64,), (16, 16), (256,), ()]
    offset, tensors = 0, []
    for number in range(SMALL):
        shape = shapes[number % len(shapes)]
        piece = Piece(file, offset, shape)
        tensors.append(StoredTensor(f"layers.{number}.weight", "F32", shape, (piece,)))
        offset += 4 * math.prod(shape)
    seconds = best(
        {
            "finite": lambda: measure(tensors, "finite"),
            "full": lambda: measure(tensors, "full"),
        },
        3,
    )
    print(f"{SMALL} small tensors: finite {seconds['finite']:.2f} s, full {seconds['full']:.2f} s")
    path.unlink()


def huge(folder: Path) -> None:
    """Print the peak memory over a file of 10 GB, which is a hole and takes no room."""
    path = folder / "huge.bin"
    with open(path, "wb") as out:
        out.truncate(10 * 10**9)
    file = LocalFile(path.name, path)
    shape = (1000, 1000, 250)
    tensors = [
        StoredTensor(str(i), "BF16", (5, *shape), (Piece(file, i * 2500 * 10**6, (5, *shape)),))
        for i in range(4)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    measure(tensors, "full")
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"10 GB: {seconds:.1f} s, peak memory {after >> 10} MB (before: {before >> 10} MB)")


def main() -> None:
    """Print speeds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--huge", action="store_true", help="only: peak memory for 10 GB")
    parser.add_argument("--small", action="store_true", help="only: many small tensors")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="for the files: a disk, not memory")
    parser.add_argument("dtypes", nargs="*", default=list(DTYPES))
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, {options.megabytes} MB a dtype")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if options.huge:
            huge(Path(name))
            return
        if not options.small:
            for dtype in options.dtypes:
                compare(Path(name), dtype, options.megabytes, options.repeats)
        many_small(Path(name))


if __name__ == "__main__":
    sys.exit(main())
