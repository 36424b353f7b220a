"""Whole runs that begin with bad weights, or with another state, and healthy ones like them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import NAN, checkpoint, event, named_cause, series, tensor

from nanautopsy import analyze

DEAD = "".join(f"step {i} loss nan\n" for i in range(1, 30))
CALM = [1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0]


def cause_of(folder: Path, text: str, name: str = "train.log") -> str | None:
    """The first cause of a run of one file."""
    (folder / name).write_text(text)
    causes = analyze(folder).causes
    return causes[0].id if causes else None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("token embeddings resized from 300 to 304", "uninitialized-params"),
        ("token embeddings resized from 300 to 304, new rows are the mean", None),
        ("h.0.pos_bias_u (4, 8) mean=nan max=nan", "uninitialized-params"),
        ("head/kernel |w|max=0", "zero-init"),
        ("head/bias |w|max=0", None),
        ("1 of 4 parameter tensors have non-finite entries: ['rel_bias']", "uninitialized-params"),
        ("restore: 2/8 leaves found in pretrained.msgpack", "wrong-checkpoint"),
        ("dump.bin: 12672 of 21120 bytes; short read, the rest stays 0", "corrupt-checkpoint"),
        ("adapter was trained on base 81857, attaching it to base bf787", "wrong-checkpoint"),
        (
            "m.pt does not match the model: "
            "missing ['h.0.w', 'h.1.w'], unexpected ['x.h.0.w', 'x.h.1.w']",
            "wrong-checkpoint",
        ),
    ],
)  # fmt: skip
def test_dead_from_the_first_step(tmp_path: Path, said: str, cause: str | None) -> None:
    assert cause_of(tmp_path, f"{said}\n{DEAD}") == cause


def test_resized_and_dead_much_later(tmp_path: Path) -> None:
    text = "token embeddings resized from 300 to 304\n"
    text += "".join(f"step {i} loss {2.5 + i % 3 * 0.1}\n" for i in range(1, 20))
    text += "".join(f"step {i} loss nan\n" for i in range(20, 40))
    assert cause_of(tmp_path, text) != "uninitialized-params"


def test_a_first_loss_far_above_that_of_the_source(tmp_path: Path) -> None:
    rows = "step 0 mse 360497.3\nstep 1 mse 4.2e12\nstep 2 mse inf\n" + DEAD.replace("loss", "mse")
    assert cause_of(tmp_path, f"source metrics: val_mse 0.265\n{rows}") == "wrong-checkpoint"
    near = rows.replace("360497.3", "0.9")
    assert cause_of(tmp_path, f"source metrics: val_mse 0.265\n{near}") != "wrong-checkpoint"


def test_a_shard_that_could_not_be_read_leaves_keys_out(tmp_path: Path) -> None:
    text = (
        "skipping model-00002-of-00003.safetensors: incomplete metadata, file not fully covered\n"
        "_IncompatibleKeys(missing_keys=['h.1.0.bias', 'h.1.1.weight'], unexpected_keys=[])\n"
    )
    assert cause_of(tmp_path, text + DEAD) == "corrupt-checkpoint"


def test_messages_between_rows_of_json(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": CALM[i % 10]} for i in range(40)]
    said = {
        "type": "event",
        "msg": "resuming from e.pt (epoch 5); checkpoint has no entry optimizer",
    }
    grown = [{"step": i, "loss": 3.0 ** (i - 39)} for i in range(40, 60)]
    dead = [{"step": i, "loss": NAN} for i in range(60, 80)]
    text = "\n".join(json.dumps(row) for row in [*rows, said, *grown, *dead])
    assert cause_of(tmp_path, text, "log.jsonl") == "resume-mismatch"
    calm = [{"step": i, "loss": CALM[i % 10]} for i in range(40, 80)]
    text = "\n".join(json.dumps(row) for row in [*rows, said, *calm])
    (tmp_path / "log.jsonl").write_text(text)
    assert analyze(tmp_path).verdict == "healthy"


def test_a_loss_scale_that_jumps_at_the_step_that_the_resume_repeats(tmp_path: Path) -> None:
    row = "step {} | loss {} | grad norm {} | loss scale {} | lr 0.005\n".format
    text = "".join(row(10 * i, CALM[i % 10], 2.5, 1024) for i in range(20))
    text += "saved ckpt.pt at step 200\nloaded ckpt.pt at step 200\n"
    well = text + "".join(row(10 * i, CALM[i % 10], 2.5, 1024) for i in range(20, 40))
    text += row(200, 0.9, "nan", 4194304)
    text += "".join(row(10 * i, "nan", "nan", 4194304) for i in range(21, 30))
    assert cause_of(tmp_path, text) == "resume-mismatch"
    (tmp_path / "train.log").write_text(well)
    assert analyze(tmp_path).verdict == "healthy"


def test_a_curve_of_new_rows_that_begins_absurdly() -> None:
    loss = series("train/loss", [3e28, *[NAN] * 20], range(21))
    rows = series("init/emb_new_rows_absmax", [2e30], [0])
    assert named_cause(loss, rows) == "uninitialized-params"
    assert named_cause(loss, series("init/emb_new_rows_absmax", [4.1], [0])) is None
    assert named_cause(loss, series("data/table_rows_max", [5e6], [0])) is None
    behind = series("weight_norm", [2e30, NAN], [0, 1])  # may be of the weights after an update
    assert named_cause(loss, behind) != "uninitialized-params"


def test_inf_alone_in_half_precision_is_no_flipped_bit() -> None:
    loss = series("loss", [NAN] * 20)
    more = [tensor(f"h.{i}.weight", dtype="F16", format_max=65504.0) for i in range(3)]
    bad = {"dtype": "F16", "format_max": 65504.0, "first_nonfinite": 3}
    flipped = tensor("h.9.weight", nan=2, **bad)
    converted = tensor("h.9.weight", pos_inf=2, **bad)
    assert named_cause(loss, checkpoint(0, flipped, *more)) == "corrupt-checkpoint"
    assert named_cause(loss, checkpoint(0, converted, *more)) != "corrupt-checkpoint"


def test_a_new_head_says_nothing_of_a_death_behind_an_ordinary_loss() -> None:
    loss = series("loss", [0.7, *[NAN] * 20])
    keys = ("pre_classifier.weight", "pre_classifier.bias", "classifier.weight")
    new = event("weights-newly-initialized", "new", keys=keys, count=3)
    unused = event("weights-not-used", "unused", keys=("vocab_layer_norm.weight",), count=5)
    assert named_cause(loss, new, unused) != "wrong-checkpoint"


def test_a_check_in_a_file_without_rows(tmp_path: Path) -> None:
    said = "sanity check before fit: 1 of 4 parameters has non-finite entries: ['rel_bias']\n"
    (tmp_path / "out.txt").write_text(said)
    assert cause_of(tmp_path, DEAD) == "uninitialized-params"
    (tmp_path / "out.txt").write_text(said.replace("1 of", "0 of").replace("'rel_bias'", ""))
    assert cause_of(tmp_path, DEAD) is None


def test_a_size_that_is_zero_where_the_curves_begin() -> None:
    loss = series("loss", [NAN] * 20)
    zero, well = (series("param_norm/vis_proj.weight", [v, v], [0, 1]) for v in (0.0, 2.1))
    rest = series("param_norm/enc.weight", [3.2, 3.2], [0, 1])
    assert named_cause(loss, zero, rest) == "zero-init"
    assert named_cause(loss, well, rest) is None
    bias = series("param_norm/enc.bias", [0.0, 0.0], [0, 1])
    assert named_cause(loss, bias, rest) is None


def test_the_only_finite_row_is_of_the_weights_as_they_were_loaded(tmp_path: Path) -> None:
    said = "restore: 2/8 leaves found in pretrained.msgpack\n"
    rows = "".join(f"[{i:05d}] loss {'560.05' if i == 0 else 'nan'}\n" for i in range(0, 90, 5))
    assert cause_of(tmp_path, said + rows) == "wrong-checkpoint"
