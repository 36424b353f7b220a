"""Text logs: our reader beside ``grep -cE`` for the same triggers and a plain loop over the lines.

    python tests/benchmarks/text_logs.py [MEGABYTES] [KIND ...]

Aims: DeepSpeed's output, one line of metrics in nine, at 150 MB/s on one core with memory flat in
the size of the file (points are kept: 24 bytes each and 40 a row); any kind within five times of
grep. Each figure is of a process of its own, for the peak memory beside it.
"""

from __future__ import annotations

import itertools
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nanautopsy.model import Series
from nanautopsy.readers.text.blocks import blocks
from nanautopsy.readers.text.dialects import DIALECTS
from nanautopsy.readers.text.records import records_of

MEGABYTES = 300
_DEEPSPEED = Path(__file__).parents[1] / "fixtures" / "deepspeed_log" / "train.log"
_NUMBER = re.compile(r"(?<=step=)\d+|(?<=[ =])\d+\.\d\d+")
_WORDS = "the model reads a bunch of words and writes what it found into another file again".split()


def deepspeed() -> Iterator[str]:
    """Real DeepSpeed output: the fixture's forty steps again and again with other numbers, and
    the overflows among them in one cycle of ten."""
    text = _DEEPSPEED.read_text()
    begin = text.index("\n", text.index('"warmup_num_steps"'))
    yield text[:begin]
    lines = text[begin:].splitlines(keepends=True)
    kept = [line for line in lines if "time (ms)" in line or "step=" in line or "OVERFLOW" in line]
    calm = [line for line in kept if "OVERFLOW" not in line]
    templates = [_template("".join(some)) for some in (kept, calm)]
    for cycle in itertools.count():
        template, numbers = templates[cycle % 10 > 0]
        yield template % tuple(
            int(number) + 40 * cycle if is_step else f"{number[:-1]}{random.randrange(10)}"
            for number, is_step in numbers
        )


def _template(text: str) -> tuple[str, list[tuple[str, bool]]]:
    """A format for the text's steps and decimals, and those with whether each is a step."""
    numbers = [(match[0], "." not in match[0]) for match in _NUMBER.finditer(text)]
    return _NUMBER.sub("%s", text.replace("%", "%%")), numbers


def key_value() -> Iterator[str]:
    """Nothing but metrics."""
    for i in itertools.count():
        loss, rate = random.random(), 1e-4 / (i + 1)
        yield f"step {i} | loss {loss:.4f} | norm {i % 97 / 8} | lr {rate:.2e}\n"


def logger() -> Iterator[str]:
    """Nothing but metrics behind a logger's prefix."""
    for i in itertools.count(1):
        day, hour, minute, second = i // 86400 % 28 + 1, i // 3600 % 24, i // 60 % 60, i % 60
        clock = f"2025-03-{day:02} {hour:02}:{minute:02}:{second:02},123"
        loss, rate = random.random(), 1 / (i + 1)
        yield f"{clock} - INFO - Step: {i}, Loss: {loss:.4f}, LR: {rate:.2e}\n"


def ranks() -> Iterator[str]:
    """Four processes that print into one file."""
    for i in itertools.count():
        loss, norm = random.random(), i % 31 / 7
        yield f"[rank{i % 4}]: step {i // 4} loss: {loss:.4f} grad_norm: {norm:.3f}\n"


def trainer() -> Iterator[str]:
    """Dictionaries and bars of the Hugging Face Trainer."""
    total = 10**7
    for i in itertools.count(1):
        bar = "#" * (i % 10) + " " * (10 - i % 10)
        yield f"\r 12%|{bar}| {i}/{total} [01:{i % 60:02}<03:11,  4.{i % 97:02}it/s]"
        if i % 10 == 0:
            yield f"{{'loss': {random.random():.4f}, 'grad_norm': {random.random():.4f}, "
            yield f"'learning_rate': {1e-5 * random.random():.6e}, 'epoch': {i / 1e5:.2f}}}\n"


def prose() -> Iterator[str]:
    """No two lines alike, and none of interest."""
    while True:
        yield " ".join(random.choices(_WORDS, k=12)) + f" {random.random()}\n"


def samples() -> Iterator[str]:
    """Generated text: no two lines alike, each with a word that a row of metrics could have."""
    while True:
        yield (
            " ".join(random.choices(_WORDS, k=12)) + f" batch {' '.join(random.choices(_WORDS))}\n"
        )


def noise() -> Iterator[str]:
    """The same few messages of no interest."""
    for i in itertools.count():
        seconds = i % 13 / 7
        yield f"2025-01-01 00:00:{i % 60:02} worker {i % 8} fetched shard {i} in {seconds:.3f} s\n"


KINDS = {
    f.__name__: f for f in (deepspeed, key_value, logger, ranks, trainer, prose, samples, noise)
}


def write(path: Path, kind: str, size: int) -> None:
    """A log of so many bytes."""
    random.seed(0)
    with open(path, "w") as file:
        written = 0
        for text in KINDS[kind]():
            written += file.write(text)
            if written >= size:
                return


def ours(path: Path) -> str:
    """Seconds of one core, points and peak memory in MB of this process."""
    begin = time.process_time()
    points = sum(len(r) for r in records_of(path.name, blocks(path)) if isinstance(r, Series))
    seconds = time.process_time() - begin
    return f"{seconds} {points} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"


def grep(path: Path) -> float:
    """Seconds of one core of grep for the dialects' triggers, in bytes and in any case."""
    words = {t for d in DIALECTS for t in d.triggers}
    pattern = "|".join(re.sub(r"([^\w\s'/:,=-])", r"\\\1", word) for word in sorted(words))
    begin = _seconds_of_children()
    command = ["grep", "-cEi", "-e", pattern, str(path)]
    subprocess.run(command, env={"LC_ALL": "C"}, stdout=subprocess.PIPE, check=False)
    return _seconds_of_children() - begin


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loop(path: Path) -> float:
    """Seconds of one core of ``for line in file``, which does nothing with the lines."""
    begin = time.process_time()
    with open(path, "rb") as file:
        for _ in file:
            pass
    return time.process_time() - begin


def main() -> None:
    """Print MB/s of each."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--one"]:
        print(ours(Path(arguments[1])))
        return
    size = float(arguments.pop(0)) if arguments[:1] and arguments[0].isdigit() else MEGABYTES
    print(f"{'MB/s':10}{'ours':>8}{'grep -cEi':>11}{'for line':>10}  grep/ours    points  peak MB")
    for kind in arguments or KINDS:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "train.log"
            write(path, kind, int(size * 1e6))
            megabytes = path.stat().st_size / 1e6
            loop(path)
            command = [sys.executable, __file__, "--one", str(path)]
            runs = [subprocess.check_output(command, text=True).split() for _ in range(2)]
            seconds = min(float(run[0]) for run in runs)
            theirs, plain = grep(path), loop(path)
            print(
                f"{kind:10}{megabytes / seconds:8.0f}{megabytes / theirs:11.0f}"
                f"{megabytes / plain:10.0f}{seconds / theirs:11.1f}{runs[0][1]:>10}{runs[0][2]:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
