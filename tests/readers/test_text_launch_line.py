"""The command that started the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanautopsy import analyze


def _command(tmp_path: Path, line: str) -> str | None:
    log = tmp_path / "train.log"
    log.write_text(f"{line}\nstep: 1 loss: 2.5\nstep: 2 loss: 2.4\n", encoding="utf-8")
    fact = analyze(log).run.environment.get("command")
    return None if fact is None else str(fact.value)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("+ python train.py --fp16 --lr 2e-3", "python train.py --fp16 --lr 2e-3"),
        ("$ torchrun --nproc=8 train.py --bf16", "torchrun --nproc=8 train.py --bf16"),
        (
            "[2024-03-01 10:00:00,000] [INFO] [runner.py:568:main] cmd = python3 train.py --bf16",
            "python3 train.py --bf16",
        ),
    ],
)  # fmt: skip
def test_it_is_read(tmp_path: Path, line: str, command: str) -> None:
    assert _command(tmp_path, line) == command


@pytest.mark.parametrize(
    "line",
    [
        "usage: python train.py --fp16",
        "Please run `python convert.py --to bf16` first",
        'File "/opt/train.py", line 3, in <module>',
        "saved to train.py --",
    ],
)
def test_what_is_no_command(tmp_path: Path, line: str) -> None:
    assert _command(tmp_path, line) is None


def test_its_flags_tell_the_precision(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("+ python train.py --fp16\nstep: 1 loss: 2.5\nstep: 2 loss: 2.4\n")
    assert analyze(log).run.facts["compute_dtype"].value == "F16"
