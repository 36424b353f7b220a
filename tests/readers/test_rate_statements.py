"""Learning rates that the program says it sets, and a jump among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, read_text

from nanautopsy import analyze


@pytest.mark.parametrize(
    ("line", "value", "before"),
    [
        ("Adjusting learning rate of group 0 to 1.0000e-02.", 1e-2, None),
        ("Epoch 00020: reducing learning rate of group 0 to 1.0000e-03.", 1e-3, None),
        ("Epoch 3: LearningRateScheduler setting learning rate to 0.01.", 0.01, None),
        ("Learning rate changed from 0.001 to 0.1", 0.1, 0.001),
        ("lr: 0.01 -> 0.001", 0.001, 0.01),
        ("LR is now 5e-4", 5e-4, None),
    ],
)
def test_statements(tmp_path: Path, line: str, value: float, before: float | None) -> None:
    (event,) = events_of(read_text(tmp_path, f"step 5 loss: 2.0\n{line}\n"), "rate-set")
    assert (event.data["value"], event.data.get("before")) == (value, before)


@pytest.mark.parametrize(
    "line",
    [
        "Try reducing the learning rate to 0.001",
        "step 5 loss: 2.0 lr: 0.01",
        "learning rate warms up to step 1000000steps",
        "lr decays to 10% of its peak",
    ],
)
def test_what_states_none(tmp_path: Path, line: str) -> None:
    assert not events_of(read_text(tmp_path, line + "\n"), "rate-set")


def run(tmp_path: Path, rate: str, after: list[str]) -> tuple[str, list[str]]:
    before = [f"epoch {i} train loss {1 / (i + 1):.5f}" for i in range(20)]
    start, later = "Adjusting learning rate of group 0 to {}.", f"{rate}."
    lines = [*before[:10], start.format("1.0000e-02"), *before[10:], start.format(later), *after]
    (tmp_path / "out.log").write_text("\n".join(lines) + "\n")
    autopsy = analyze(tmp_path)
    return autopsy.verdict, [cause.id for cause in autopsy.causes]


def test_a_rate_that_is_set_too_high_by_a_schedule(tmp_path: Path) -> None:
    dies = ["epoch 20 train loss 3e8", "epoch 21 train loss nan", "epoch 22 train loss nan"]
    assert run(tmp_path, "5.0000e+00", dies) == ("non-finite", ["lr-spike"])


def test_a_rate_that_falls_as_planned(tmp_path: Path) -> None:
    goes_on = [f"epoch {i} train loss {1 / (i + 1):.5f}" for i in range(20, 40)]
    assert run(tmp_path, "1.0000e-03", goes_on) == ("healthy", [])
    dies = ["epoch 20 train loss nan", "epoch 21 train loss nan"]
    assert "lr-spike" not in run(tmp_path, "1.0000e-03", dies)[1]
