"""Metric tables: their writers' habits, and tables that are none."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_file, series_of

from nanautopsy.model import FileHead, Problem, Record, Series, Skipped
from nanautopsy.readers.table import READER

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tables"
LIGHTNING = """epoch,lr-SGD,step,train_loss,val_loss
,0.1,0,,
0,,0,1.5,
0,,1,nan,
0,,1,,inf
1,,2,-inf,
"""


def read(text: str | bytes, tmp_path: Path, name: str = "metrics.csv") -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(READER, path, name)


def claims(text: str, name: str = "data.csv") -> bool:
    data = text.encode()
    return READER.claim(FileHead(name, len(data), data)) is not None


def test_lightning_empty_cells_are_no_points(tmp_path: Path) -> None:
    series = series_of(read(LIGHTNING, tmp_path))
    loss = series["train_loss"]
    assert loss.steps.tolist() == [0, 1, 2]
    assert loss.values[0] == 1.5 and math.isnan(loss.values[1]) and loss.values[2] == -math.inf
    assert loss.missing is None and loss.lines is not None and loss.lines.tolist() == [3, 4, 6]
    assert series["val_loss"].values.tolist() == [math.inf]
    assert series["lr-SGD"].steps.tolist() == [0]
    assert series["epoch"].values.tolist() == [0, 0, 0, 1]
    assert all(one.axis == "step" for one in series.values())


@pytest.mark.parametrize(
    ("name", "tag", "axis"),
    [
        ("Train_Samples_loss_scale.csv", "Train/Samples/loss_scale", "samples"),
        ("Train_Samples_lr.csv", "Train/Samples/lr", "samples"),
        ("Train_Eigenvalues_ModelBlockParam_0.csv", "Train/Eigenvalues/ModelBlockParam_0", "step"),
    ],
)
def test_deepspeed_monitor(name: str, tag: str, axis: str) -> None:
    records = read_file(READER, FIXTURES / name)
    (series,) = of_type(records, Series)
    assert (series.tag, series.axis) == (tag, axis)
    with open(FIXTURES / name, newline="") as file:
        rows = [row for row in csv.reader(file) if row[0] != "step"]
    assert series.steps.tolist() == [int(row[0]) for row in rows]
    assert [str(v) for v in series.values] == [str(float(row[1])) for row in rows]
    assert not problems_of(records)


def test_keras_counts_epochs(tmp_path: Path) -> None:
    text = "epoch,accuracy,loss,val_loss\n0,0.5,2.5,NA\n1,0.1,nan,3\n"
    series = series_of(read(text, tmp_path, "training.log"))
    assert series["loss"].axis == "epoch" and math.isnan(series["loss"].values[1])
    assert series["val_loss"].missing is not None
    assert series["val_loss"].missing.tolist() == [True, False]


def test_yolo_headers_are_padded(tmp_path: Path) -> None:
    text = "                  epoch,         train/box_loss,  metrics/mAP50(B)\n"
    text += "                      1,                    nan,            0.0123\n"
    series = series_of(read(text, tmp_path, "results.csv"))
    assert list(series) == ["train/box_loss", "metrics/mAP50(B)"]


def test_without_a_counter_rows_are_numbered(tmp_path: Path) -> None:
    series = series_of(read("val_loss,loss,accuracy\nnan,1,0\nnan,2,0\n", tmp_path))
    assert series["loss"].axis == "record" and series["loss"].steps.tolist() == [0, 1]


def test_header_in_the_middle_after_a_restart(tmp_path: Path) -> None:
    text = "step,loss\n1,2.0\n2,1.0\nstep,loss,lr\n2,nan,0.1\n"
    records = read(text, tmp_path)
    series = series_of(records)
    assert series["loss"].steps.tolist() == [1, 2, 2]
    assert series["lr"].steps.tolist() == [2] and not problems_of(records)


def test_tensorboard_download(tmp_path: Path) -> None:
    text = "Wall time,Step,Value\n1700000000.5,10,0.5\n1700000001.5,20,NaN\n"
    (series,) = of_type(read(text, tmp_path, "run-a-tag-train_loss.csv"), Series)
    assert series.tag == "train_loss" and series.steps.tolist() == [10, 20]


@pytest.mark.parametrize(("delimiter", "name"), [("\t", "log.tsv"), (";", "log.csv")])
def test_delimiters(tmp_path: Path, delimiter: str, name: str) -> None:
    text = "iteration,loss\n1,0.5\n2,inf\n".replace(",", delimiter)
    series = series_of(read(text, tmp_path, name))
    assert series["loss"].values.tolist() == [0.5, math.inf]


def test_global_step_beats_a_step_within_the_epoch(tmp_path: Path) -> None:
    text = "epoch,step,global_step,loss\n0,0,0,1\n0,1,1,1\n1,0,2,1\n"
    assert series_of(read(text, tmp_path))["loss"].steps.tolist() == [0, 1, 2]


def test_utf16_and_crlf(tmp_path: Path) -> None:
    data = "\ufeffstep,loss\r\n1,nan\r\n".encode("utf-16-le")
    loss = series_of(read(data, tmp_path))["loss"]
    assert math.isnan(loss.values[0])


def test_last_row_cut_in_the_middle(tmp_path: Path) -> None:
    records = read("step,loss,lr\n1,2.0,0.1\n2,3.0", tmp_path)
    assert series_of(records)["loss"].values.tolist() == [2.0]
    (problem,) = problems_of(records)
    assert problem.text == "cut off after 2 of 3 cells" and problem.source.line == 3


def test_short_rows_are_allowed_and_long_ones_noted(tmp_path: Path) -> None:
    records = read("step,loss,lr\n1,2.0\n2,3.0,0.1,9\n3,1.0,0.2\n", tmp_path)
    assert series_of(records)["loss"].steps.tolist() == [1, 2, 3]
    assert "4 cells under 3 columns" in problems_of(records)[0].text


def test_texts_and_repeated_names(tmp_path: Path) -> None:
    text = 'step,loss,loss,note\n1,2.0,3.0,"a, b\nc"\n2,1.0,nan,hello\n'
    series = series_of(read(text, tmp_path))
    assert set(series) == {"loss", "loss.1"} and math.isnan(series["loss.1"].values[1])


def test_milliseconds_and_seconds_become_times(tmp_path: Path) -> None:
    text = "timestamp,step,loss\n1700000000000,1,2.0\n1700000001,2,2.0\n"
    times = series_of(read(text, tmp_path))["loss"].times
    assert times is not None and times.tolist() == [1.7e9, 1700000001.0]


def test_rank_from_the_name(tmp_path: Path) -> None:
    assert series_of(read("step,loss\n1,2\n", tmp_path, "loss_rank3.csv"))["loss"].rank == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a\n1\n",
        "1,2,3\n4,5,6\n",
        "id,text,label\n1,hello,0\n2,world,1\n",
        "x,y,z\n1,2,3\n",
        "sepal_length,sepal_width,species\n5.1,3.5,setosa\n",
        "solution,times,effect\nrelu,0,no\n",
        "timestamp, name, utilization.gpu [%]\n2024/01/01, A100, 5 %\n",
        "Dear reader, this is prose, not a table.\nReally, it is.\n",
    ],
)
def test_other_tables_are_not_claimed(text: str) -> None:
    assert not claims(text)


@pytest.mark.parametrize(
    "text",
    [
        "run_name,lr,batch_size,epochs,val_loss\na,0.1,8,50,1.0\nb,0.2,8,50,nan\nc,0.3,8,50,2\n",
        "model,learning_rate,final_loss\nbase,0.1,2.0\nlarge,0.2,nan\n",
    ],
)
def test_one_row_a_run_is_skipped(tmp_path: Path, text: str) -> None:
    (skipped,) = of_type(read(text, tmp_path, "results.csv"), Skipped)
    assert "one row a run" in skipped.reason


def test_logs_are_claimed_only_with_a_counter() -> None:
    assert claims("epoch,loss\n0,1\n1,2\n", "training.log")
    assert not claims("loss, or what is left of it,\nis gone\n", "training.log")


@given(st.binary(max_size=300), st.booleans())
@settings(deadline=None)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, headed: bool) -> None:
    path = tmp_path_factory.mktemp("junk") / "file.csv"
    path.write_bytes(b"step,loss\n1,2\n" + data if headed else data)
    if READER.claim(head_of(path)) is not None:
        records = read_file(READER, path)
        assert all(isinstance(record, (Series, Problem, Skipped)) for record in records)


@given(st.integers(0, len(LIGHTNING)))
def test_truncation_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "metrics.csv"
    path.write_text(LIGHTNING[:size])
    if READER.claim(head_of(path)) is None:
        return
    rows = LIGHTNING[:size].count("\n") - 1
    records = of_type(read_file(READER, path), Series)
    assert max((len(one) for one in records), default=0) >= min(rows, 1)


def test_a_stray_quote_costs_rows_but_not_the_file(tmp_path: Path) -> None:
    rows = "".join(f"{i},1.0\n" for i in range(60_000))
    records = read("step,loss\n1,2.0\n2," + '"' + "\n" + rows, tmp_path)
    assert len(series_of(records)["loss"]) > 30_000
    assert "cannot be told apart" in problems_of(records)[0].text


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_tables() -> None:
    case = SHARED / "autotrainer-case26" / "DL_tools"
    loss = series_of(read_file(READER, case / "log/case26/case26.csv"))["loss"]
    assert all(math.isnan(value) for value in loss.values)
    pinn = SHARED / "pinn-v12" / "lightning_logs" / "version_12" / "metrics.csv"
    copper = series_of(read_file(READER, pinn))["Conductor_Copper_loss"]
    assert copper.axis == "step" and copper.values[0] == 1.4482739092380794e24
    runs = SHARED / "nanogpt-csv" / "training_records" / "metrics.csv"
    assert of_type(read_file(READER, runs), Skipped)


def test_a_first_line_with_commas_makes_no_table() -> None:
    text = (
        b"Namespace(lr=0.003, batch_size=64, precision='fp16', epochs=1)\n"
        b"Epoch 0 Iter 5/160 loss=3.59424 gnorm=38.4653\n"
        b"Epoch 0 Iter 10/160 loss=3.74977 gnorm=47.7677\n"
    )
    assert READER.claim(FileHead("stdout.txt", len(text), text)) is None
    text = (
        b"2026-03-01 08:21:14,939 INFO gan: Namespace(lr=0.005, batch=64, momentum=0.9)\n"
        b"2026-03-01 08:21:14,940 INFO gan: Epoch 1 Step 0/300 loss_D=3.24175 loss_G=1.44628\n"
        b"2026-03-01 08:21:14,944 INFO gan: Epoch 1 Step 5/300 loss_D=1.52108 loss_G=0.00686\n"
    )
    assert READER.claim(FileHead("run.log", len(text), text)) is None


def test_decimal_commas_and_german_names(tmp_path: Path) -> None:
    text = "Epoche;Schritt;Verlust;Lernrate\n1;10;2,5;0,01\n1;20;nan;1,5e-3\n"
    series = series_of(read(text, tmp_path))
    assert series["Verlust"].steps.tolist() == [10, 20]
    assert series["Verlust"].values[0] == 2.5 and math.isnan(series["Verlust"].values[1])
    assert series["Lernrate"].values.tolist() == [0.01, 0.0015]


def test_commas_beside_points_are_none_of_decimals(tmp_path: Path) -> None:
    series = series_of(read("step\tloss\ttokens\n1\t2.5\t1,024\n2\t2.4\t2,048\n", tmp_path))
    assert series.keys() == {"loss"}
