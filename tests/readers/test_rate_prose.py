"""Rates that are told in passing, and numbers beside the word that are none of this training."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import read_text

from nanautopsy.model import ConfigRecord, Scalar

ROWS = "step 1 loss: 2.5\nstep 2 loss: 2.4\n"


def stated(tmp_path: Path, line: str) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for record in of_type(read_text(tmp_path, line + "\n" + ROWS), ConfigRecord):
        found |= record.values
    return found


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("Training with learning rate 0.5 for 10 epochs", {}),
        ("sgd lr 0.5 momentum 0.9 clip off", {"optimizer": "sgd", "momentum": 0.9, "grad_clip": 0}),
        ("optimizer = torch.optim.SGD(model.parameters(), lr=0.5)", {"optimizer": "SGD"}),
        ("starting run: adam, lr 5e-1, 2000 steps", {"optimizer": "adam"}),
        ("2024-01-01 10:00:00,1 - root - INFO - Optimizer: adam, learning rate: .5", {}),
        ("opt: adamw(5e-1), wd 0.1", {"optimizer": "adamw", "weight_decay": 0.1}),
        ("DQN lr=0.5 batch=64", {}),
        ("optax.sgd(0.5)", {"optimizer": "sgd"}),
        ("Learning rate: 5e-1", {}),
        ("peak lr 0.5, min lr 0.01, no clipping", {"grad_clip": 0}),
        ("lr 0.5 | bs 64 | wd 1e-4 | clip 1.0", {"weight_decay": 1e-4, "grad_clip": 1.0}),
    ],
)
def test_rates(tmp_path: Path, line: str, more: dict[str, Scalar]) -> None:
    found = stated(tmp_path, line)
    assert found["learning_rate"] == 0.5
    assert more.items() <= found.items()


@pytest.mark.parametrize(
    "line",
    [
        "lr decay 0.5",
        "min lr 0.5",
        "suggested learning rate: 0.5",
        "you should try a learning rate of 0.5",
        "lr=0.5 is what others use",
        "lr_mult: 0.5",
        "lr 0.5x of the base",
        "learning rate decays by 50% every epoch",
        "Adam(0.9, 0.999)",
        "actor learning rate 0.5",
    ],
)
def test_what_is_no_rate(tmp_path: Path, line: str) -> None:
    assert "learning_rate" not in stated(tmp_path, line)


def test_behind_the_first_row_it_is_no_setting(tmp_path: Path) -> None:
    assert not of_type(read_text(tmp_path, ROWS + "now with learning rate 0.5\n"), ConfigRecord)
