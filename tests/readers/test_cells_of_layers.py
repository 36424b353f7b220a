"""Rows of names and numbers without ``=`` or ``:``, in which layers stand beside the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import points_of, read_text

ROWS = {
    "bars": "step {n} | loss 2.0{n} | act_max/embed 0.95{n} | act_max/out 3.9{n}\n",
    "spaces": "[00000{n}] loss 2.0{n}  act_max/embed 0.95{n}  act_max/out 3.9{n}\n",
}


@pytest.mark.parametrize("form", ROWS)
def test_every_cell_is_a_series(tmp_path: Path, form: str) -> None:
    text = "".join(ROWS[form].format(n=n) for n in range(1, 6))
    found = {tag for tag, _ in points_of(read_text(tmp_path, text))}
    assert {"loss", "act_max/embed", "act_max/out"} <= found


def test_rows_without_a_loss_are_no_metrics(tmp_path: Path) -> None:
    text = "".join(
        f"step {n} | loss 2.0{n}\nstep {n} | mean 0.5{n} | std 1.1{n}\n" for n in range(1, 6)
    )
    assert {tag for tag, _ in points_of(read_text(tmp_path, text))} == {"loss"}


def test_a_loss_by_its_formula_lets_others_join(tmp_path: Path) -> None:
    text = "".join(f"iter={n} train_ce=2.0{n} mean_return=22.{n} lr=0.0003\n" for n in range(1, 6))
    found = {tag for tag, _ in points_of(read_text(tmp_path, text))}
    assert {"train_ce", "mean_return", "lr"} <= found
