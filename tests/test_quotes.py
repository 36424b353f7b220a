from __future__ import annotations

import gzip
from pathlib import Path

from nanautopsy import analyze
from nanautopsy.quotes import AFTER, BEFORE, CUT, LINE_CHARACTERS, MOST_CHARACTERS


def rows(first: int, last: int, loss: str = "2.5") -> list[str]:
    return [f"step {n} loss {loss} grad_norm 1.25 lr 0.001" for n in range(first, last + 1)]


def log(*extra: str) -> str:
    bad = ["step 60 loss nan grad_norm nan lr 0.001"]
    return "\n".join([*rows(1, 59), *extra, *bad, *rows(61, 80, "nan")]) + "\n"


def test_the_lines_around_the_first_bad_step_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(log())
    quote = next(q for q in analyze(tmp_path).quotes if q.onset is not None)
    assert (quote.path, quote.onset) == ("train.log", 60)
    assert quote.first <= 60 - BEFORE
    assert quote.first + len(quote.lines) - 1 >= 60 + AFTER
    assert quote.lines[60 - quote.first] == "step 60 loss nan grad_norm nan lr 0.001"
    assert 60 in quote.cited


def test_a_packed_log_is_quoted_too(tmp_path: Path) -> None:
    (tmp_path / "train.log.gz").write_bytes(gzip.compress(log().encode()))
    quote = next(q for q in analyze(tmp_path).quotes if q.onset is not None)
    assert quote.lines[60 - quote.first].startswith("step 60 loss nan")


def test_long_lines_are_cut_and_the_whole_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(log("x" * 5_000_000, "\x1b[31mred\x1b[0m"))
    quotes = analyze(tmp_path).quotes
    lines = [line for quote in quotes for line in quote.lines]
    assert max(map(len, lines)) <= LINE_CHARACTERS
    assert any(line.endswith(CUT) for line in lines)
    assert "red" in lines
    assert sum(map(len, lines)) <= MOST_CHARACTERS


def test_secrets_are_hidden_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(log("reading /home/ann/data by ann@example.org"))
    lines = [line for quote in analyze(tmp_path).quotes for line in quote.lines]
    assert "reading ~/data by <email-1>" in lines


def test_rows_of_a_table_are_quoted_where_they_are_cited(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2,nan\n")
    (quote,) = analyze(tmp_path).quotes
    assert (quote.lines, quote.cited) == (("step,loss", "1,2.0", "2,nan"), (3,))


def test_records_that_are_no_lines_are_not_quoted(tmp_path: Path) -> None:
    import wandbfiles

    rows = [{"loss": 2.0 + n} for n in range(9)] + [{"loss": float("nan")}]
    (tmp_path / "run-abcd.wandb").write_bytes(wandbfiles.old_run(rows))
    autopsy = analyze(tmp_path)
    assert autopsy.onset is not None
    assert autopsy.quotes == ()


def test_a_run_of_checkpoints_alone_has_no_quotes(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "step_5.npz", weight=np.full((2, 2), np.nan))
    assert analyze(tmp_path).quotes == ()
