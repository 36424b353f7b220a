"""Weights of another model, as torch's own loader tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import NAN, checkpoint, named_cause, series, tensor
from textlogs import events_of, read_text

from nanautopsy import analyze
from nanautopsy.model import LogEvent

BODY = ["body.0.weight", "body.2.weight", "body.4.weight", "out.weight"]
OTHER = ["encoder.layers.0.fc.weight", "scale.weight"]
NEW = "weights-newly-initialized"
HEAD = ["head.weight", "head.bias"]


def loaded(folder: Path, missing: list[str], unexpected: list[str]) -> list[LogEvent]:
    text = f"_IncompatibleKeys(missing_keys={missing}, unexpected_keys={unexpected})\n"
    records = read_text(folder, text)
    return [
        event
        for kind in ("weights-newly-initialized", "weights-not-used")
        for event in events_of(records, kind)
    ]


def test_what_load_state_dict_returns(tmp_path: Path) -> None:
    new, unused = loaded(tmp_path, BODY, OTHER)
    assert (new.data["keys"], new.data["count"]) == (tuple(BODY), 4)
    assert unused.data["keys"] == tuple(OTHER)
    assert not loaded(tmp_path, [], [])


def test_blocks_that_are_missing_and_others_that_are_left(tmp_path: Path) -> None:
    loss = series("loss", [NAN] * 10)
    assert named_cause(loss, *loaded(tmp_path, BODY, OTHER)) == "wrong-checkpoint"


def test_a_new_head_is_fine_tuning(tmp_path: Path) -> None:
    loss = series("loss", [NAN] * 10)
    assert named_cause(loss, *loaded(tmp_path, HEAD, [])) != "wrong-checkpoint"


def test_a_loader_that_found_hardly_anything(tmp_path: Path) -> None:
    loss = series("loss", [NAN] * 10)
    nothing = events_of(read_text(tmp_path, "restored 0/38 parameters\n"), NEW)
    nearly_all = events_of(read_text(tmp_path, "restored 36/38 parameters\n"), NEW)
    assert named_cause(loss, *nothing) == "wrong-checkpoint"
    assert named_cause(loss, *nearly_all) is None


def test_blocks_of_another_size(tmp_path: Path) -> None:
    loss = series("loss", [NAN] * 10)
    blocks = "".join(f"skip loading layers.{i}.w: shape (2, 3) vs (2, 2)\n" for i in range(4))
    head = "skip loading head.weight: shape (1000, 3) vs (10, 3)\n"
    kind = "weights-mismatched"
    assert named_cause(loss, *events_of(read_text(tmp_path, blocks), kind)) == "wrong-checkpoint"
    assert named_cause(loss, *events_of(read_text(tmp_path, head), kind)) is None


def test_integers_that_were_read_without_their_scales() -> None:
    loss = series("loss", [NAN] * 10)
    names = [f"h.{i}.w" for i in range(4)]
    integers = checkpoint(0, *(tensor(n, (8, 8), max_abs=127.0) for n in names))
    assert named_cause(loss, integers) == "wrong-checkpoint"
    clipped = checkpoint(0, *(tensor(n, (8, 8), max_abs=126.4) for n in names))
    assert named_cause(loss, clipped) != "wrong-checkpoint"
    one = checkpoint(0, *(tensor(n, (8, 8), max_abs=127.0 - i) for i, n in enumerate(names)))
    assert named_cause(loss, one) != "wrong-checkpoint"


def test_a_model_beside_the_run_that_names_its_tensors_otherwise() -> None:
    """None of them was found; had they been loaded under new names, the numbers would be its."""
    names = [f"layers.{i}.w" for i in range(6)]
    dead = [tensor(n, (8, 8), nan=64 if i else 0) for i, n in enumerate(names)]
    start = checkpoint(0, *dead, tensor("norm.weight", (8,), max_abs=1.0, rms=1.0))
    base = checkpoint(None, *(tensor(f"lm.{n}", (8, 8), max_abs=0.3) for n in names))
    assert named_cause(start, base) == "wrong-checkpoint"
    alike = checkpoint(None, *(tensor(n, (8, 8), max_abs=0.3) for n in names))
    assert named_cause(start, alike) != "wrong-checkpoint"
    sound = checkpoint(0, *(tensor(n, (8, 8), max_abs=0.3) for n in names))
    late = checkpoint(9, *(tensor(n, (8, 8), nan=64) for n in names))
    assert named_cause(sound, late, base) != "wrong-checkpoint"


def test_another_models_blocks_beside_blocks_that_it_lacks(tmp_path: Path) -> None:
    """That just the new parameters are bad follows from the file that was loaded."""
    said = loaded(tmp_path, BODY, OTHER)
    dead = checkpoint(0, *(tensor(n, (8, 8), nan=64) for n in BODY), tensor("table", (8, 8)))
    assert named_cause(series("loss", [NAN] * 10), dead, *said) == "wrong-checkpoint"
    assert named_cause(series("loss", [NAN] * 10), dead, said[0]) == "uninitialized-params"


def test_a_count_of_missing_keys_out_of_all(tmp_path: Path) -> None:
    """A loss that only rose since its first row shows no level that the weights had."""
    text = "   missing keys: {} / 49\n   unexpected keys: 45\n"
    most, few = (
        [e for kind in (NEW, "weights-not-used") for e in events_of(records, kind)]
        for records in (read_text(tmp_path, text.format(n)) for n in (45, 2))
    )
    assert most[0].data["total"] == 49
    blew_up = series("loss", [352.3, 5.4e5, NAN, NAN, NAN])
    assert named_cause(blew_up, *most) == "wrong-checkpoint"
    assert named_cause(blew_up, *few) != "wrong-checkpoint"
    sound = series("loss", [2.3, 2.2, 2.1, 2.0, NAN, NAN])
    assert named_cause(sound, *most) != "wrong-checkpoint"


def test_the_keys_of_an_adapter(tmp_path: Path) -> None:
    missing = [f"model.decoder.layers.{i}.q_proj.lora_A.default.weight" for i in range(4)]
    unexpected = [f"transformer.h.{i}.q_proj.lora_A.weight" for i in range(4)]
    records = read_text(
        tmp_path, f"missing lora keys: 12 {missing}\nunexpected adapter keys: 12 {unexpected}\n"
    )
    said = [e for kind in (NEW, "weights-not-used") for e in events_of(records, kind)]
    assert [(e.data["count"], len(e.data["keys"])) for e in said] == [(12, 4), (12, 4)]  # type: ignore[arg-type]
    blew_up = series("loss", [9.1e6, 1.04e7, 5.2e9, 2.8e16, NAN, NAN])
    assert named_cause(blew_up, *said) == "wrong-checkpoint"


def test_what_a_class_of_its_own_puts_on_a_base_is_no_other_model(tmp_path: Path) -> None:
    text = (
        "Some weights of the model checkpoint at base were not used when initializing "
        "BertCrfForNer: ['cls.predictions.bias', 'cls.predictions.transform.dense.weight']\n"
        "Some weights of BertCrfForNer were not initialized from the model checkpoint at base and "
        "are newly initialized: ['classifier.bias', 'classifier.weight', 'crf.start', 'crf.trans']"
        "\n" + "".join(f"step {s} loss nan\n" for s in range(1, 9))
    )
    (tmp_path / "train.log").write_text(text)
    (tmp_path / "config.json").write_text('{"architectures": ["BertForPreTraining"]}')
    assert [c.id for c in analyze(tmp_path).causes] == []


def test_names_that_moved_without_a_numbered_block(tmp_path: Path) -> None:
    loss = series("loss", [1479.0, *[NAN] * 9], range(10))
    new, old = (
        ["inner.out.weight", "inner.out.bias"],
        ["model.net.out.weight", "model.net.out.bias"],
    )
    assert named_cause(loss, *loaded(tmp_path, new, old)) == "wrong-checkpoint"
    others = ["model.net.up.weight", "model.net.up.bias"]
    assert named_cause(loss, *loaded(tmp_path, new, others)) is None


@pytest.mark.parametrize(("falls", "cause"), [(0.0, "wrong-checkpoint"), (0.1, None)])
def test_another_models_weights_die_late_where_nothing_is_learned(
    tmp_path: Path, falls: float, cause: str | None
) -> None:
    losses = [5.0 - falls * i for i in range(24)] + [NAN] * 6
    assert named_cause(series("loss", losses), *loaded(tmp_path, BODY, HEAD)) == cause


@pytest.mark.parametrize(("more", "cause"), [(1, "wrong-checkpoint"), (20, None)])
def test_how_much_of_the_model_is_new_as_its_checkpoint_tells(
    tmp_path: Path, more: int, cause: str | None
) -> None:
    """Names of a convolutional network, which no number of a block tells."""
    new = ["stem.weight", "conv_a.weight", "conv_b.weight", "norm.weight"]
    saved = checkpoint(0, *(tensor(n, (8, 8)) for n in [*new, *(f"r{i}.w" for i in range(more))]))
    loss = series("loss", [NAN] * 10)
    assert named_cause(loss, saved, *loaded(tmp_path, new, [])) == cause


@pytest.mark.parametrize(("built", "related"), [("ViTWithAttnPool", True), ("OPTForX", False)])
def test_a_class_of_ones_own_that_builds_on_the_checkpoints(
    tmp_path: Path, built: str, related: bool
) -> None:
    text = (
        f"Some weights of {built} were not initialized from the model checkpoint at base and are "
        "newly initialized: ['pool.query', 'pool.key_proj.weight']\n"
        + "".join(f"step {s} loss nan\n" for s in range(1, 9))
    )
    (tmp_path / "train.log").write_text(text)
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"]}')
    named = [c.id for c in analyze(tmp_path).causes]
    assert ("wrong-checkpoint" not in named) is related
