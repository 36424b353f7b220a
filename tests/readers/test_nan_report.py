"""Reports of a program's own check: objects that list bad layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanautopsy.autopsy import analyze


def judged(tmp_path: Path, name: str, report: Any) -> Any:
    rows = "".join(f"{n},{3 - 0.05 * n if n < 12 else float('nan')}\n" for n in range(16))
    (tmp_path / "loss.csv").write_text("step,loss\n" + rows)
    (tmp_path / name).write_text(json.dumps(report, indent=2))
    return analyze(tmp_path).onset


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("dump.json", {"step": 11, "bad_grads": ["layers.0.wq", "layers.1.wq"], "bad_params": []}),
        ("nan_step11.json", {"nan_gradients": {"layers.0.wq": 3, "layers.1.wq": 64, "head.w": 0}}),
        ("r.json", {"global_step": 11, "nonfinite_grads": [{"name": "layers.1.wq", "nan": 3}]}),
    ],
)
def test_step_and_layer(tmp_path: Path, name: str, report: Any) -> None:
    onset = judged(tmp_path, name, report)
    assert onset.step == 11
    assert onset.layers[0] == "layers.1.wq"


@pytest.mark.parametrize(
    "report",
    [
        {"nan_policy": "skip", "bad_words": ["foo", "bar"], "step": 3},
        {"step": 3, "bad_grads": [], "nan_params": {}},
        {"modules": ["layers.0.wq"], "step": 3},
        ["layers.0.wq"],
    ],
)
def test_what_is_no_report(tmp_path: Path, report: Any) -> None:
    onset = judged(tmp_path, "settings.json", report)
    assert onset.step == 12 and not onset.layers
