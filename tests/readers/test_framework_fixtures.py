"""Logs and tables that frameworks wrote, against the values that their own callbacks saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reading import read_file, series_of
from textlogs import events_of, read_log

from nanautopsy.readers.json_lines import READER as JSON
from nanautopsy.readers.table import READER as TABLE

TEXT = Path(__file__).parents[1] / "fixtures" / "text"
TABLES = Path(__file__).parents[1] / "fixtures" / "tables"


def values_of(name: str) -> dict[str, list[float]]:
    """What the run's callbacks saw."""
    seen = json.loads((TEXT / f"{name}.values.json").read_text())
    return {tag: [float(value) for value in values] for tag, values in seen.items()}


def near(found: np.ndarray, seen: list[float], digits: float = 1e-2) -> bool:
    return np.allclose(found, seen, rtol=digits, equal_nan=True)


def test_stable_baselines() -> None:
    records = read_log(TEXT / "sb3.log")
    seen = values_of("sb3")
    loss = series_of(records)["train/value_loss"]
    assert near(loss.values, seen["train/value_loss"])
    assert loss.steps.tolist() == seen["time/total_timesteps"][1:]
    assert events_of(records, "sampling-assert")[0].data["quantity"] == "logits"


def test_keras() -> None:
    records = read_log(TEXT / "keras.log")
    series, seen = series_of(records), values_of("keras")
    assert near(series["loss"].values[:2], seen["loss"], 1e-3)
    assert near(series["val_loss"].values, seen["val_loss"], 1e-3)
    assert np.isnan(series["loss"].values[2])
    assert events_of(records, "nonfinite-text")[0].data["quantity"] == "loss"
    table = series_of(read_file(TABLE, TABLES / "keras_training.csv"))
    assert table["loss"].values.tolist() == pytest.approx(seen["loss"], rel=1e-6)
    assert table["loss"].axis == "epoch"


def test_xgboost() -> None:
    loss = series_of(read_log(TEXT / "xgboost.log"))["train-logloss"]
    assert near(loss.values, values_of("xgboost")["train-logloss"], 1e-4)
    assert loss.steps.tolist() == [0, 1, 2, 3]


def test_lightning() -> None:
    assert np.isnan(series_of(read_log(TEXT / "lightning.log"))["train_loss"].values).all()
    series = series_of(read_file(TABLE, TABLES / "lightning_metrics.csv"))
    assert np.array_equal(
        series["train_loss"].values.astype(np.float32),
        np.array(values_of("lightning")["train_loss"], dtype=np.float32),
        equal_nan=True,
    )
    assert series["train_loss"].steps.tolist() == list(range(8))
    assert series["val_loss"].steps.tolist() == [3, 7]


def test_mmengine() -> None:
    text = series_of(read_log(TEXT / "mmengine.log"))
    scalars = series_of(read_file(JSON, TABLES / "mmengine_scalars.json"))
    for tag in ("loss", "grad_norm", "lr"):
        assert near(text[tag].values, scalars[tag].values.tolist(), 1e-3)
        assert text[tag].steps.tolist() == scalars[tag].steps.tolist() == list(range(1, 9))
    assert np.isnan(scalars["loss"].values[6:]).all()
