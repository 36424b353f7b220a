"""Rows, prefixes and statements of public trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, points_of, read_text

ROW = "[step=5/600,epoch=0]\n    train/CrossEntropyLoss=2.5\n"


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        ("    optim/learning_rate_group0=1.0e-03", "optim/learning_rate_group0"),
        ("\t Train lr-DecoupledSGDW/group0: 0.001", "Train lr-DecoupledSGDW/group0"),
    ],
)
def test_the_rate_of_a_group_below_its_step(tmp_path: Path, line: str, tag: str) -> None:
    assert points_of(read_text(tmp_path, f"{ROW}{line}\n"))[tag, "step"] == ([5], [0.001])


def test_a_rate_that_may_be_a_setting(tmp_path: Path) -> None:
    points = points_of(read_text(tmp_path, f"{ROW}    optimizer/learning_rate: 0.1\n"))
    assert list(points) == [("train/CrossEntropyLoss", "step")]


@pytest.mark.parametrize(
    "prefix",
    [
        "[NeMo I 2026-11-29 17:48:20 param_stats:31] ",
        "[11/29 17:44:13 d2.stats]: ",
        "[localhost] 2026-11-29 17:48:20,123 (espnet2.train.trainer:284) INFO: ",
        "2026-11-29 17:48:20 | INFO | fairseq_cli.train | ",
    ],
)
def test_what_stands_behind_a_loggers_prefix(tmp_path: Path, prefix: str) -> None:
    text = f"{prefix}adapter.scale shape=(32,) mean=-6.1e+34 absmax=1.4e+36\n"
    (said,) = events_of(read_text(tmp_path, text), "absurd-parameter")
    assert said.data["layer"] == "adapter.scale"


def test_tensors_that_a_loader_filters_out(tmp_path: Path) -> None:
    reason = "from pretrained dict because of name not found in target dict"
    text = "".join(f"Filter out asr.enc.{i}.weight {reason}\n" for i in range(3))
    told = text.replace("target dict", "target model")
    (unused,) = events_of(read_text(tmp_path, told), "weights-not-used")
    assert unused.data["keys"] == tuple(f"asr.enc.{i}.weight" for i in range(3))
    assert events_of(read_text(tmp_path, text), "weights-not-used")
    quiet = "Filtered out utt.12.wav because of its length not in the range of the model\n"
    assert not events_of(read_text(tmp_path, quiet), "weights-not-used")


def test_parameters_that_the_restored_state_lacks(tmp_path: Path) -> None:
    line = "Parameters absent in the restored state: ['adapter.scale', 'adapter.bias']\n"
    (new,) = events_of(read_text(tmp_path, line), "weights-newly-initialized")
    assert new.data["count"] == 2


@pytest.mark.parametrize(
    ("line", "unfilled"),
    [
        ("Token embedding 48 -> 54 rows, 6 new (torch.empty)", True),
        ("vocab resized from 48 to 54, new rows are uninitialized", True),
        ("vocab resized from 48 to 54", None),
    ],
)
def test_rows_that_nothing_fills(tmp_path: Path, line: str, unfilled: bool | None) -> None:
    (resized,) = events_of(read_text(tmp_path, line + "\n"), "embeddings-resized")
    assert resized.data.get("unfilled") == unfilled


def test_entries_of_a_gradient_that_are_bad(tmp_path: Path) -> None:
    line = "iter 9: 96/96 bad grad entries in head.weight (total_loss=0.33)"
    (said,) = events_of(read_text(tmp_path, f"iter 8 loss 2.5\n{line}\n"), "nonfinite-text")
    assert (said.step, said.data["layer"], said.data["forward_sound"]) == (9, "head.weight", True)
    none = "iter 9: 0/96 bad grad entries in head.weight (total_loss=0.33)"
    assert not events_of(read_text(tmp_path, f"iter 8 loss 2.5\n{none}\n"), "nonfinite-text")


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("[11/29 17:45:41 d2.engine.train_loop]: Starting training from iteration 400", 400),
        ("Using Auto-resume functionality to start with checkpoint at out/checkpoint-400", 400),
        ("restart: last.pth -> iter 400, adam state loaded", 400),
    ],
)
def test_where_a_run_goes_on(tmp_path: Path, line: str, step: int) -> None:
    start = "[11/29 17:40:41 d2.engine.train_loop]: Starting training from iteration 0"
    records = read_text(tmp_path, f"{start}\nstep 399 loss 1.5\n{line}\nstep 401 loss 1.5\n")
    (resumed,) = events_of(records, "run-resumed")
    assert resumed.step == step
    assert len(events_of(records, "run-started")) == 1


def test_items_that_were_transferred(tmp_path: Path) -> None:
    """Ultralytics' settings hold the size of a batch, which is no step."""
    text = (
        "engine/trainer: task=detect, epochs=4, batch=16, lr0=0.01, momentum=0.937\n"
        "Transferred 8/349 items from pretrained weights\n"
    )
    records = read_text(tmp_path, text)
    (new,) = events_of(records, "weights-newly-initialized")
    assert (new.step, new.data["count"], new.data["total"]) == (None, 341, 349)


def test_keys_that_are_listed_without_brackets(tmp_path: Path) -> None:
    line = "missing keys in source state_dict: layer_scale, head.weight, head.bias\n"
    (new,) = events_of(read_text(tmp_path, line), "weights-newly-initialized")
    assert new.data["keys"] == ("layer_scale", "head.weight", "head.bias")


def test_a_batch_of_the_first_epoch_is_a_step(tmp_path: Path) -> None:
    line = "epoch 0 batch 32: labs min nan max nan, 1 missing values\n"
    (said,) = events_of(read_text(tmp_path, line), "odd-sample")
    assert said.step == 32


def test_rows_of_a_programs_own_between_the_trainers(tmp_path: Path) -> None:
    """``Trainer.log`` adds the epoch, which tells the step; bars stand still between repaints."""
    lines = []
    for step in range(1, 41):
        if step % 10 == 9:
            lines.append(f"{{'loss_f0': '{1 / step:.4g}', 'epoch': '{step / 200:.4g}'}}")
        if step % 10 == 0:
            lines.append(
                f"{{'loss': '{2 / step:.4g}', 'grad_norm': '1.5', 'learning_rate': '0.001', "
                f"'epoch': '{step / 200:.4g}'}}"
            )
            lines.append(f" {step // 2}%|##   | {step}/200 [00:01<00:04, 40.00it/s]")
    lines.append("{'train_runtime': '3.1', 'train_loss': '0.3', 'epoch': '0.2'}")
    lines.insert(0, "  Num examples = 1,600")
    lines.insert(1, "  Total train batch size (w. parallel, distributed & accumulation) = 8")
    points = points_of(read_text(tmp_path, "\n".join(lines) + "\n"))
    assert points["loss_f0", "step"][0] == [9, 19, 29, 39]
    assert points["loss", "step"][0] == [10, 20, 30, 40]


def test_settings_that_name_an_epoch_are_no_rows(tmp_path: Path) -> None:
    text = "{'hidden': 64, 'width': 0.1, 'epoch': 10}\nloss 1.0 step 1\n"
    assert [tag for tag, _ in points_of(read_text(tmp_path, text))] == ["loss"]
