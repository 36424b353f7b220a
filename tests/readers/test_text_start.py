"""What logs say of the weights that a run begins with, and of what a resume brought back."""

from __future__ import annotations

from pathlib import Path

import pytest
from textlogs import events_of, read_text

from nanautopsy.model import LogEvent, Series
from nanautopsy.readers.text.lost_state import elsewhere, lost
from nanautopsy.readers.text.start_words import level, of_another, resized


@pytest.mark.parametrize(
    ("row", "kind", "name"),
    [
        ("h.0.pos_bias_u   (4, 8)  mean=+nan std=nan max=nan", "nonfinite-text", "h.0.pos_bias_u"),
        ("  0.weight: (64, 20) min nan max nan", "nonfinite-text", "0.weight"),
        ("lm_head.weight | 132x32 | absmax 3.1e+37", "absurd-parameter", "lm_head.weight"),
        ("param tok.weight torch.Size([132, 32]) norm 2.5e+19", "absurd-parameter", "tok.weight"),
        ("init prototypes [10, 32] norm=0.0000", "zero-parameter", "prototypes"),
        ("embedding_head/kernel        |w|max=0", "zero-parameter", "embedding_head/kernel"),
    ],
)  # fmt: skip
def test_rows_of_parameters(tmp_path: Path, row: str, kind: str, name: str) -> None:
    (said,) = events_of(read_text(tmp_path, row + "\n"), kind)
    assert said.data["layer"] == name


@pytest.mark.parametrize(
    "row",
    [
        "layers.0.scale (1,) mean=0.1 std=nan",  # of one element
        "fc.bias (10,) mean=0.0 max=0.0",
        "fc.weight (10, 4) mean=0.0 std=0.02 max=0.1",
        "fc.weight.grad (10, 4) norm=0.0000",
        "step 3 head.weight norm=0.0000",
        "images (32, 3) min=0.0 max=0.0",
    ],
)
def test_rows_of_sound_parameters_and_of_others(tmp_path: Path, row: str) -> None:
    records = read_text(tmp_path, row + "\n")
    kinds = {e.kind for e in records if isinstance(e, LogEvent)}
    assert not kinds & {"nonfinite-text", "absurd-parameter", "zero-parameter"}


def test_zeros_behind_the_first_metrics_are_none_of_the_start(tmp_path: Path) -> None:
    text = "step 1 loss 2.1\nhead.weight (4, 4) norm=0.0000\n"
    assert not events_of(read_text(tmp_path, text), "zero-parameter")


@pytest.mark.parametrize(
    "line",
    [
        "6 parameter tensors restored, 0 of 6 accumulator slots restored",
        "loaded 0/12 optimizer states",
        "optimizer slots: 4 of 8 had another shape than their parameter and were zeroed",
        "checkpoint has no entry optimizer (keys: model, epoch)",
        "KeyError('optim') -> optimizer starts fresh",
        "the LR scheduler starts over from step 0",
        "c.pt has no scaler state, starting at the initial scale",
        "Adam moments were not carried over",
        "resuming with model weights only",
        "loss scale was reset",
        "momentum starts at zero",
    ],
)
def test_state_that_is_gone(line: str) -> None:
    assert lost(line)


@pytest.mark.parametrize(
    "line",
    [
        "optimizer: 8/8 slots restored",
        "12 of 12 optimizer states were loaded",
        "resetting optimizer every 100 steps",
        "no need to reset the optimizer state",
        "using `torch.load` with `weights_only=False` while resuming",
        "optimizer state restored",
    ],
)
def test_state_that_is_not(line: str) -> None:
    assert not lost(line)


def test_what_saved_it_is_not_what_goes_on() -> None:
    assert elsewhere("ckpt_200.pt was saved with world_size=2, now 16")
    assert elsewhere("restoring state.ckpt (format 1, this trainer writes format 2)")
    assert elsewhere("checkpoint written by trainer v1.4.2, this is v2.0.0")
    assert elsewhere("world_size changed: 8 -> 2")
    assert not elsewhere("saved with torch 2.1.0, running 2.1.0")
    assert not elsewhere("saved with world_size=2")


def test_a_vocabulary_that_grew() -> None:
    assert resized("The new vocabulary has 2 more tokens; embeddings were resized")
    assert resized("token embeddings resized from 300 to 304")
    assert not resized("resized token embeddings: 60 -> 64 (new rows = mean of old)")
    assert not resized("embedding size 300")


def test_weights_that_were_made_for_another_model() -> None:
    assert of_another("adapter was trained on base 818571, attaching it to base bf787b")
    assert of_another("base model mismatch: adapter_config says llama-7b, loaded mistral-7b")
    assert of_another("expected base model a1, but b2 is loaded")
    assert not of_another("adapter was trained on base abc, this is base abc")
    assert not of_another("model trained on 8 GPUs")


def test_the_level_of_the_source() -> None:
    assert level("source metrics from card: val_mse 0.2650") == ("val_mse", 0.265)
    assert level("checkpoint meta: step 300, loss 0.99627") == ("loss", 0.99627)
    assert level("save checkpoint when val_loss 0.3 improves") is None
    assert level("step 3 loss 0.3") is None


@pytest.mark.parametrize(
    ("line", "new", "unused"),
    [
        ("m.pt does not match the model: missing ['a.w', 'b.w'], unexpected ['c.w']", 2, 1),
        ("state dict: 14 missing, 3 unexpected", 14, 3),
        ("missing: [a.w, b.w]; extra: [c.w] in checkpoint", 2, 1),
        ("load_state_dict: missing 3 keys, unexpected 0 keys", 3, 0),
        ("Weights of Net not initialized from pretrained model: ['fc.weight']", 1, 0),
        ("UserWarning: A total of 2 objects could not be loaded.", 2, 0),
        ("projector.0.weight not found in checkpoint, initializing randomly", 1, 0),
        ("Randomly initialized: head.weight, head.bias", 2, 0),
        ("dataset: 12 missing values", 0, 0),
        ("restore: 2/8 leaves found in pretrained.msgpack", 6, 0),
        ("took 1 of 8 entries from resnet.pth", 7, 0),
        ("used 3 of 4 GPUs", 0, 0),
        ("left at initial values: ['block0/bias', 'block0/kernel']", 2, 0),
        ("not consumed: ['layer0/bias', 'layer0/kernel']", 0, 2),
        ("not consumed: []", 0, 0),
    ],
)
def test_lists_and_counts_of_keys(tmp_path: Path, line: str, new: int, unused: int) -> None:
    records = read_text(tmp_path, line + "\n")
    for kind, count in (("weights-newly-initialized", new), ("weights-not-used", unused)):
        assert sum(int(str(e.data["count"])) for e in events_of(records, kind)) == count


def test_lines_of_one_parameter_each_are_one_statement(tmp_path: Path) -> None:
    text = "".join(f"h.{i}.w: not in the checkpoint, newly initialized\n" for i in range(3))
    (said,) = events_of(read_text(tmp_path, text), "weights-newly-initialized")
    assert said.data["keys"] == ("h.0.w", "h.1.w", "h.2.w")


@pytest.mark.parametrize(
    "line",
    [
        "loaded ckpt.pt at step 200",
        "trainer: restoring state_500.ckpt (format 1)",
        "resume: step 600, model 8/8 tensors",
        "requeued, continuing from snapshot.pth at batch 500",
    ],
)
def test_resumes(tmp_path: Path, line: str) -> None:
    assert events_of(read_text(tmp_path, line + "\n"), "run-resumed")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("before fit: 1 of 4 parameter tensors have non-finite entries: ['rel_bias']", "rel_bias"),
        ("non-finite parameters after loading: h.embed.weight, h.head.weight", "h.embed.weight"),
        ("2.weight finite: False", "2.weight"),
        ("2 of 4 parameters are non-finite", None),
    ],
)
def test_checks_that_parameters_fail(tmp_path: Path, line: str, name: str | None) -> None:
    (said,) = events_of(read_text(tmp_path, line + "\n"), "nonfinite-text")
    assert said.data["quantity"] == "parameters"
    assert said.data.get("layer") == name


@pytest.mark.parametrize(
    "line",
    [
        "0 of 4 parameters are non-finite",
        "non-finite params: []",
        "nan weights: none",
        "2.weight finite: True",
        "2 of 4 parameter gradients are non-finite, skipping",
    ],
)
def test_checks_that_parameters_pass(tmp_path: Path, line: str) -> None:
    said = events_of(read_text(tmp_path, line + "\n"), "nonfinite-text")
    assert not [e for e in said if e.data.get("quantity") == "parameters"]


def test_shapes_that_differ_line_by_line(tmp_path: Path) -> None:
    text = "".join(f"  h.{i}.w: file (64, 24) / model (48, 24) -> left out\n" for i in range(3))
    (said,) = events_of(read_text(tmp_path, text), "weights-mismatched")
    assert said.data["keys"] == ("h.0.w", "h.1.w", "h.2.w")


def test_a_file_that_is_short(tmp_path: Path) -> None:
    short = "dump.bin: 12672 of 21120 bytes; short read, remaining 2112 floats stay 0\n"
    assert events_of(read_text(tmp_path, short), "checkpoint-damaged")
    whole = "dump.bin: read 21120 of 21120 bytes\n"
    assert not events_of(read_text(tmp_path, whole), "checkpoint-damaged")


@pytest.mark.parametrize("row", ["[train]   {}  loss {}", "i={} loss={} lr=0.1", "k={} loss {}"])
def test_steps_behind_a_tag_and_of_one_letter(tmp_path: Path, row: str) -> None:
    text = "".join(row.format(i, 2.5 if i < 13 else "nan") + "\n" for i in range(11, 16))
    records = read_text(tmp_path, text)
    (loss,) = [r for r in records if isinstance(r, Series) and r.tag == "loss"]
    assert (loss.axis, loss.steps.tolist()) == ("step", [11, 12, 13, 14, 15])


def test_a_rank_behind_a_tag_is_no_step(tmp_path: Path) -> None:
    records = read_text(tmp_path, "[train] 8 GPUs, loss 2.5\n" * 3)
    assert not [r for r in records if isinstance(r, Series) and r.axis == "step"]


@pytest.mark.parametrize(
    "text",
    [
        "load_state_dict(strict=False): 0 missing, 4 unexpected\n"
        "  unexpected: h.0.scales, h.0.zeros, h.1.scales ...\n",
        "4 unexpected keys\n  - h.0.scales\n  - h.0.zeros\n  - h.1.scales\nstep 1 loss 2.0\n",
        "4 unexpected keys\n['h.0.scales', 'h.0.zeros', 'h.1.scales', and 1 more]\n",
    ],
)
def test_keys_that_stand_below_their_count(tmp_path: Path, text: str) -> None:
    (said,) = events_of(read_text(tmp_path, text), "weights-not-used")
    assert said.data["keys"] == ("h.0.scales", "h.0.zeros", "h.1.scales")
    assert said.data["count"] == 4
    assert not events_of(read_text(tmp_path, text), "weights-newly-initialized")


def test_parameters_in_a_list_under_a_heading(tmp_path: Path) -> None:
    text = "param absmax:\n  dense/kernel  0.41\n  head/kernel   nan\nstep 1 loss 2.1\n"
    (said,) = events_of(read_text(tmp_path, text), "nonfinite-text")
    assert (said.data["layer"], said.data["quantity"]) == ("head/kernel", "parameters")
    other = "grad norms:\n  dense/kernel  0.41\n  head/kernel   0.3\nstep 1 loss 2.1\n"
    assert not events_of(read_text(tmp_path, other), "nonfinite-text")


@pytest.mark.parametrize(
    ("line", "kind", "count"),
    [
        ("[ckpt] missing in file: ['block_0/qkv/kernel', 'out/bias']", "newly-initialized", 2),
        ("[ckpt] unused keys in file: ['block_0/mix/kernel']", "not-used", 1),
        (
            "Ignoring checkpoint entry l_0/post/scale (no such parameter in the model)",
            "not-used",
            1,
        ),
        ("restored 12 of 38 leaves", "newly-initialized", 26),
        ("tree mismatch: 14 leaves only in model, 6 only in checkpoint", "newly-initialized", 14),
        ("tree mismatch: 14 leaves only in model, 6 only in checkpoint", "not-used", 6),
        ("param head/kernel not restored (shape: ckpt (48, 12), model (48, 20))", "mismatched", 1),
        ("not in checkpoint, left as allocated: head/kernel", "newly-initialized", 1),
    ],
)
def test_trees_that_differ(tmp_path: Path, line: str, kind: str, count: int) -> None:
    (said,) = events_of(read_text(tmp_path, f"{line}\nstep 1 loss 2.1\n"), f"weights-{kind}")
    assert said.data["count"] == count


@pytest.mark.parametrize(
    ("line", "another"),
    [
        ('Checkpoint architecture "lm_post" does not match model "lm_pre"; by shape', True),
        ("checkpoint arch: mixer_s, model arch: vit_s", True),
        ('ckpt is from model "mixer_s16", this run builds "vit_s16"', True),
        ("checkpoint arch=vit_s, config arch=vit_s", False),
        ("checkpoint model vit_s16 loaded into model vit_s16", False),
        ("checkpoint architecture matches the model", False),
    ],
)
def test_models_by_name(line: str, another: bool) -> None:
    assert of_another(line) is another


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("== launch 2: restored params, opt_state, step=600 from ckpts/600", 600),
        ("I1129 17:41:55.1 123 train.py:20] Restored state at step 400", 400),
        ("TrainState restored (step=4000)", 4000),
        ("Found checkpoint at step 400, restoring", 400),
        ("Picking up at step 4000", 4000),
        ("restored params at step 0", None),
        ("Found 12 checkpoints", None),
    ],
)
def test_train_states(tmp_path: Path, line: str, step: int | None) -> None:
    found = events_of(read_text(tmp_path, f"{line}\nstep 5000 loss 2.1\n"), "run-resumed")
    assert [event.step for event in found] == ([] if step is None else [step])


def test_a_row_of_words_and_numbers_alone(tmp_path: Path) -> None:
    records = read_text(
        tmp_path, "step 0: total 2.9 cls 2.1 aux 0.8\nstep 1: total 2.8 cls 2.0 aux 0.8\n"
    )
    assert {s.tag for s in records if isinstance(s, Series)} >= {"cls", "aux"}
    prose = "step 0 took 2.5 seconds\nstep 1 took 2.4 seconds\n"
    assert not [s for s in read_text(tmp_path, prose) if isinstance(s, Series)]


@pytest.mark.parametrize(
    ("first", "second", "count"), [("bert", "vit", 1), ("llava", "llava_llama", 0)]
)
def test_a_model_of_one_type_that_becomes_another(
    tmp_path: Path, first: str, second: str, count: int
) -> None:
    text = (
        f"You are using a model of type `{first}` to instantiate a model of type `{second}`. This "
        "may be expected.\n"
    )
    assert len(events_of(read_text(tmp_path, text), "weights-of-another")) == count


def test_keras_left_layers_out(tmp_path: Path) -> None:
    line = (
        "saving_lib.py:710: UserWarning: A total of 3 objects could not be loaded. Example error "
        "message for object <Dense name=block1_dense, built=True>:\n"
    )
    (said,) = events_of(read_text(tmp_path, line + "step 1 loss 2.1\n"), "weights-mismatched")
    assert (said.data["count"], said.data["keys"]) == (3, ("block1_dense",))


@pytest.mark.parametrize(
    ("row", "read"),
    [("part {} loss 2.1 grad 1.5 labeled_nodes 3", True), ("sample {} loss 2.1 len 3", False)],
)
def test_rows_that_begin_with_what_is_trained_on(tmp_path: Path, row: str, read: bool) -> None:
    text = "\n".join(row.format(i) for i in range(7, 12)) + "\n"
    found = [s for s in read_text(tmp_path, text) if isinstance(s, Series) and s.axis == "step"]
    tags = {s.tag: s.steps.tolist() for s in found}
    assert (tags.get("loss") == [7, 8, 9, 10, 11]) is read
    assert ("labeled_nodes" in tags) is read
