"""Texts that a program shows: what a language model generates says nothing of the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanautopsy.autopsy import analyze

TEXT = (
    "Q: my loss becomes nan after step 1200, grad_norm: nan. what should i do?\n"
    "A: the gradients became nan because of overflow in layer 12.\n"
    "RuntimeError: Function 'LogBackward0' returned nan values in its 0th output.\n"
    "step 500: loss nan\n"
)


def log(begin: str, end: str, *, dead: bool = False) -> str:
    lines = []
    for n in range(40):
        loss = "nan" if dead and n >= 25 else f"{3 - 0.05 * n:.4f}"
        lines.append(f"iter {n} | loss {loss} | tok/s 812{n % 10}\n")
        if n % 10 == 5:
            lines.append(f"{begin}\n{TEXT}{end}")
    return "".join(lines)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("--- sample ---", "--- end sample ---\n"),
        ("===== Generated text (step 200) =====", "======================\n"),
        ("[sample]", ""),
        ("** Generating **", "\n"),
        ("<generation>", "</generation>\n"),
        ("--- sample 1 ---", "--- sample 2 ---\nwhy is it inf?\n"),
    ],
)
def test_what_a_model_generates_is_no_statement(tmp_path: Path, begin: str, end: str) -> None:
    (tmp_path / "train.log").write_text(log(begin, end))
    assert analyze(tmp_path).verdict == "healthy"
    (tmp_path / "train.log").write_text(log(begin, end, dead=True))
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == 25


def test_rows_behind_a_heading_without_an_end_count(tmp_path: Path) -> None:
    rows = "".join(f"step {n} loss {'nan' if n >= 8 else 2.0 - 0.1 * n}\n" for n in range(12))
    (tmp_path / "train.log").write_text(f"--- sampling ---\n{rows}-----------\n")
    onset = analyze(tmp_path).onset
    assert onset is not None and onset.step == 8
