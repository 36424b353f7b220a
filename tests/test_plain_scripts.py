"""Whole runs as hand-written training scripts leave them, and healthy ones like them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import (
    INF,
    NAN,
    checkpoint,
    detect,
    event,
    judge,
    make_run,
    named_cause,
    series,
    tensor,
)

from nanautopsy import analyze
from nanautopsy.checkpoints.step_names import names_step
from nanautopsy.checkpoints.torch_file import _is_epoch
from nanautopsy.model import Autopsy, Source
from nanautopsy.readers.text.epochs import from_the_end

NEVER = "_IncompatibleKeys(missing_keys={}, unexpected_keys={})\n"


def judged(folder: Path, text: str) -> Autopsy:
    (folder / "train.log").write_text(text)
    return analyze(folder)


def first(autopsy: Autopsy) -> str | None:
    return autopsy.causes[0].id if autopsy.causes else None


# --- codes of a quantized model -----------------------------------------------------------------


def codes(name: str, largest: float = 127.0, least: float = 1.0) -> object:
    return tensor(name, (16, 16), max_abs=largest, min_abs=least, rms=40.0)  # type: ignore[arg-type]


def test_codes_without_their_scales() -> None:
    names = ["stem.weight", "body.0.weight", "body.1.weight"]
    dead = checkpoint(20, *(tensor(n, (16, 16), nan=256, first_nonfinite=(0, 0)) for n in names))  # type: ignore[arg-type]
    start = checkpoint(0, *map(codes, names))  # type: ignore[arg-type]
    assert named_cause(start, dead) == "wrong-checkpoint"
    drawn = checkpoint(0, *(codes(n, 0.3, 1e-5) for n in names))  # type: ignore[arg-type]
    assert named_cause(drawn, dead) is None


@pytest.mark.parametrize(("largest", "least"), [(1.0, 1.0), (127.4, 1.0), (90.0, 0.2), (4e4, 1.0)])
def test_other_weights_are_no_codes(largest: float, least: float) -> None:
    run = make_run(checkpoint(0, codes("a", largest, least), codes("b", largest, least)))  # type: ignore[arg-type]
    assert not [f for f in detect(run) if f.id == "integer-weights"]


# --- weights that do not belong -----------------------------------------------------------------


def test_blocks_that_the_model_has_no_layers_for(tmp_path: Path) -> None:
    keys = [f"layers.{i}.ln.{p}" for i in range(4) for p in ("weight", "bias")]
    rows = "step 0 loss {} grad_norm 1e7\n" + "".join(f"step {i} loss nan\n" for i in range(1, 20))
    text = NEVER.format([], keys)
    assert first(judged(tmp_path, text + rows.format(2522557.75))) == "wrong-checkpoint"
    assert first(judged(tmp_path, text + rows.format(2.31))) != "wrong-checkpoint"


def test_a_level_that_stands_beside_the_file_of_weights(tmp_path: Path) -> None:
    said = "=> loaded weights/best.pth (epoch 38, val_loss 0.412)\n"
    rows = "step 0 loss {}\nstep 1 loss 4.2e12\nstep 2 loss inf\n" + "step 3 loss nan\n" * 20
    assert first(judged(tmp_path, said + rows.format(9183.2))) == "wrong-checkpoint"
    assert first(judged(tmp_path, said + rows.format(0.6))) != "wrong-checkpoint"


def test_a_new_head_that_is_absurd_in_a_late_checkpoint() -> None:
    said = event("weights-newly-initialized", keys=("head.weight", "head.bias"), count=2)
    last = checkpoint(
        60,
        tensor("body.weight"),
        tensor("out.weight"),
        tensor("head.weight", max_abs=4e35, rms=1e35),
        tensor("body.bias", (4,), nan=4, first_nonfinite=(0,)),  # type: ignore[arg-type]
    )
    assert named_cause(said, last) == "uninitialized-params"
    other = replace(said, data={"keys": ("aux.weight",), "count": 1})
    assert named_cause(other, last) != "uninitialized-params"


def test_a_table_that_no_update_moves() -> None:
    loss = series("loss", [NAN] * 20)
    assert named_cause(loss, series("codebook_absmax", [2.5e38] * 20)) == "uninitialized-params"
    grown = [2.5e7 * 3.0**k for k in range(20)]
    assert named_cause(loss, series("codebook_absmax", grown)) is None


def test_a_count_of_keys_in_brackets(tmp_path: Path) -> None:
    names = [f"blocks.{i}.{n}.weight" for i in range(2) for n in ("qkv", "proj")]
    listed, other = ", ".join(names), ", ".join(n.replace("blocks", "m.layers") for n in names)
    text = f"Missing keys (24): {listed}, ...\nUnexpected keys (24): {other}, ...\n"
    rows = "it 0 | ce {} | lr 0.001\nit 1 | ce 2.5e9 | lr 0.001\nit 2 | ce 1.1e27 | lr 0.001\n"
    dead = "".join(f"it {i} | ce nan | lr 0.001\n" for i in range(3, 30))
    assert first(judged(tmp_path, text + rows.format(190414.6) + dead)) == "wrong-checkpoint"


def test_a_first_cross_entropy_that_no_rate_has_made(tmp_path: Path) -> None:
    rows = "it 0 | ce {} | lr 0.9\nit 1 | ce 2.5e9 | lr 0.9\nit 2 | ce 1.1e27 | lr 0.9\n"
    dead = "".join(f"it {i} | ce nan | lr 0.9\n" for i in range(3, 30))
    assert first(judged(tmp_path, rows.format(190414.6) + dead)) is None
    assert first(judged(tmp_path, rows.format(2.31) + dead)) == "lr-too-high"


# --- a resume -----------------------------------------------------------------------------------


def resumed(before: list[float], after: list[float]) -> str | None:
    said = event("run-resumed", "restored last.pt at epoch 12", epoch=12)
    own = series("train_mse", before, range(len(before)))
    later = series("train_mse", after, range(len(before), len(before) + len(after)))
    path = said.source.path
    lines = np.arange(len(after)) + 8
    later = replace(later, source=Source(path, tag="train_mse"), lines=lines)
    return named_cause(own, later, said)


def test_dead_in_the_first_row_behind_a_resume() -> None:
    calm = [0.9 - 0.05 * i for i in range(12)]
    assert resumed(calm, [NAN] * 6) == "resume-mismatch"
    assert resumed(calm, [0.3, NAN, NAN, NAN]) != "resume-mismatch"
    assert resumed([*calm, NAN], [NAN] * 6) != "resume-mismatch"
    assert resumed([*calm, 40.0], [NAN] * 6) != "resume-mismatch"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "RESUME rec_0300.pt\nrec_0300.pt has no entry 'target_scaler', uses identity",
            True,
        ),
        ("resuming from out/rec_300.pt\nobs normalizer was not saved, starts from zero", True),
        ("saved rec_0300.pt", False),
    ],
)
def test_a_scaler_of_the_data_that_a_resume_lost(tmp_path: Path, said: str, cause: bool) -> None:
    calm = [0.6 + 0.2 * math.sin(i) for i in range(300)]
    rows = [
        {"global_step": i, "mse": v, "gn": 2 * v, "lr": 0.02}
        for i, v in enumerate([*calm, 7e5, 1.7e6, 9e18, INF, *[NAN] * 20])
    ]
    for row, norm in zip(rows[300:], [4776.0, 4e5, 1e16, NAN], strict=False):
        row["gn"] = norm
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = first(judged(tmp_path, f"recommender | sgd lr 2e-2\n{said}\n"))
    assert (found == "resume-mismatch") is cause
    assert found != "gradient-explosion"  # no update leaps so far behind an ordinary gradient


# --- gradients beside a finite loss -------------------------------------------------------------


def test_a_value_at_which_a_root_has_no_derivative() -> None:
    norm = series("grad_l2", [5.0, 6.0, 5.5] * 10 + [NAN] * 20)
    loss = series("loss", [7.0, 6.5, 6.8] * 10 + [6.9] + [NAN] * 19)
    for tag, usual, end in (("feat_std_min", 0.6, 0.0), ("pose/cos_max", 0.98, 1.0)):
        reached = series(tag, [usual, usual * 0.9, usual] * 10 + [end] + [NAN] * 19)
        run = make_run(norm, loss, reached)
        assert [f.step for f in detect(run) if f.id == "left-domain"] == [31]
        assert named_cause(norm, loss, reached) == "singular-gradient"


def test_a_guard_that_gives_the_loss_of_the_step(tmp_path: Path) -> None:
    rows = "".join(f"step {20 * i}: bce = {0.5 - 0.1 * i:.4f}, tv = 0.03\n" for i in (1, 2, 3))
    said = "AssertionError: NaN in gradient of encoder.2.weight at global step 69 (loss={})\n"
    assert first(judged(tmp_path, rows + said.format("0.1328"))) == "singular-gradient"
    assert first(judged(tmp_path, rows + said.format("8123.5"))) is None


# --- what counts --------------------------------------------------------------------------------


def test_a_gradient_at_an_epoch_whose_loss_is_finite(tmp_path: Path) -> None:
    rows = "".join(
        f"Epoch: {i:03d}, Loss: {0.9 - 0.01 * i + 0.02 * (i % 3):.4f}, Val: 0.7\n"
        for i in range(1, 31)
    )
    bad = "  !! epoch {}: grads not finite for {}/4 tensors: {}\n"
    names = "conv1.weight, conv1.bias"
    text = rows + bad.format(30, 2, names)
    for i in range(31, 36):
        text += f"Epoch: {i:03d}, Loss: nan, Val: 0.3\n"
        text += bad.format(i, 4, names + ", out.weight, out.bias")
    found = judged(tmp_path, text)
    assert first(found) == "singular-gradient"
    assert found.onset is not None
    assert (found.onset.axis, found.onset.step, found.onset.last_finite) == ("epoch", 30, 29)
    assert set(found.onset.layers) == {"conv1.weight", "conv1.bias"}


def test_an_epoch_in_the_name_of_a_checkpoint_is_no_step() -> None:
    assert _is_epoch(1, 1, "checkpoint_1.pth.tar") and _is_epoch(2, 1, "checkpoint_2.pth.tar")
    assert not _is_epoch(500, 3, "checkpoint_500.pth")
    assert not _is_epoch(3, 3, "step_3.pt") and not _is_epoch(3, None, "checkpoint_3.pt")
    assert names_step("ckpt/iter_0003/rank0.pt") and not names_step("checkpoint_3.pt")


def test_a_counter_that_starts_again_at_its_end() -> None:
    n, total = np.array([10, 20, 30] * 3), np.full(9, 30)
    steps = from_the_end(n, total)
    assert steps is not None and steps.tolist() == list(range(10, 91, 10))
    cut = np.array([10, 20, 30, 40, 10, 20, 30])
    assert from_the_end(cut, np.full(7, 500)) is None  # died, and begun anew
    assert from_the_end(np.array([10, 20, 30]), np.full(3, 30)) is None


def test_batches_below_a_heading_of_their_epoch(tmp_path: Path) -> None:
    text = "".join(
        f"\nEpoch: {e}\n" + "".join(f" Step {n}/30 | Loss: {v}\n" for n in (10, 20, 30))
        for e, v in enumerate(["2.41", "2.35", "nan"])
    )
    onset = judged(tmp_path, text).onset
    assert onset is not None and (onset.last_finite, onset.step) == (60, 70)


def test_batches_of_epochs_in_a_table(tmp_path: Path) -> None:
    places = [(e, b) for e in range(3) for b in range(8)]
    rows = [f"{e},{b},{NAN if (e, b) >= (1, 4) else 2.0 - e / 9}" for e, b in places]
    (tmp_path / "batches.csv").write_text("epoch,batch,xent\n" + "\n".join(rows) + "\n")
    onset = analyze(tmp_path).onset
    assert onset is not None and (onset.axis, onset.last_finite, onset.step) == ("step", 11, 12)


def test_a_bar_that_lags_behind_its_numbers() -> None:
    exact = series("bce", [0.7] * 61 + [NAN] * 31, range(92))
    lagging = replace(series("bce", [0.8, 0.7, NAN, NAN], [15, 34, 57, 78]), source=Source("err"))
    onset = judge(make_run(exact, lagging)).onset
    assert onset is not None and (onset.last_finite, onset.step) == (60, 61)
    alone = judge(make_run(lagging)).onset
    assert alone is not None and alone.step == 57


def test_a_score_without_a_value_yet(tmp_path: Path) -> None:
    rows = "".join(
        f"[{i}/40] disc: {0.8 + 0.3 * math.sin(i):.4f} gen: {0.7 + 0.1 * i % 1:.4f} FID: "
        f"{'nan' if i < 10 else '41.20'}\n"
        for i in range(1, 41)
    )
    assert judged(tmp_path, rows).verdict != "non-finite"
    dead = "".join(f"[{i}/40] disc: nan gen: nan FID: 41.20\n" for i in range(20, 41))
    assert judged(tmp_path, rows + dead).verdict == "non-finite"


def test_what_a_histogram_left_out_is_no_size() -> None:
    left = series("weights/out#nonfinite", [0.0, 0.0, 0.0], [0, 100, 200])
    size = series("weights/out#max", [0.2, 0.3, 0.3], [0, 100, 200])
    loss = series("loss", [0.5] * 300 + [INF], range(301))
    assert not [f for f in detect(make_run(left, size, loss)) if f.id == "zero-weight"]


def test_a_phase_of_few_rows_that_no_share_reaches(tmp_path: Path) -> None:
    rows = "".join(f"ep {i + 1}/8  trn {v}  val_rmse {v}\n" for i, v in enumerate([93.1, 1e28]))
    dead = "".join(f"ep {i}/8  trn nan  val_rmse nan\n" for i in range(3, 9))
    judged(tmp_path, rows + dead)
    roles = {s.tag: s.role for s in analyze(tmp_path).run.series}
    assert roles["trn"] == "loss"
    few = rows.replace("93.1", "0.3").replace("1e+28", "0.4")
    judged(tmp_path, few + dead)
    assert {s.tag: s.role for s in analyze(tmp_path).run.series}["trn"] == "other"


def test_a_step_in_the_first_cell(tmp_path: Path) -> None:
    rows = "".join(f"|  {4 * i:4d} | mse {0.5 / i:.5f} | lr 2.0e-03\n" for i in range(1, 20))
    onset = judged(tmp_path, rows + "|    80 | mse nan | lr 2.0e-03\n").onset
    assert onset is not None and (onset.last_finite, onset.step) == (76, 80)


def test_a_terse_counter_of_two_files(tmp_path: Path) -> None:
    calm = [{"s": i, "train": {"l2": 0.6 + 0.2 * math.sin(i)}} for i in range(500)]
    dead = [{"s": 500 + i, "train": {"l2": v}} for i, v in enumerate([8e4, 1.5e22, *[NAN] * 9])]
    (tmp_path / "part1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in calm))
    (tmp_path / "part2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dead))
    found = analyze(tmp_path)
    assert found.onset is not None and (found.onset.axis, found.onset.step) == ("step", 502)
    assert first(found) != "lr-too-high"


def test_the_letters_of_a_score_are_no_verb(tmp_path: Path) -> None:
    row = "[Iter {:5d}] [D loss: {:.3f}] [G loss: {:.3f}] [IS: {}]\n"
    rows = [
        row.format(10 * i, 3 + math.sin(i), -2 - math.cos(i), "nan" if i < 9 else "2.1")
        for i in range(1, 30)
    ]
    assert judged(tmp_path, "".join(rows)).verdict == "healthy"
