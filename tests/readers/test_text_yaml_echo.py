"""Settings printed into a log as YAML, and blocks that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import points_of, read_log, read_text

from nanautopsy.model import ConfigRecord, Scalar

BLOCK = """\
seed: 1
optimizer:
  _target_: torch.optim.AdamW
  lr: 1.0e-04
  betas:
  - 0.9
  - 0.95
  eps: 1.0e-08
trainer:
  precision: 16-mixed
  max_epochs: 10
  gradient_clip_val: null
loss:
  label_smoothing: 0.1

step 1 loss 2.5
step 2 loss nan
"""
SETTINGS: dict[str, Scalar] = {
    "seed": 1,
    "optimizer._target_": "torch.optim.AdamW",
    "optimizer.lr": 1e-4,
    "optimizer.betas.0": 0.9,
    "optimizer.betas.1": 0.95,
    "optimizer.eps": 1e-8,
    "trainer.precision": "16-mixed",
    "trainer.max_epochs": 10,
    "trainer.gradient_clip_val": None,
    "loss.label_smoothing": 0.1,
}


@pytest.mark.parametrize("prefix", ["", "[2024-01-01 10:00:00,123][__main__][INFO] - "])
def test_a_block_is_one_record(tmp_path: Path, prefix: str) -> None:
    records = read_text(tmp_path, "Starting\n" + prefix + BLOCK)
    (config,) = of_type(records, ConfigRecord)
    assert config.kind == "log"
    assert config.values == SETTINGS
    assert config.source.line == 2
    assert points_of(records)[("loss", "step")][0] == [1, 2]


def test_the_end_of_the_file_ends_a_block(tmp_path: Path) -> None:
    (config,) = of_type(read_text(tmp_path, BLOCK[: BLOCK.index("loss:")]), ConfigRecord)
    assert config.values["trainer.max_epochs"] == 10


def test_the_same_block_of_every_rank_counts_once(tmp_path: Path) -> None:
    assert len(of_type(read_text(tmp_path, BLOCK * 3), ConfigRecord)) == 1


@pytest.mark.parametrize(
    "text",
    [
        # Few settings, or none indented.
        "optimizer:\n  lr: 0.1\n  eps: 1e-8\n",
        "seed: 1\nmodel: gpt\ntrainer: ddp\nbatch_size: 3\nname: a\n",
        # A report of training.
        "training:\n  loss: 2.5\n  accuracy: 0.5\n  lr: 0.1\n  perplexity: 12.0\n  tokens: 3\n",
        "trainer:\n  epoch: 3\n  lr: 0.1\n  momentum: 0.5\n  speed: 3\n  memory: 4\n  size: 5\n",
        # No YAML.
        "model:\n  a: [1\n  b: {2\n  c: 3\n  d: 4\n  e: 5\n  f: 6\n",
        "model:\n  a: 1\n b: 2\n   c: 3\n  d: 4\n  e: 5\n  f: 6\n",
    ],
)
def test_what_is_no_block_of_settings(tmp_path: Path, text: str) -> None:
    assert of_type(read_text(tmp_path, text + "\n"), ConfigRecord) == []


def test_an_endless_block_is_left(tmp_path: Path) -> None:
    lines = "".join(f"  key_{i}: {'x' * 900}\n" for i in range(1000))
    assert of_type(read_text(tmp_path, "model:\n" + lines), ConfigRecord) == []


def test_the_lines_of_a_block_stay_metrics(tmp_path: Path) -> None:
    text = "".join(f"training:\nstep: {i} loss: 2.5\nlr: 0.1\n" for i in range(30))
    assert len(points_of(read_text(tmp_path, text))[("loss", "step")][0]) == 30


def test_headings_that_come_with_every_step_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"model:\nstep {i} loss 2.5\n" for i in range(1000)) + BLOCK)
    records = read_log(path)
    assert of_type(records, ConfigRecord) == []  # too late for settings
    assert len(points_of(records)[("loss", "step")][0]) == 1002
