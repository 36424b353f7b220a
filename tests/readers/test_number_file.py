"""Files of bare numbers, told by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanautopsy import analyze
from nanautopsy.discover import NothingToRead

DIES = [2.0, 1.5, 9.0, 3e4, 1e19, np.inf, np.nan, np.nan]


def test_a_list_of_losses(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "train_losses.txt", DIES)
    onset = analyze(tmp_path).onset
    assert onset is not None
    assert (onset.step, onset.last_finite, onset.value) == (5, 4, "inf")
    assert (onset.source.tag, onset.source.line) == ("train_losses", 6)


def test_a_counter_and_a_loss(tmp_path: Path) -> None:
    text = "".join(f"{10 * i},{value}\n" for i, value in enumerate(DIES))
    (tmp_path / "loss.csv").write_text(text)
    onset = analyze(tmp_path).onset
    assert onset is not None and (onset.step, onset.last_finite) == (50, 40)


def test_a_line_that_is_cut_off_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "loss.csv").write_text("0,2.5\n1,2.4\n2,2.3\nnan,2\n3,2.2\n4")
    run = analyze(tmp_path).run
    assert [len(one) for one in run.series] == [4]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prices.csv", "0,2.5\n1,nan\n2,2.3\n"),
        ("loss.csv", "3,2.5\n1,nan\n2,2.3\n"),
        ("loss.csv", "0.5,2.5\n1.5,nan\n2.5,2.3\n"),
        ("loss.csv", "1,2,3\n2,3,4\n3,4,5\n"),
        ("loss.csv", "1\n2,3\n3,4\n"),
    ],
    ids=["another name", "no order", "no counter", "a matrix", "ragged"],
)
def test_other_numbers_are_not_claimed(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NothingToRead):
        analyze(tmp_path)


def test_a_history_without_a_header(tmp_path: Path) -> None:
    text = "".join(f"{10 * i},{value},0.5,0.01\n" for i, value in enumerate(DIES))
    (tmp_path / "history.csv").write_text(text)
    onset = analyze(tmp_path).onset
    assert onset is not None and (onset.step, onset.last_finite) == (50, 40)
    assert onset.source.tag == "column 2"


def test_a_table_of_data_is_no_history(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("0,2.5,nan\n1,2.4,0.1\n2,2.3,0.2\n3,2.2,nan\n")
    with pytest.raises(NothingToRead):
        analyze(tmp_path)
