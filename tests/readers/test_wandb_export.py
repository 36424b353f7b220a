"""CSV files exported from W&B."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, problems_of, read_file, same_values, series_of

from nanautopsy.model import Record, Skipped
from nanautopsy.readers.wandb_export import READER

Factory = pytest.TempPathFactory

PLOT = """\
"Step","quiet-sun-3 - loss","quiet-sun-3 - loss__MIN","quiet-sun-3 - loss__MAX"
"0","2.5","2.5","2.5"
"10","2.25","2","NaN"
"20","","",""
"30","Infinity","1","Infinity"
"40","NaN","NaN","NaN"
"""


def read(text: str | bytes, tmp_path: Path) -> list[Record]:
    path = tmp_path / "wandb_export.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_file(READER, path)


def test_one_run(tmp_path: Path) -> None:
    loss = series_of(read(PLOT, tmp_path))["loss"]
    assert loss.steps.tolist() == [0, 10, 30, 40] and loss.axis == "step"
    assert same_values(loss.values, [2.5, math.nan, math.inf, math.nan])
    assert loss.lines is not None and loss.lines.tolist() == [2, 3, 5, 6]


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    plain = series_of(read(PLOT, tmp_path))["loss"]
    windows = b"\xef\xbb\xbf" + PLOT.replace("\n", "\r\n").encode()
    other = series_of(read(windows, tmp_path))["loss"]
    assert plain.steps.tolist() == other.steps.tolist()
    assert same_values(plain.values, other.values)


def test_several_runs_and_dashes_in_names(tmp_path: Path) -> None:
    names = ["a - b - loss", "Group: c - loss"]
    header = ["epoch", *(name + end for name in names for end in ("", "__MIN", "__MAX"))]
    text = ",".join(f'"{name}"' for name in header) + "\n0,1,1,1,2,2,2\n1,3,3,3,,,\n"
    found = series_of(read(text, tmp_path))
    assert set(found) == set(names)
    assert found["a - b - loss"].axis == "epoch"
    assert found["a - b - loss"].values.tolist() == [1, 3]
    assert found["Group: c - loss"].values.tolist() == [2]


@pytest.mark.parametrize(
    ("x", "rows", "axis", "steps"),
    [
        ("train/global_step", [5, 10], "step", [5, 10]),
        ("consumed_samples", [64, 128], "samples", [64, 128]),
        ("train/epoch", [0.5, 1.0], "record", [0, 1]),
        ("Relative Time (Process)", [3, 9], "record", [0, 1]),
        ("Wall Time", [1.7e9, 1.7e9 + 1], "record", [0, 1]),
    ],
)
def test_x_axes(x: str, rows: list[float], axis: str, steps: list[int], tmp_path: Path) -> None:
    text = f"{x},r - loss,r - loss__MIN,r - loss__MAX\n"
    text += "".join(f"{row!r},1,1,1\n" for row in rows)
    loss = series_of(read(text, tmp_path))["loss"]
    assert (loss.axis, loss.steps.tolist()) == (axis, steps)
    assert (loss.times is not None) == (x == "Wall Time")


def test_the_runs_own_steps_stand_in_for_a_time_axis(tmp_path: Path) -> None:
    columns = [f"r - {name}{end}" for name in ("_step", "loss") for end in ("", "__MIN", "__MAX")]
    text = ",".join(["Relative Time (Wall)", *columns]) + "\n0.5,7,7,7,1,1,1\n1.5,17,17,17,2,2,2\n"
    found = series_of(read(text, tmp_path))
    assert set(found) == {"loss"}
    assert (found["loss"].axis, found["loss"].steps.tolist()) == ("step", [7, 17])


def test_history_of_the_api(tmp_path: Path) -> None:
    text = """\
,_runtime,_timestamp,loss,note,_step
0,1.0,1600000000.5,1.5,"a, b",0
1,2.0,1600000001.5,,x,1
2,3.0,1600000002.5,NaN,,2.0
3,4.0,1600000003.5,-inf,,
"""
    records = read(text, tmp_path)
    loss = [s for s in records if getattr(s, "tag", None) == "loss"]
    assert [one.axis for one in loss] == ["step", "record"]  # type: ignore[union-attr]
    assert loss[0].steps.tolist() == [0, 2]  # type: ignore[union-attr]
    assert same_values(loss[0].values, [1.5, math.nan])  # type: ignore[union-attr]
    assert loss[0].times.tolist() == [1600000000.5, 1600000002.5]  # type: ignore[union-attr]
    assert loss[1].values.tolist() == [-math.inf]  # type: ignore[union-attr]
    assert "note" not in {getattr(s, "tag", None) for s in records}


def test_the_table_of_runs_is_skipped(tmp_path: Path) -> None:
    (skipped,) = read('"Name","State","Runtime","_step","loss"\n"a","crashed",3,9,NaN\n', tmp_path)
    assert isinstance(skipped, Skipped)


@pytest.mark.parametrize(
    "text",
    ["step,loss\n0,1\n", "a - b,c - d\n1,2\n", "hello\n", "", "Step,loss\n0,1\n", "x,_stepper\n"],
)
def test_what_is_not_claimed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    assert READER.claim(head_of(path)) is None


def test_rows_that_are_too_short_or_too_long(tmp_path: Path) -> None:
    found = series_of(read(PLOT + '"50"\n"60","1"\n"70","1","1","1","9","9"\n', tmp_path))
    assert found["loss"].steps.tolist()[-2:] == [60, 70]


def test_cut_at_every_byte(tmp_path: Path) -> None:
    begin = PLOT.index("\n") + 1
    whole = series_of(read(PLOT, tmp_path))["loss"]
    for cut in range(begin, len(PLOT)):
        found = series_of(read(PLOT[:cut], tmp_path))
        lines = PLOT[:cut].count("\n") - 1
        kept = found["loss"].steps.tolist() if found else []
        expected = [s for s in whole.steps.tolist() if s // 10 < lines]
        assert kept[: len(expected)] == expected


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_garbage_never_raises(tmp_path_factory: Factory, junk: bytes, seed: int) -> None:
    folder = tmp_path_factory.mktemp("csv")
    begin = PLOT.index("\n") + 1
    place = random.Random(seed).randrange(begin, len(PLOT))
    read(PLOT[:place].encode() + junk + PLOT[place:].encode(), folder)


def test_an_endless_quote_and_an_endless_line(tmp_path: Path) -> None:
    records = read(PLOT + '"' + "x\n" * 300_000, tmp_path)
    assert series_of(records)["loss"].steps.tolist()[:4] == [0, 10, 30, 40]
    assert problems_of(records)
    records = read(PLOT + "1" * 5_000_000, tmp_path)
    assert series_of(records)["loss"].steps.tolist()[:4] == [0, 10, 30, 40]


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public artifacts are not here")
def test_public_histories() -> None:
    paths = sorted((SHARED / "nanogpt-csv").rglob("*_history.csv"))
    assert paths
    for path in paths:
        found = series_of(read_file(READER, path))
        assert len(found["train/step_loss"]) > 400
        assert all(math.isfinite(value) for value in found["train/step_loss"].values)


def test_null_is_neither_nan_nor_an_empty_cell(tmp_path: Path) -> None:
    text = "_step,loss\n0,1.5\n1,null\n2,NaN\n3,\n4,Infinity\n"
    loss = series_of(read(text, tmp_path))["loss"]
    assert loss.steps.tolist() == [0, 1, 2, 4]
    assert loss.missing is not None and loss.missing.tolist() == [False, True, False, False]
    assert same_values(loss.values, [1.5, math.nan, math.nan, math.inf])
