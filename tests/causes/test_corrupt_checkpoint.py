"""A few absurd weights before training: damage, unless the first loss was ordinary with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import INF, NAN, checkpoint, event, named_cause, series, tensor

from nanautopsy.model import BadRows, Checkpoint

FLIPPED = checkpoint(
    0,
    tensor("a", (64, 64)),
    tensor("b", (64, 64)),
    tensor("c", (64, 64), max_abs=2e18, rms=2e18 * 2**0.5 / 64),
)


@pytest.mark.parametrize("loss", [[INF, NAN, NAN], [4e16, NAN, NAN]])
def test_flipped_exponents(loss: list[float]) -> None:
    assert named_cause(FLIPPED, series("loss", loss)) == "corrupt-checkpoint"


def test_a_first_loss_that_is_ordinary_clears_the_weights() -> None:
    """A table of frequencies is meant to be so; what killed the run came later."""
    assert named_cause(FLIPPED, series("loss", [1.4, NAN, NAN])) is None


def test_a_small_model_of_which_two_weights_are_hit() -> None:
    hit = {"max_abs": 2e37, "rms": 2e37 / 64}
    sound = tensor("a", (64, 64)), tensor("d", (64, 64))
    start = checkpoint(0, *sound, tensor("b", (64, 64), **hit), tensor("c", (64, 64), **hit))
    finite = [3e36, 2.9e36, *[2.5e36] * 30]
    assert named_cause(start, series("loss", finite)) == "corrupt-checkpoint"


def test_weights_that_training_never_began_from_say_nothing_of_it() -> None:
    """Of checkpoints alone: the sound one is the damaged start itself."""
    dead = checkpoint(30, *(tensor(n, (64, 64), nan=4096, max_abs=0.0) for n in "abc"))
    assert named_cause(FLIPPED, dead) == "corrupt-checkpoint"


def page(count: int, rows: BadRows) -> Checkpoint:
    """A first checkpoint with NaN in one tensor of rows of 128."""
    hit = replace(tensor("b", (64, 128), nan=count, first_nonfinite=(3, 17)), bad_rows=rows)
    return checkpoint(0, tensor("a", (64, 64)), hit, tensor("c", (64, 64)), tensor("d", (64, 64)))


def test_a_page_within_rows_is_of_another_file() -> None:
    start = page(1024, BadRows(9, ((3, 12),), False))
    assert named_cause(start, series("loss", [NAN, NAN, NAN])) == "corrupt-checkpoint"


@pytest.mark.parametrize(
    "rows", [BadRows(8, ((56, 64),), True), BadRows(20, ((3, 4), (8, 9), (20, 38)), False)]
)
def test_whole_rows_and_scattered_elements_are_none(rows: BadRows) -> None:
    start = page(8 * 128, rows)
    assert named_cause(start, series("loss", [NAN, NAN, NAN])) != "corrupt-checkpoint"


def saved(step: int, largest: float, count: int = 1) -> Checkpoint:
    """A small model of which one weight has ``count`` elements of this size."""
    rms = max(0.1, largest * count**0.5 / 64)
    hit = tensor("b", (64, 64), max_abs=largest, rms=rms)
    return checkpoint(step, tensor("a", (64, 64)), tensor("c", (64, 64)), hit)


AFTER = series("loss", [2.0] * 40 + [1e9 * 3.0**k for k in range(30)])
LOADED = event(
    "weights-loaded", "Loading weights from checkpoint-40", 40, checkpoint="checkpoint-40"
)


def test_a_flipped_element_of_a_checkpoint_that_was_loaded_on_the_way() -> None:
    parts = AFTER, saved(39, 0.3), saved(40, 3e18)
    assert named_cause(*parts, LOADED) == "corrupt-checkpoint"
    assert named_cause(*parts) != "corrupt-checkpoint"


def test_a_weight_that_grew_is_not_flipped() -> None:
    parts = AFTER, saved(39, 0.3), saved(40, 3e18, count=4000), LOADED
    assert named_cause(*parts) != "corrupt-checkpoint"
    assert named_cause(AFTER, saved(39, 0.3), saved(40, 0.4), LOADED) != "corrupt-checkpoint"


def test_a_checksum_that_does_not_match_and_a_run_that_is_broken_at_once() -> None:
    said = event("checkpoint-damaged", "sha256 mismatch for model-00002-of-00003.safetensors")
    assert named_cause(series("loss", [NAN] * 10), said) == "corrupt-checkpoint"
    late = series("loss", [2.0] * 30 + [NAN] * 10)
    assert named_cause(late, said) is None


def test_flipped_exponents_in_a_file_that_names_no_step() -> None:
    """Its other weights are sound, and those of a run that is broken at once are not."""
    start = replace(FLIPPED, step=None, path="pretrained.safetensors")
    assert named_cause(start, series("loss", [NAN] * 10)) == "corrupt-checkpoint"
    assert named_cause(start, series("loss", [2.0] * 30 + [NAN] * 10)) is None


def test_a_checkpoint_that_was_damaged_before_it_was_loaded() -> None:
    """Training was finite with the weights that it saved, and is not with what it loads."""
    bad = {"pos_inf": 1, "max_abs": INF, "first_nonfinite": (2, 9), "path": "checkpoint-20/a.bin"}
    saved = checkpoint(20, tensor("a", (64, 64)), tensor("b", (64, 64), **bad), tensor("c"))
    loss = series("loss", [2.0] * 20 + [NAN] * 10, list(range(30)))
    resumed = event("run-resumed", "resumed from checkpoint-20", 20, checkpoint="checkpoint-20")
    assert named_cause(loss, saved, resumed) == "corrupt-checkpoint"
    assert named_cause(loss, saved) is None


def test_garbage_is_no_flipped_bit() -> None:
    """Numbers of all sizes stand in memory that nothing filled."""
    huge = {"max_abs": 2e34, "rms": 2e34 / 8}
    rest = tensor("up.weight", (64, 64)), tensor("down.weight", (64, 64))
    for more, cause in (({}, "corrupt-checkpoint"), ({"subnormal": 5}, "uninitialized-params")):
        start = checkpoint(0, tensor("gate.weight", (8, 8), **huge, **more), *rest)
        assert named_cause(series("loss", [INF, NAN, NAN]), start) == cause, more


def test_a_flipped_bit_in_what_the_run_resumed_from_is_no_lost_state() -> None:
    saved = replace(FLIPPED, step=30, path="checkpoints/step30.pt")
    saved = replace(saved, tensors=tuple(replace(t, path=saved.path) for t in saved.tensors))
    loss = series("loss", [1.4] * 30 + [6e35] * 14)
    resumed = event("run-resumed", "resuming", 30, checkpoint="checkpoints/step30.pt")
    assert named_cause(loss, saved, resumed) == "corrupt-checkpoint"
    assert named_cause(loss, resumed) == "resume-mismatch"


@pytest.mark.parametrize(("at", "cause"), [(10, "corrupt-checkpoint"), (4, None)])
def test_damage_that_was_loaded_between_two_rows(at: int, cause: str | None) -> None:
    """What was finite before the load was so with other weights; behind it, with these."""
    tensors = tuple(replace(t, path="unet_a.safetensors") for t in FLIPPED.tensors)
    saved = Checkpoint("unet_a.safetensors", "safetensors", None, tensors)
    loaded = event("run-resumed", "resuming from unet_a.safetensors", at, checkpoint=saved.path)
    loss = series("loss", [2.0] * 10 + [NAN] * 10)
    assert named_cause(loss, saved, loaded) == cause


def test_a_few_absurd_weights_in_what_is_called_the_base() -> None:
    """The first save of the run is dead throughout and tells nothing of how it began."""
    tensors = tuple(replace(t, path="base/model.safetensors") for t in FLIPPED.tensors)
    base = Checkpoint("base/model.safetensors", "safetensors", None, tensors)
    dead = checkpoint(20, *(tensor(n, (64, 64), nan=4096, max_abs=0.0) for n in "abc"))
    assert named_cause(base, dead) == "corrupt-checkpoint"
    best = replace(base, path="best.safetensors")
    assert named_cause(best, dead) != "corrupt-checkpoint"
