"""Many rows taken at once give what the same rows give one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import of_type, problems_of, read_file

from nanautopsy.model import Problem, Record, Series
from nanautopsy.readers import json_lines, table, trainer_state
from nanautopsy.readers._cell_columns import numbers_of, steps_of
from nanautopsy.readers._line_blocks import Lines, line_blocks
from nanautopsy.readers._metric_rows import MetricRows

LENIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def described(records: Sequence[Record]) -> list[object]:
    """All that a reader said, comparable."""
    return [
        (
            one.tag,
            one.axis,
            one.rank,
            one.steps.tolist(),
            [repr(v) for v in one.values],
            None if one.times is None else [repr(t) for t in one.times],
            None if one.lines is None else one.lines.tolist(),
            None if one.missing is None else one.missing.tolist(),
        )
        if isinstance(one, Series)
        else (type(one).__name__, str(one))
        for one in records
    ]


def both(reader: object, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records, read in both ways."""
    fast = read_file(reader, path)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(MetricRows, "add_block", lambda *args, **kwargs: False)
        slow = read_file(reader, path)  # type: ignore[arg-type]
    assert described(fast) == described(slow)
    return fast


CELLS = st.sampled_from(
    ["1", "2.5", "nan", "-inf", "", " 3 ", "None", "1_000", "text", "1e-5", "NA", "-nan", "1.#IND"]
)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=2, max_size=12)


@LENIENT
@given(rows=ROWS, odd=st.sampled_from(["", "\n", 'x,"a\nb",1,2\n', "step,loss,a,time\n", "7,1\n"]))
def test_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], odd: str
) -> None:
    path = tmp_path / "metrics.csv"
    lines = [f"{i},{','.join(row)}\n" for i, row in enumerate(rows)]
    path.write_text("step,loss,a,time\n0,1,1,1\n" + "".join(lines) + odd + "".join(lines))
    both(table.READER, path, monkeypatch)


VALUES = st.sampled_from(
    [
        1,
        2.5,
        math.nan,
        None,
        "nan",
        "10%",
        "",
        True,
        {"b": 1.5},
        [1, 2],
        "3/4",
        1e18,
        10**400,
        "1_0",
    ]
)


@LENIENT
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["loss", "a", "time", "mode"]), VALUES), min_size=1
    )
)
def test_json_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(json_lines, "_FEWEST_ALIKE", 1)
    monkeypatch.setattr("nanautopsy.readers._metric_rows._SETTLED_AFTER", 3)
    head = [{"step": i, "loss": 1.0, "a": 2} for i in range(40)]
    body = [{"step": i, **row} for i, row in enumerate(rows)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*head, *body]))
    both(json_lines.READER, path, monkeypatch)


@LENIENT
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["loss", "a", "step"]), VALUES)),
    size=st.integers(0, 4000),
)
def test_trainer_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, object]], size: int
) -> None:
    head = [{"loss": 1.0, "step": i} for i in range(20)]
    path = tmp_path / "trainer_state.json"
    text = json.dumps({"log_history": [*head, *rows, *head], "global_step": 20}, indent=2)
    path.write_text(text[: len(text) - size] if size < len(text) - 200 else text)
    fast = read_file(trainer_state.READER, path)
    monkeypatch.setattr(trainer_state, "_add_alike", lambda *args: False)
    assert described(fast) == described(read_file(trainer_state.READER, path))
    monkeypatch.undo()


def test_times_and_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    rows = "".join(f"{i},{i / 10},{1700000000 + i},{i}\n" for i in range(100))
    path.write_text("epoch,loss,timestamp,runtime\n" + rows)
    loss = next(
        s for s in of_type(both(table.READER, path, monkeypatch), Series) if s.tag == "loss"
    )
    assert loss.axis == "epoch" and loss.times is not None and loss.times[1] == 1700000001
    path.write_text(path.read_text().replace("1700000050", "50").replace("\n70,", "\n70.5,"))
    both(table.READER, path, monkeypatch)


def test_what_follows_a_broken_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = [json.dumps({"step": i, "loss": 1.5}) for i in range(30)]
    cut = '{"step": 30, "loss": 1'
    path.write_text("\r\n".join([*good[:2], '{"step": 2, "lo', *good[3:], cut]), newline="")
    records = read_file(json_lines.READER, path)
    (loss,) = of_type(records, Series)
    assert loss.steps.tolist() == [0, 1, *range(3, 30)]
    first, second = problems_of(records)
    assert isinstance(first, Problem) and (first.source.line, first.source.offset) == (3, 52)
    assert "cut off" in second.text and second.source.line == 31


def test_line_blocks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\nb\0c\xff\nlast")
    (first, last) = line_blocks(path, 100)
    assert (first.lines, first.first_line, first.whole) == (["a", "", "bc\ufffd"], 1, True)
    assert (last.lines, last.first_line, last.whole) == (["last"], 4, False)
    lines = Lines(path)
    assert list(lines) == ["a", "", "bc\ufffd"] and lines.tail == (4, "last")
    path.write_bytes(b"1\r2\r")
    assert [block.lines for block in line_blocks(path, 100)] == [["1", "2"]]
    path.write_bytes(b"x" * (3 << 20))
    assert [len(block.data) for block in line_blocks(path, 1 << 20)] == [1 << 20] * 3
    path.write_bytes("\ufeffa\nb".encode("utf-16-le"))
    assert [line for block in line_blocks(path, 100) for line in block.lines] == ["a", "b"]


def test_columns_of_cells() -> None:
    whole = numbers_of(["1", "nan", " 2 "], frozenset())
    assert whole.rows is None and np.array_equal(whole.values, [1, math.nan, 2], equal_nan=True)
    some = numbers_of(["1", "", "na", "x", "1_0"], frozenset({"na"}))
    assert some.rows is not None and some.rows.tolist() == [0, 2]
    assert some.nulls is not None and some.nulls.tolist() == [False, True]
    assert steps_of(["1", "2"]) is not None and steps_of(["1", ""]) is None
    assert steps_of(["1/8", "2/8"]).tolist() == [1, 2]  # type: ignore[union-attr]
    assert steps_of([1.5, 2]) is None
