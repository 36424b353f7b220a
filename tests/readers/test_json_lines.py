"""JSON metrics: an object a line, arrays, columns, results, golden values; and damage."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_file, series_of

from nanautopsy.model import FileHead, Problem, Record, Series, Skipped
from nanautopsy.readers._metric_rows import MetricRows
from nanautopsy.readers._step_keys import axis_of, step_key, step_number
from nanautopsy.readers.json_lines import READER

NAN = math.nan
BIG_VISION = b"""{"step": 1, "training_loss": 4.5, "l2_grads": NaN, "uptime": 3.5}
{"step": 2, "training_loss": NaN, "l2_grads": NaN, "uptime": 4.0}
{"step": 3, "training_loss": Infinity, "l2_grads": -Infinity, "uptime": 4.5}
"""
SWIFT = (
    '{"loss": 2.5, "grad_norm": NaN, "memory(GiB)": 9.1, "train_speed(iter/s)": 0.5, '
    '"elapsed_time": "1s", "global_step/max_steps": "5/10", "percentage": "50.00%"}\n'
    '{"loss": 0.0, "grad_norm": NaN, "global_step/max_steps": "10/10"}\n'
    '{"last_model_checkpoint": null, "best_metric": Infinity, "global_step": 10, '
    '"log_history": [{"loss": 2.5, "step": 5}], "memory": 9.5}\n'
)
LLAMA_FACTORY = (
    '{"current_steps": 5, "total_steps": 9, "loss": 1.2, "eval_loss": null, "lr": 5e-05, '
    '"epoch": 0.08, "percentage": 55.5, "elapsed_time": "0:01:04"}\n'
    '{"current_steps": 9, "total_steps": 9, "loss": null, "eval_loss": 1.1, "epoch": 0.2}\n'
)


def read(text: str | bytes, tmp_path: Path, name: str = "metrics.jsonl") -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(READER, path, name)


def kind_of(text: str, name: str = "log.json") -> str | None:
    data = text.encode()
    claim = READER.claim(FileHead(name, len(data), data))
    return None if claim is None else claim.kind


def test_big_vision(tmp_path: Path) -> None:
    series = series_of(read(BIG_VISION, tmp_path, "big_vision_metrics.txt"))
    loss = series["training_loss"]
    assert loss.steps.tolist() == [1, 2, 3] and loss.lines is not None
    assert loss.lines.tolist() == [1, 2, 3] and loss.axis == "step"
    assert loss.values[0] == 4.5 and math.isnan(loss.values[1]) and loss.values[2] == math.inf
    assert series["l2_grads"].values[2] == -math.inf
    assert "step" not in series


def test_swift_steps_are_fractions_and_the_summary_is_no_metric(tmp_path: Path) -> None:
    series = series_of(read(SWIFT, tmp_path, "logging.jsonl"))
    assert series["loss"].steps.tolist() == [5, 10]
    assert all(math.isnan(value) for value in series["grad_norm"].values)
    assert not {"best_metric", "log_history.0.loss"} & set(series)


def test_llama_factory_null_is_missing_and_not_nan(tmp_path: Path) -> None:
    series = series_of(read(LLAMA_FACTORY, tmp_path, "trainer_log.jsonl"))
    loss = series["loss"]
    assert loss.steps.tolist() == [5, 9] and loss.missing is not None
    assert loss.missing.tolist() == [False, True]
    assert series["total_steps"].values.tolist() == [9, 9]


def test_nested_values_strings_and_lists(tmp_path: Path) -> None:
    text = '{"iteration": 3, "losses": {"lm": "nan", "aux": "-Infinity"}, "norms": [1, 2.5]}\n'
    text += '{"iteration": 4, "losses": {"lm": "1e-3"}, "note": "loss is nan"}\n'
    series = series_of(read(text, tmp_path))
    assert math.isnan(series["losses.lm"].values[0]) and series["losses.lm"].values[1] == 1e-3
    assert series["losses.aux"].values[0] == -math.inf
    assert series["norms.1"].values.tolist() == [2.5] and "note" not in series


@pytest.mark.parametrize(
    ("rows", "axis", "steps"),
    [
        ([{"epoch": 1, "loss": 1}, {"epoch": 2, "loss": 1}], "epoch", [1, 2]),
        ([{"epoch": 0.1, "loss": 1}, {"epoch": 0.2, "loss": 1}], "record", [0, 1]),
        ([{"loss": 1}, {"loss": 2}], "record", [0, 1]),
        (
            [{"examples_seen": 64, "loss": 1}, {"examples_seen": 128, "loss": 1}],
            "samples",
            [64, 128],
        ),
        ([{"step": 0, "global_step": 9, "loss": 1}] * 2, "step", [9, 9]),
        ([{"_step": 3, "train/global_step": 30, "loss": 1}] * 2, "step", [30, 30]),
        ([{"batch": 1, "epoch": 2, "loss": 1}] * 2, "epoch", [2, 2]),
        (
            [{"episodes_this_iter": 0, "training_iteration": n, "loss": 1} for n in (1, 2)],
            "step",
            [1, 2],
        ),
        ([{"num_updates": "12", "loss": "nan"}] * 2, "step", [12, 12]),
    ],
)
def test_which_field_counts(
    tmp_path: Path, rows: list[dict[str, Any]], axis: str, steps: list[int]
) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    loss = series_of(read(text, tmp_path))["loss"]
    assert (loss.axis, loss.steps.tolist()) == (axis, steps)


def test_a_row_without_the_files_counter_uses_its_own(tmp_path: Path) -> None:
    text = '{"iter": 1, "loss": 1}\n' * 3 + '{"val_loss": 2, "epoch": 1}\n{"val_loss": 3}\n'
    found = of_type(read(text, tmp_path), Series)
    assert [(s.tag, s.axis, s.steps.tolist()) for s in found if s.tag == "val_loss"] == [
        ("val_loss", "epoch", [1]),
        ("val_loss", "record", [4]),
    ]


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("step", "step"),
        ("trainer/global_step", "step"),
        ("global_step/max_steps", "step"),
        ("time/total_timesteps", "step"),
        ("epoch", "epoch"),
        ("consumed_samples", "samples"),
        ("loss", "record"),
        ("max_steps", "record"),
        ("steps_per_second", "record"),
        ("warmup_steps", "record"),
    ],
)
def test_axis_of_names(name: str, axis: str) -> None:
    assert axis_of(name) == axis
    assert (step_key(["loss", name]) == name) == (axis != "record")


@pytest.mark.parametrize(
    ("value", "step"),
    [(3, 3), (3.0, 3), ("3", 3), (" 12/800 ", 12), (0.16, None), (True, None), ("x", None)]
    + [(None, None), (math.nan, None), (1e300, None), (-1, -1)],
)
def test_step_numbers(value: Any, step: int | None) -> None:
    assert step_number(value) == step


def test_rows_of_an_evaluation_are_kept_apart(tmp_path: Path) -> None:
    text = '{"mode": "train", "iter": 50, "loss": 1.0}\n{"mode": "val", "iter": 50, "loss": NaN}\n'
    series = series_of(read(text, tmp_path, "20240101.log.json"))
    assert series["loss"].values.tolist() == [1.0] and math.isnan(series["val/loss"].values[0])


def test_half_written_last_line(tmp_path: Path) -> None:
    records = read(BIG_VISION + b'{"step": 4, "training_lo', tmp_path, "m.txt")
    assert series_of(records)["training_loss"].steps.tolist() == [1, 2, 3]
    (problem,) = problems_of(records)
    assert (problem.text, problem.source.line) == ("a line is cut off", 4)
    assert problem.source.offset == len(BIG_VISION)


def test_restart_appends_to_a_half_line(tmp_path: Path) -> None:
    text = (
        '{"step": 1, "loss": 1}\n{"step": 2, "lo{"step": 1, "loss": NaN}\n{"step": 2, "loss": 3}\n'
    )
    records = read(text, tmp_path)
    loss = series_of(records)["loss"]
    assert loss.steps.tolist() == [1, 1, 2] and math.isnan(loss.values[1])
    assert problems_of(records)[0].source.line == 2


def test_zeros_after_a_power_loss(tmp_path: Path) -> None:
    records = read(BIG_VISION + b"\0" * 4096, tmp_path, "m.txt")
    assert len(series_of(records)["training_loss"]) == 3 and not problems_of(records)


def test_array_of_rows(tmp_path: Path) -> None:
    text = '[\n {"step": 1, "loss": 1.0},\n {"step": 2, "loss": NaN},\n {"step": 3, "lo'
    records = read(text, tmp_path, "log.json")
    loss = series_of(records)["loss"]
    assert loss.steps.tolist() == [1, 2] and loss.lines is not None
    assert loss.lines.tolist() == [2, 3]
    assert "ends in the middle" in problems_of(records)[0].text


def test_array_of_nested_rows(tmp_path: Path) -> None:
    text = '[{"epoch": 0, "train": {"loss": 1.0}}, {"epoch": 1, "train": {"loss": NaN}}]'
    loss = series_of(read(text, tmp_path, "results.json"))["train.loss"]
    assert (loss.axis, loss.steps.tolist()) == ("epoch", [0, 1])


def test_columns(tmp_path: Path) -> None:
    text = '{"loss": [1.0, NaN, 3], "val_loss": [1, null], "params": {"lr": 0.1}}'
    series = series_of(read(text, tmp_path, "history.json"))
    assert series["loss"].axis == "record" and math.isnan(series["loss"].values[1])
    assert series["val_loss"].missing is not None
    with_steps = '{"step": [10, 20], "loss": [1.0, NaN]}'
    assert series_of(read(with_steps, tmp_path, "h.json"))["loss"].steps.tolist() == [10, 20]


def test_results_are_one_point(tmp_path: Path) -> None:
    text = '{\n "epoch": 3.25,\n "eval_loss": NaN,\n "perplexity": "Infinity"\n}\n'
    series = series_of(read(text, tmp_path, "all_results.json"))
    assert math.isnan(series["eval_loss"].values[0]) and series["eval_loss"].axis == "record"
    assert series["perplexity"].values[0] == math.inf
    text = '{"global_step": 12, "eval_loss": 1.0, "x": 1,\n "y": 2}'
    assert series_of(read(text, tmp_path, "eval_results.json"))["eval_loss"].steps.tolist() == [12]


def test_golden_values_nan_marks_what_was_not_logged(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "lm loss": {
                "start_step": 1,
                "end_step": 11,
                "step_interval": 5,
                "values": {"1": 10.5, "6": "nan", "11": float("nan")},
            },
            "old": {
                "start_step": 0,
                "end_step": 4,
                "step_interval": 2,
                "values": [1.0, 2.0, "nan"],
            },
        }
    )
    series = series_of(read(text, tmp_path, "golden_values.json"))
    loss = series["lm loss"]
    assert loss.steps.tolist() == [1, 6, 11] and loss.missing is not None
    assert loss.missing.tolist() == [False, True, False] and math.isnan(loss.values[2])
    assert series["old"].steps.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}\n{}\n",
        "[1, 2]",
        '{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n',
        '{"messages": [{"role": "user"}]}\n' * 3,
        '{"id": 1, "text": "loss", "label": 0}\n' * 3,
        '{"text": "a", "score": 0.5}\n' * 3,
        '{"annotations": [{"bbox": [1, 2], "score": 0.5}], "info": 3}',
        '{"Type": "cpu", "Value": 4.7, "Timestamp": 1591160699.4}\n' * 3,
        '{"level": "info", "msg": "loss is 3", "ts": 1.5}\n' * 3,
        '{"version": "1.0", "added_tokens": []}',
    ],
)
def test_other_json_is_not_claimed(text: str) -> None:
    assert kind_of(text) is None and kind_of(text, "x.jsonl") is None


def test_json_among_plain_text_is_a_text_log() -> None:
    row = '{"step": 1, "loss": 2.0}\n'
    assert kind_of(row + "Epoch 1 done\n" * 3 + row * 2, "out.log") is None
    assert kind_of(row * 30 + "Killed\n", "out.log") == "json-lines"


def test_a_single_row_is_a_log_when_it_has_a_counter() -> None:
    assert kind_of('{"step": 1, "loss": 2.0}\n', "big_vision_metrics.txt") == "json-lines"
    assert kind_of('{"train_loss": 2.0}\n', "train_results.json") == "json-results"


def test_many_tags_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanautopsy.readers._metric_rows._MOST_TAGS", 10)
    row = json.dumps({"step": 1, "loss": 1.0, **{f"m{i}": i for i in range(50)}})
    records = read(row + "\n" + row + "\n", tmp_path)
    assert len(of_type(records, Series)) == 10
    assert "more than 10 metrics" in problems_of(records)[0].text


def test_rows_from_any_mapping() -> None:
    rows = MetricRows("x")
    rows.add({"step": "1/2", "loss": {"__float__": "NaN"}})
    (series,) = rows.columns.series()
    assert math.isnan(series.values[0]) and series.steps.tolist() == [1]


@given(st.integers(0, len(SWIFT)))
@settings(deadline=None)
def test_truncation_keeps_whole_lines(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "logging.jsonl"
    path.write_text(SWIFT[:size])
    if READER.claim(head_of(path)) is None:
        assert SWIFT[:size].count("\n") < 1
        return
    series = {one.tag: one for one in of_type(read_file(READER, path), Series)}
    whole = min(SWIFT[:size].count("\n"), 2)
    assert len(series["loss"]) >= whole


@given(st.binary(max_size=200), st.sampled_from(["a.jsonl", "a.json", "a_results.json"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str) -> None:
    tmp_path = tmp_path_factory.mktemp("junk")
    for number, text in enumerate((data, BIG_VISION + data, b'{"loss": [1, ' + data, b"[" + data)):
        path = tmp_path / f"{number}{name}"
        path.write_bytes(text)
        if READER.claim(head_of(path)) is not None:
            records = read_file(READER, path)
            assert all(isinstance(record, (Series, Problem, Skipped)) for record in records)


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_files() -> None:
    metrics = series_of(read_file(READER, SHARED / "d2-gdp" / "output" / "metrics.json"))
    assert metrics["total_loss"].steps[0] == 19 and len(metrics["total_loss"]) == 77
    (golden,) = (SHARED / "megatron-golden").rglob("golden_values*.json")
    series = series_of(read_file(READER, golden))
    loss = series["lm loss"]
    assert loss.missing is not None and not any(
        math.isnan(value) for value in loss.values[~loss.missing]
    )


def test_dllogger(tmp_path: Path) -> None:
    """Its objects have a label before them, and the metrics in an envelope."""
    text = "".join(
        f"DLLL {line}\n"
        for line in (
            '{"type": "METADATA", "metric": "loss", "metadata": {"unit": null, "format": ":.3f"}}',
            '{"type": "LOG", "step": "PARAMETER", "data": {"learning_rate": 0.1}}',
            '{"timestamp": "1709647331.5", "type": "LOG", "step": [0, 10], "data": {"loss": 2.5}}',
            '{"timestamp": "1709647332.5", "type": "LOG", "step": [1, 20], "data": {"loss": NaN}}',
        )
    )
    assert kind_of(text) == "json-lines"
    series = series_of(read(text, tmp_path))
    assert series.keys() == {"epoch", "loss"}
    assert series["loss"].steps.tolist() == [10, 20]
    assert math.isnan(series["loss"].values[1])


def test_mlperf(tmp_path: Path) -> None:
    text = (
        ':::MLLOG {"key": "seed", "value": 3, "metadata": {"lineno": 1}}\n'
        ':::MLLOG {"key": "train_loss", "value": 2.5, "metadata": {"step_num": 10}}\n'
        ':::MLLOG {"key": "train_loss", "value": NaN, "metadata": {"step_num": 20}}\n'
    )
    assert kind_of(text) == "json-lines"
    assert series_of(read(text, tmp_path))["train_loss"].steps.tolist() == [10, 20]


def test_stylegan(tmp_path: Path) -> None:
    """Averages come with their count and deviation."""
    rows = [(1, "2.5"), (2, "NaN")]
    text = "".join(
        f'{{"Loss/G/loss": {{"num": 64, "mean": {loss}, "std": 0.1}}, '
        f'"Progress/tick": {{"num": 1, "mean": {tick}, "std": 0.0}}, "timestamp": 1709647331.5}}\n'
        for tick, loss in rows
    )
    assert kind_of(text, "stats.jsonl") == "json-lines"
    loss = series_of(read(text, tmp_path, "stats.jsonl"))["Loss/G/loss"]
    assert loss.steps.tolist() == [1, 2] and math.isnan(loss.values[1])


def test_rows_in_a_file_without_a_suffix(tmp_path: Path) -> None:
    rows = [{"main/loss": value, "epoch": 1, "iteration": n} for n, value in ((20, 0.5), (40, NAN))]
    loss = series_of(read(json.dumps(rows, indent=4), tmp_path, "log"))["main/loss"]
    assert loss.axis == "step" and loss.steps.tolist() == [20, 40]
