"""Settings printed line by line before the first row, and lines that only look like them."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import read_text

from nanautopsy.model import ConfigRecord

ROWS = "step 1 loss: 2.5\nstep 2 loss: 2.4\n"


def settings(tmp_path: Path, text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for record in of_type(read_text(tmp_path, text), ConfigRecord):
        found |= record.values
    return found


@pytest.mark.parametrize(
    "text",
    [
        "=====\n   dataset: toy\n     learning rate: 10.0\n  batch size: 32\n=====\n",
        "learning_rate = 10.0\nbatch_size = 32\n",
        "optimizer: sgd\nlearning_rate: 10.0\nbatch_size: 32\n",
        "learning_rate: 10.0\nbatch_size: 32\noptimizer: sgd\nmomentum: 0.9\n",
        "| learning_rate | 10.0 |\n| batch_size    | 32   |\n",
        "learning rate    10.0\nseed             0\nbatch size       32\n",
        "2025-03-04 10:00:00 INFO learning_rate: 10.0\n2025-03-04 10:00:00 INFO batch_size: 32\n",
        "config: reduction=sum learning_rate=10.0 batch_size=32\n",
        "learning_rate: 10.0, batch_size: 32, schedule: cosine\n",
    ],
)
def test_settings(tmp_path: Path, text: str) -> None:
    found = settings(tmp_path, text + ROWS)
    assert (found["learning_rate"], found["batch_size"]) == (10.0, 32)


@pytest.mark.parametrize(
    "text",
    [
        ROWS + "learning rate: 10.0\nbatch size: 32\n",
        "momentum: 0.9\n" + ROWS,
        "momentum: 0.9\nthis\nis\nfar\naway\nbatch size: 32\n" + ROWS,
        "epoch 3 loss=0.5 lr=0.1 momentum=0.9\n",
        "lr=0.1 is what others use\n" + ROWS,
    ],
    ids=["behind rows", "alone", "apart", "a row", "one pair"],
)
def test_what_is_none(tmp_path: Path, text: str) -> None:
    assert not settings(tmp_path, text)


def test_a_dictionary_of_experts(tmp_path: Path) -> None:
    text = "model: {'type': 'moe', 'num_experts': 8, 'experts_per_token': 1}\n"
    assert settings(tmp_path, text + ROWS)["num_experts"] == 8
