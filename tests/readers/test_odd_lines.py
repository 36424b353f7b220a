"""Lines that hold *nan*, *inf* or *overflow* and say nothing bad of a run, and some that do."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import FIXTURES

from nanautopsy.autopsy import analyze

ODD = (FIXTURES / "odd_but_sound.txt").read_text(encoding="utf-8").splitlines()


def log(said: list[str], dead: bool) -> str:
    """Rows of training with what is said between them; the last rows are NaN where it died."""
    rows = [f"step {n} | loss {3 - 2 * n / 400:.4f} | lr 1.0e-03" for n in range(len(said) + 2)]
    pairs = [line for pair in zip(rows, said, strict=False) for line in pair] + rows[-2:]
    end = [f"step {len(rows) + n} | loss nan | lr 1.0e-03" for n in range(4)] if dead else []
    return "\n".join(pairs + end) + "\n"


@pytest.mark.parametrize("part", range(4))
def test_nothing_odd_makes_a_sound_run_fail(tmp_path: Path, part: int) -> None:
    (tmp_path / "train.log").write_text(log(ODD[part::4], dead=False))
    autopsy = analyze(tmp_path)
    assert autopsy.verdict == "healthy", autopsy.onset and autopsy.onset.source
    assert not autopsy.causes


@pytest.mark.parametrize(
    "said",
    [
        "NaN gradient in layers.2.mlp.weight",
        "[nan-hook] layers.7.mlp BAD: 12 nan",
        "fc1.weight grad: nan=True inf=False",
        "blocks.3.mlp.act nan_frac=0.25 inf_frac=0.0",
        "encoder.layers.3: nan 12/4096 inf 0/4096",
        "3 non-finite gradients in 48 tensors: fc1.weight, fc2.weight, fc3.weight",
        "NaN/Inf summary: layers.0.mlp 12 nan",
        "first layer with NaN: layers.5.attn",
        "non-finite layers: ['layers.5.attn', 'layers.6.attn']",
        "exploding gradients: inf in layers.3.weight",
    ],
)
def test_what_is_said_of_a_layer_is_believed(tmp_path: Path, said: str) -> None:
    (tmp_path / "train.log").write_text(log(["all is well"] * 9 + [said], dead=True))
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.layers
