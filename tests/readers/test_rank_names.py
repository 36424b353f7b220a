"""Measures that are taken at a rank, whose number is a part of their name."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import of_type
from textlogs import read_text

from nanautopsy.model import Series


@pytest.mark.parametrize(
    ("form", "tag"),
    [
        ("Acc@1  {:.2f}", "Acc@1"),
        ("Acc@1 {:.2f} ( 50.10)", "Acc@1"),
        ("Acc@5: {:.2f}", "Acc@5"),
        ("acc@1={:.2f}", "acc@1"),
        ("recall@10: {:.2f}", "recall@10"),
    ],
)
def test_a_measure_at_a_rank(tmp_path: Path, form: str, tag: str) -> None:
    rows = "".join(
        f"Epoch: [0][{10 * i}/300]\tLoss {2 - 0.1 * i:.3f}\t{form.format(50.25 + i)}\tLR 0.01\n"
        for i in range(3)
    )
    found = {one.tag: one.values.tolist() for one in of_type(read_text(tmp_path, rows), Series)}
    assert found[tag] == [50.25, 51.25, 52.25]
    assert found["Loss"] == [2.0, 1.9, 1.8]
