"""Parquet: histories are read, datasets are left alone, damage is said in one line."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import of_type, problems_of, read_file, same_values, series_of

from nanautopsy.model import FileHead, Record, Series, Skipped
from nanautopsy.readers.parquet import READER

pyarrow = pytest.importorskip("pyarrow")
Factory = pytest.TempPathFactory


def write(columns: dict[str, Any], path: Path, **options: Any) -> Path:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def read(columns: dict[str, Any], tmp_path: Path, name: str = "wandb/0000.parquet") -> list[Record]:
    return read_file(READER, write(columns, tmp_path / "table.parquet"), name)


def test_history_of_wandb(tmp_path: Path) -> None:
    histogram = {"_type": "histogram", "values": [1, 2, 3], "bins": [-4.0, -1.0, 0.0, 2.0]}
    columns = {
        "_step": [0, 1, 2, 3],
        "_timestamp": [1.7e9, 1.7e9 + 1, 1.7e9 + 2, None],
        "_runtime": [0.5, 1.5, 2.5, 3.5],
        "train/loss": [2.0, math.nan, None, math.inf],
        "train/global_step": [10, 20, None, 40],
        "eval/loss": pyarrow.array([None, None, 1.5, None], pyarrow.float32()),
        "server": ["NaN", "-Infinity", None, "0.25"],
        "flag": [True, None, False, None],
        "empty": pyarrow.nulls(4),
        "gradients/fc": [None, histogram, None, None],
        "note": ["a", "b", "c", "d"],
    }
    records = read(columns, tmp_path)
    found = series_of(records)
    assert set(found) == {
        *("_runtime", "train/loss", "train/global_step", "eval/loss", "server", "flag"),
        *("gradients/fc#count", "gradients/fc#max_abs"),
    }
    assert found["train/loss"].steps.tolist() == [0, 1, 3]
    assert same_values(found["train/loss"].values, [2.0, math.nan, math.inf])
    assert same_values(found["train/loss"].times, [1.7e9, 1.7e9 + 1, math.nan])  # type: ignore[arg-type]
    assert found["train/loss"].missing is None and found["train/loss"].axis == "step"
    assert found["eval/loss"].steps.tolist() == [2]
    assert same_values(found["server"].values, [math.nan, -math.inf, 0.25])
    assert found["flag"].values.tolist() == [1, 0]
    assert found["gradients/fc#count"].values.tolist() == [6]
    assert not problems_of(records)


def test_a_table_of_metrics(tmp_path: Path) -> None:
    columns = {"iteration": [1, None, 3], "loss": [1.0, 2.0, math.nan], "name": ["a", "b", "c"]}
    found = series_of(read(columns, tmp_path, "metrics.parquet"))
    assert found["loss"].steps.tolist() == [1, 1, 3]
    assert same_values(found["loss"].values, [1, 2, math.nan])
    epochs = read({"epoch": [1, 2], "val_loss": [1.0, 2.0]}, tmp_path, "m.parquet")
    assert series_of(epochs)["val_loss"].axis == "epoch"


def test_the_training_step_counts_where_nothing_says_wandb(tmp_path: Path) -> None:
    columns = {
        "_step": [0, 1, 2],
        "train/global_step": [100, None, 200],
        "loss": [1.0, 2.0, 3.0],
    }
    found = series_of(read(columns, tmp_path, "history.parquet"))
    assert found["loss"].steps.tolist() == [100, 100, 200]


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a"], "label": [1]},
        {"step": [1], "prompt": ["x"]},
        {"id": [1, 2], "score": [0.5, 0.25]},
    ],
)
def test_datasets_are_left_alone(columns: dict[str, Any], tmp_path: Path) -> None:
    (skipped,) = read(columns, tmp_path, "data/train-00000-of-00001.parquet")
    assert isinstance(skipped, Skipped)


def test_several_row_groups(tmp_path: Path) -> None:
    columns = {"_step": list(range(1000)), "loss": [i / 7 for i in range(1000)]}
    path = write(columns, tmp_path / "0000.parquet", row_group_size=64)
    found = series_of(read_file(READER, path))
    assert found["loss"].steps.tolist() == list(range(1000))
    assert found["loss"].values.tolist() == columns["loss"]


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damage_never_raises(tmp_path_factory: Factory, chance: Any) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    path = write({"_step": list(range(50)), "loss": [0.5] * 50}, folder / "0000.parquet")
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 6)):
        raw[chance.randrange(4, len(raw))] = chance.randrange(256)
    path.write_bytes(raw[: chance.choice([len(raw), chance.randrange(4, len(raw))])])
    for record in read_file(READER, path):
        assert "\n" not in str(record) or isinstance(record, Series)


def test_cut_off_and_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write({"_step": [1], "loss": [0.5]}, tmp_path / "0000.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert of_type(read_file(READER, path), Skipped)[0].reason.startswith("cut off")
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (skipped,) = read_file(READER, path)
    assert skipped == Skipped("needs pyarrow: pip install 'nanautopsy[parquet]'")


def test_claims() -> None:
    assert READER.claim(FileHead("a.parquet", 9, b"PAR1....")) is not None
    assert READER.claim(FileHead("a.parquet", 9, b"PAR2....")) is None
