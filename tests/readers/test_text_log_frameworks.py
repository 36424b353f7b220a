"""Lines of known programs: DeepSpeed, Megatron, transformers."""

# ruff: noqa: E501
from __future__ import annotations

import math
from pathlib import Path

import pytest
from reading import SHARED, of_type
from textlogs import events_of, log_series, points_of, read_log, read_text, same

from nanautopsy.model import ConfigRecord, EnvironmentRecord

NAN = math.nan
PREFIX = "[2023-04-18 01:46:53,259] [INFO] [loss_scaler.py:181:update_scale] "
PROGRESS = "[2023-04-18 01:48:13,710] [INFO] [logging.py:96:log_dist] [Rank 0] "


# --- DeepSpeed ----------------------------------------------------------------------------------

OVERFLOWS = [
    (
        PREFIX
        + "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768",
        65536,
        32768,
    ),
    (
        PREFIX
        + "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, but hysteresis is 2. Reducing hysteresis to 1",
        65536,
        None,
    ),
    (
        PREFIX
        + "[deepscale] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768.0",
        65536,
        32768,
    ),
    (
        "[deepspeed] OVERFLOW! Skipping step. Attempted loss scale: 4294967296, reducing to 2147483648",
        2**32,
        2**31,
    ),
    (
        "[deepspeed] fp16 dynamic loss scale overflow! Skipping step. Attempted loss scale: 8.0, reducing to 4.0",
        8,
        4,
    ),
    (
        "[deepspeed] fp16 dynamic loss scale overflow! Rank 0 Skipping step. Attempted loss scale: 8, reducing to 4",
        8,
        4,
    ),
    (PREFIX + "[deepspeed] OVERFLOW! Rank 0 Skipping step.", None, None),
    (
        "Grad overflow on iteration: 2\nReducing dynamic loss scale from 65536 to 32768.0",
        65536,
        32768,
    ),
    (
        "Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0",
        None,
        32768,
    ),
]


@pytest.mark.parametrize(("text", "before", "after"), OVERFLOWS)
def test_overflow_lines(
    tmp_path: Path, text: str, before: float | None, after: float | None
) -> None:
    records = read_text(tmp_path, f"{PROGRESS}step=10, skipped=0, lr=[0.1], mom=[0.9]\n{text}\n")
    (event,) = events_of(records, "overflow-skipped")
    assert event.data.get("scale_before") == before
    assert event.data.get("scale_after") == after
    assert (event.step, event.step_exact) == (10, False)
    scale = before if after is None else after
    found = points_of(records).get(("loss_scale", "step"))
    assert found == (None if scale is None else ([10], [scale]))


def test_overflow_before_any_step(tmp_path: Path) -> None:
    text = f"{OVERFLOWS[0][0]}\n{PROGRESS}step=10, skipped=1, lr=[0.1], mom=[0.9]\n"
    records = read_text(tmp_path, text)
    assert events_of(records, "overflow-skipped")[0].step is None
    assert points_of(records)["loss_scale", "step"] == ([10], [32768.0])
    alone = points_of(read_text(tmp_path, f"{OVERFLOWS[0][0]}\n{OVERFLOWS[0][0]}\n"))
    assert alone["loss_scale", "record"][0] == [0, 1]


def test_progress_and_pipeline_lines(tmp_path: Path) -> None:
    text = (
        f"{PROGRESS}step=100, skipped=3, lr=[9.64e-06, 1e-05], mom=[(0.9, 0.95), (0.9, 0.95)]\n"
        "steps: 110 loss: nan iter time (s): 0.321 samples/sec: 99.7\n"
    )
    found = points_of(read_text(tmp_path, text))
    assert found["skipped_steps", "step"] == ([100], [3.0])
    assert found["learning_rate", "step"] == ([100], [9.64e-06])
    assert same(found["loss", "step"], [110], [NAN])


def test_throughput_says_where_the_run_stands(tmp_path: Path) -> None:
    text = (
        "[2023-04-18 01:53:05,531] [INFO] [timer.py:199:stop] epoch=1/micro_step=30/global_step=490,"
        f" RunningAvgSamplesPerSec=171.7, MemAllocated=3.96GB\n{OVERFLOWS[0][0]}\n"
    )
    (event,) = events_of(read_text(tmp_path, text), "overflow-skipped")
    assert event.step == 490


def test_exhausted_scale_and_guilty_tensor(tmp_path: Path) -> None:
    text = (
        "rank 3 detected overflow nan in tensor 3:12 shape torch.Size([4])\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n'
        '    raise Exception("Current loss scale already at minimum")\n'
        "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.\n"
    )
    records = read_text(tmp_path, text)
    assert [e.source.line for e in events_of(records, "loss-scale-minimum")] == [5]
    (detected,) = events_of(records, "nonfinite-text")
    assert (detected.rank, detected.data["value"], detected.data["tensor"]) == (3, "nan", "3:12")
    assert [e.data["exception"] for e in events_of(records, "traceback")] == ["Exception"]


def test_version_and_configuration(tmp_path: Path) -> None:
    text = (
        "[2023-04-18 01:46:51,000] [INFO] [logging.py:96:log_dist] [Rank 0] DeepSpeed info: version=0.9.1+abc, git-hash=abc, git-branch=master\n"
        "[2023-04-18 01:46:52,000] [INFO] [config.py:953:print] DeepSpeedEngine configuration:\n"
        "[2023-04-18 01:46:52,000] [INFO] [config.py:957:print]   activation_checkpointing_config  {\n"
        '    "partition_activations": false\n'
        "}\n"
        "[2023-04-18 01:46:52,000] [INFO] [config.py:957:print]   fp16_enabled ................. True\n"
        "[2023-04-18 01:46:52,000] [INFO] [config.py:957:print]   gradient_clipping ............ 1.0\n"
        "[2023-04-18 01:46:52,000] [INFO] [config.py:943:print_user_config]   json = {\n"
        '    "train_batch_size": 8,\n'
        '    "fp16": {\n        "enabled": true,\n        "loss_scale": 0\n    },\n'
        '    "optimizer": {"type": "AdamW", "params": {"lr": 5e-05, "betas": [0.9, 0.95]}}\n'
        "}\n"
        "step: 5 loss: 2.5\n"
    )
    records = read_text(tmp_path, text)
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"deepspeed": "0.9.1+abc"}
    echo, config = (r.values for r in of_type(records, ConfigRecord))
    assert echo == {"fp16_enabled": True, "gradient_clipping": 1.0}
    assert config["fp16.loss_scale"] == 0
    assert config["optimizer.params.betas.1"] == 0.95
    assert list(points_of(records)) == [("loss", "step")]


# --- Megatron -----------------------------------------------------------------------------------


def megatron(n: int, loss: str | None, grad: str = "1.5", skipped: int = 0) -> str:
    """An iteration line."""
    field = "" if loss is None else f" lm loss: {loss} |"
    return (
        f" iteration {n:8d}/     100 | consumed samples: {8 * n:12d} | elapsed time per iteration"
        f" (ms): 812.3 | learning rate: 1.500E-06 | global batch size:     8 |{field} loss scale:"
        f" 65536.0 | grad norm: {grad} | number of skipped iterations: {skipped:3d} | number of nan"
        " iterations:   0 |\n"
    )


def test_megatron_fields(tmp_path: Path) -> None:
    found = points_of(read_text(tmp_path, megatron(10, "9.876543E+00") + megatron(20, "9.5E+00")))
    assert found["lm loss", "step"] == ([10, 20], [9.876543, 9.5])
    assert found["grad norm", "step"][1] == [1.5, 1.5]
    assert found["learning rate", "step"][1] == [1.5e-6, 1.5e-6]
    assert found["elapsed time per iteration (ms)", "step"][1] == [812.3, 812.3]
    assert found["number of skipped iterations", "step"][1] == [0, 0]


def test_megatron_loss_that_vanishes_is_nan(tmp_path: Path) -> None:
    text = megatron(10, "9.8E+00") + megatron(20, None, grad="nan") + megatron(30, None, grad="nan")
    records = read_text(tmp_path, text)
    assert same(points_of(records)["lm loss", "step"], [10, 20, 30], [9.8, NAN, NAN])
    first, _ = events_of(records, "nonfinite-text")
    assert (first.step, first.step_exact, first.data["quantity"]) == (20, True, "loss")
    assert "no 'lm loss' field" in first.text


def test_megatron_skipped_windows_are_no_nan(tmp_path: Path) -> None:
    text = megatron(10, "9.8E+00") + megatron(20, None, skipped=10) + megatron(30, "9.7E+00")
    records = read_text(tmp_path, text)
    assert points_of(records)["lm loss", "step"] == ([10, 30], [9.8, 9.7])
    assert not events_of(records, "nonfinite-text")
    (skipped,) = events_of(records, "overflow-skipped")
    assert (skipped.step, skipped.data["skipped"]) == (20, 10)


def test_megatron_partly_skipped_window_without_loss_is_nan(tmp_path: Path) -> None:
    text = megatron(10, "9.8E+00") + megatron(20, None, skipped=3)
    assert same(points_of(read_text(tmp_path, text))["lm loss", "step"], [10, 20], [9.8, NAN])


def test_neox_and_validation(tmp_path: Path) -> None:
    text = (
        " samples/sec: 1.702 | iteration        1/   55000 | elapsed time per iteration (ms): 18806.7 | learning rate: 1.212E-09 | approx flops per GPU: 5.7TFLOPS | lm_loss: 2.275809E+00 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        " validation loss at iteration 100 on validation set | lm loss value: NAN | lm loss PPL: 2.9E+08 | \n"
    )
    found = points_of(read_text(tmp_path, text))
    assert found["lm_loss", "step"] == ([1], [2.275809])
    assert same(found["validation lm loss value", "step"], [100], [NAN])


def test_megatron_timestamp(tmp_path: Path) -> None:
    found = points_of(
        read_text(tmp_path, " [2026-01-14 10:00:00.123456]" + megatron(10, "9.8E+00"))
    )
    assert found["lm loss", "step"] == ([10], [9.8])


# --- transformers -------------------------------------------------------------------------------


def test_trainer_dictionary_forms(tmp_path: Path) -> None:
    text = (
        "{'loss': 1.6228, 'grad_norm': nan, 'learning_rate': 4.94e-06, 'epoch': 0.16}\n"
        "{'loss': '0', 'grad_norm': 'nan', 'learning_rate': '4.94e-06', 'epoch': '0.32'}\n"
        "{'loss': 2.1, 'grad_norm': tensor(inf, device='cuda:0'), 'epoch': 0.48}\n"
        "{'loss': np.float64(nan), 'rewards/chosen': -0.5, 'epoch': 0.64}{'eval_loss': nan, 'epoch': 0.64}\n"
    )
    found = points_of(read_text(tmp_path, text))
    assert same(found["loss", "record"], [1, 2, 3, 4], [1.6228, 0.0, 2.1, NAN])
    assert same(found["grad_norm", "record"], [1, 2, 3], [NAN, NAN, math.inf])
    assert same(found["eval_loss", "record"], [5], [NAN])
    assert found["epoch", "record"][1] == [0.16, 0.32, 0.48, 0.64, 0.64]
    assert found["rewards/chosen", "record"][1] == [-0.5]


def test_trainer_steps_from_its_own_keys(tmp_path: Path) -> None:
    text = (
        "{'loss': 1.5, 'epoch': 0.1, 'global_step/max_steps': '5/50', 'memory(GiB)': 9.1}\n"
        "{'loss': 1.25, 'epoch': 0.2, 'global_step/max_steps': '10/50', 'memory(GiB)': 9.1}\n"
    )
    assert points_of(read_text(tmp_path, text))["loss", "step"] == ([5, 10], [1.5, 1.25])


def bar(n: int, total: int) -> str:
    """A progress bar's repaint."""
    return f"\r {100 * n // total}%|###   | {n}/{total} [00:00<00:01,  4.63it/s]"


def test_trainer_step_is_that_of_the_bar_behind(tmp_path: Path) -> None:
    text = bar(0, 40)
    for n in (5, 10, 15):
        # The bar in front is late, the one behind is repainted by the very write.
        text += bar(n - 2, 40) + f"{{'loss': {n / 2}, 'epoch': {n / 20}}}\n" + bar(n, 40)
    assert points_of(read_text(tmp_path, text))["loss", "step"][0] == [5, 10, 15]


def test_trainer_log_cut_behind_a_dictionary(tmp_path: Path) -> None:
    text = bar(0, 40) + bar(5, 40) + "{'loss': 2.5, 'epoch': 0.25}\n" + bar(5, 40)
    text += bar(10, 40) + "{'loss': nan, 'epoch': 0.5}"
    assert points_of(read_text(tmp_path, text))["loss", "step"][0] == [5, 10]


def test_evaluation_bars_do_not_count(tmp_path: Path) -> None:
    text = bar(0, 40)
    for n in (5, 10, 15):
        text += bar(n, 40) + f"{{'loss': {n / 2}, 'epoch': {n / 20}}}\n" + bar(n, 40)
        text += bar(1, 7) + bar(7, 7) + f"{{'eval_loss': {n / 4}, 'epoch': {n / 20}}}\n"
        text += bar(n, 40) + bar(7, 7)
    found = points_of(read_text(tmp_path, text))
    assert found["loss", "step"][0] == [5, 10, 15]
    assert found["eval_loss", "step"][0] == [5, 10, 15]


def test_two_trainings_in_one_log(tmp_path: Path) -> None:
    text = ""
    for total in (20, 40):
        text += bar(0, total)
        for n in (10, 20):
            text += bar(n, total) + f"{{'loss': 2.5, 'epoch': {n / 20}}}\n" + bar(n, total)
        text += "{'train_runtime': 9.5, 'train_loss': 2.5, 'epoch': 1.0}\n" + bar(20, total) + "\n"
    found = points_of(read_text(tmp_path, text))
    assert found["loss", "step"][0] == [10, 20, 10, 20]


def test_buffered_output_takes_steps_from_constant_interval(tmp_path: Path) -> None:
    # Epochs of two digits cannot tell 10 000 steps apart; their constant distance can.
    rows = "".join(
        f"{{'loss': 2.5, 'learning_rate': 1e-05, 'epoch': {round(n / 5000, 2)}}}\n"
        for n in range(100, 10001, 100)
    )
    text = bar(0, 10000) + bar(9999, 10000) + bar(10000, 10000) + "\n" + rows
    text += "{'train_runtime': 9.5, 'train_loss': 2.5, 'epoch': 2.0}\n"
    found = points_of(read_text(tmp_path, text))
    assert found["loss", "step"][0] == list(range(100, 10001, 100))


def test_summary_block(tmp_path: Path) -> None:
    text = (
        "***** train metrics *****\n  epoch                    =        1.0\n"
        "  train_loss               =        nan\n  train_runtime            = 0:00:03.50\n\nnext\n"
    )
    assert same(points_of(read_text(tmp_path, text))["train_loss", "record"], [0], [NAN])


def test_announced_totals(tmp_path: Path) -> None:
    text = (
        "[INFO|trainer.py:1] 2024-01-01 10:00:00,000 >>   Num Epochs = 2\n"
        "[INFO|trainer.py:1] 2024-01-01 10:00:00,000 >>   Total optimization steps = 24\n"
        + "".join(f"{{'loss': 2.5, 'epoch': {n / 12:.2f}}}\n" for n in range(1, 25))
    )
    assert points_of(read_text(tmp_path, text))["loss", "step"][0] == list(range(1, 25))


OLD_WARNINGS = (
    "[WARNING|modeling_utils.py:1] Some weights of the model checkpoint at bert-base were not used when initializing BertModel: ['cls.bias', 'cls.weight']\n"
    "- This IS expected if you are initializing BertModel from the checkpoint of a model trained on another task\n"
    "Some weights of BertForX were not initialized from the model checkpoint at bert-base and are newly initialized: ['classifier.weight', 'classifier.bias']\n"
    "You should probably TRAIN this model on a down-stream task to be able to use it for predictions and inference.\n"
    "Some weights of BertForX were not initialized from the model checkpoint at ./ckpt and are newly initialized because the shapes did not match:\n"
    "- classifier.weight: found shape torch.Size([3, 2]) in the checkpoint and torch.Size([2, 2]) in the model instantiated\n"
    "- classifier.bias: found shape torch.Size([3]) in the checkpoint and torch.Size([2]) in the model instantiated\n"
    "next\n"
)


def test_load_warnings_of_transformers_4(tmp_path: Path) -> None:
    records = read_text(tmp_path, OLD_WARNINGS)
    (unused,) = events_of(records, "weights-not-used")
    assert unused.data["keys"] == ("cls.bias", "cls.weight")
    assert (unused.data["checkpoint"], unused.data["model_class"]) == ("bert-base", "BertModel")
    (new,) = events_of(records, "weights-newly-initialized")
    assert new.data["keys"] == ("classifier.weight", "classifier.bias")
    assert (new.data["checkpoint"], new.data["model_class"]) == ("bert-base", "BertForX")
    (mismatch,) = events_of(records, "weights-mismatched")
    assert mismatch.data["keys"] == ("classifier.weight", "classifier.bias")
    assert mismatch.source.line == 5


def test_load_warning_over_several_lines_and_its_cap(tmp_path: Path) -> None:
    names = ",\n".join(f" 'layer.{i}.weight'" for i in range(300))
    head = "Some weights of M were not initialized from the model checkpoint at x and are newly initialized: ["
    records = read_text(tmp_path, f"{head}\n{names}]\nstep 1 loss 2.5\n")
    (new,) = events_of(records, "weights-newly-initialized")
    assert new.data["count"] == 300
    keys = new.data["keys"]
    assert isinstance(keys, tuple) and len(keys) == 200
    assert ("loss", "step") in points_of(records)


def test_load_report_merges_numbers(tmp_path: Path) -> None:
    text = (
        "GPT2X LOAD REPORT from: gpt2\nKey | Status | \n----+---+\n"
        "h.{0, 1, 2}.ln.weight | MISSING | \nh.{0...31}.ln.bias | UNEXPECTED | \n\nNotes:\n"
    )
    records = read_text(tmp_path, text)
    (new,) = events_of(records, "weights-newly-initialized")
    assert new.data["keys"] == ("h.0.ln.weight", "h.1.ln.weight", "h.2.ln.weight")
    (unused,) = events_of(records, "weights-not-used")
    assert unused.data["count"] == 32


def test_underflow_table_names_the_layer() -> None:
    records = read_log(Path(__file__).parents[1] / "fixtures" / "text" / "underflow.log")
    events = [e for e in events_of(records, "nonfinite-text") if "layer" in e.data]
    (event,) = events
    assert (event.data["layer"], event.data["what"], event.data["value"]) == (
        "block.2",
        "weight",
        "inf",
    )
    assert (event.step, event.data["quantity"]) == (1, "parameters")
    found = points_of(records)
    assert found["activation_max/block.2.weight", "step"] == ([0, 1], [3.41e29, math.inf])
    assert same(found["activation_max/block.2.output", "step"], [0, 1], [3.35e29, NAN])
    assert found["activation_max/embed.output", "step"] == ([1], [9.96e8])


@pytest.mark.real
def test_public_megatron_log() -> None:
    paths = sorted(SHARED.glob("bigscience-out/**/meg_gpt2_base_n4*.out"))
    if not paths:
        pytest.skip("public artifacts are not here")
    series = log_series(read_log(paths[0]))
    assert series["lm loss", "step"].steps.tolist() == list(range(20, 201, 10))
    assert series["loss scale", "step"].values[0] == 8388608.0


def trainer_rows(first: int, count: int, every: int, steps_an_epoch: int) -> str:
    """As the Trainer prints them without a bar: epochs with two digits, or four in all."""
    steps = [every * (first + i) for i in range(count)]
    rows = [
        f"{{'loss': '2.5', 'grad_norm': '1.1', 'epoch': '{step / steps_an_epoch:.4g}'}}"
        for step in steps
    ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(("first", "every", "epoch"), [(1, 2, 8), (21, 2, 8), (1, 10, 8)])
def test_rows_of_a_resumed_trainer_go_on_counting(
    tmp_path: Path, first: int, every: int, epoch: int
) -> None:
    records = read_text(tmp_path, trainer_rows(first, 20, every, epoch))
    (steps, _) = points_of(records)["loss", "record"]
    assert steps == list(range(first, first + 20))


def test_epochs_that_are_too_coarse_to_count_back(tmp_path: Path) -> None:
    records = read_text(tmp_path, trainer_rows(21, 20, 2, 2000))
    assert points_of(records)["loss", "record"][0] == list(range(1, 21))
