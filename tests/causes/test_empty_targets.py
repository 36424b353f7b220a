"""A mean over no target is NaN without a gradient; anything else that is NaN is another story."""

from __future__ import annotations

import pytest
from builders import INF, NAN, case_of, event, make_run, named_cause, series, tensor

from nanautopsy.causes.empty_targets import CAUSE
from nanautopsy.diagnose import assess
from nanautopsy.model import Checkpoint

GOOD = [2.5, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6]


def with_bad(values: list[float], at: int, bad: float = NAN) -> list[float]:
    return [bad if i == at else value for i, value in enumerate(values)]


def test_nan_without_a_gradient() -> None:
    loss, norm = with_bad(GOOD, 4), with_bad([1.0] * 10, 4, 0.0)
    assert named_cause(series("loss", loss), series("grad_norm", norm)) == "empty-targets"


def test_nan_that_does_no_harm_may_have_been_left_out_by_a_guard() -> None:
    sound = Checkpoint("checkpoint-10", "safetensors", 10, (tensor("w"),))
    assert named_cause(series("loss", with_bad(GOOD, 4)), sound) is None
    assert named_cause(series("loss", with_bad(GOOD, 4))) is None, "the curve alone does not tell"


def test_labels_that_the_program_misses() -> None:
    said = event("labels-mismatch", "tokenization mismatch: 102 vs. 104. (ignored)")
    assert named_cause(series("loss", with_bad(GOOD, 4)), said) == "empty-targets"


@pytest.mark.parametrize(
    ("loss", "norm"),
    [
        (GOOD[:5] + [NAN] * 5, [1.0] * 5 + [NAN] * 5),  # for good
        (with_bad(GOOD, 4), with_bad([1.0] * 10, 4)),  # NaN gradients, skipped by something
        (with_bad(GOOD, 4, INF), with_bad([1.0] * 10, 4)),  # Inf is no 0/0
    ],
)
def test_rivals(loss: list[float], norm: list[float]) -> None:
    assert named_cause(series("loss", loss), series("grad_norm", norm)) != "empty-targets"


def test_a_scaler_that_skips_leaves_the_same_picture() -> None:
    config = {"training": {"fp16": True, "fp16.loss_scale": 0}}
    assert named_cause(series("loss", with_bad(GOOD, 4)), config=config) != "empty-targets"


def test_a_sound_run_is_left_alone() -> None:
    case = case_of(make_run(series("loss", GOOD), series("grad_norm", [1.0] * 10)))
    assert case.verdict == "healthy"
    assert assess(CAUSE, case).status == "quiet"


def test_a_count_of_targets_that_is_zero_there() -> None:
    counts = [48.0] * 30
    counts[20] = 0.0
    losses = [2.0] * 30
    losses[20] = NAN
    parts = series("loss", losses), series("data/target_tokens", counts)
    assert named_cause(*parts) == "empty-targets"


def test_a_count_that_was_zero_before_without_harm() -> None:
    counts = [48.0] * 30
    counts[5] = counts[20] = 0.0
    losses = [2.0] * 20 + [NAN] * 10
    parts = series("loss", losses), series("num_valid_labels", counts)
    assert named_cause(*parts) is None


COUNTS = series("num_label_tokens", [0.0 if i == 4 else 40.0 for i in range(10)])


def test_a_quotient_of_ones_own_has_a_gradient_of_0_over_0() -> None:
    """A sum over a mask divided by the count of it: JAX code does so."""
    loss, norm = with_bad(GOOD, 4), with_bad([1.0] * 10, 4)
    assert named_cause(series("loss", loss), series("grad_norm", norm), COUNTS) == "empty-targets"
    dead = series("loss", GOOD[:4] + [NAN] * 6), series("grad_norm", [1.0] * 4 + [NAN] * 6)
    assert named_cause(*dead, COUNTS) == "empty-targets"
    assert named_cause(*dead) != "empty-targets"


def test_a_running_sum_that_keeps_the_nan_of_one_step() -> None:
    """The Trainer without its filter: the loss it logs stays NaN, and training goes on."""
    loss = series("loss", GOOD[:4] + [NAN] * 6)
    went_on = series("grad_norm", with_bad([1.0] * 10, 4, 0.0))
    assert named_cause(loss, went_on) == "empty-targets"
    dead = series("grad_norm", [1.0] * 4 + [0.0] + [NAN] * 5)
    assert named_cause(loss, dead) != "empty-targets"


@pytest.mark.parametrize("tag", ["n_labeled", "loss_tokens", "train/loss_tokens"])
def test_a_count_of_what_the_loss_is_a_mean_over(tag: str) -> None:
    counts = series(tag, [*[5.0, 7.0] * 10, 0.0, *[6.0] * 9])
    loss = series("loss", [2.0] * 20 + [NAN] * 10)
    assert named_cause(loss, series("grad_norm", [1.0] * 20 + [NAN] * 10), counts) == (
        "empty-targets"
    )


@pytest.mark.parametrize(("count", "cause"), [(0.0, "empty-targets"), (7.0, None)])
def test_a_count_that_is_called_by_its_adjective(count: float, cause: str | None) -> None:
    loss = [*GOOD, NAN, NAN, NAN]
    supervised = [15.0, 12.0, 30.0, 9.0, 11.0, 20.0, 14.0, 8.0, 10.0, 13.0, count, 18.0, 9.0]
    parts = (series("loss", loss), series("gnorm", [*[1.0] * 10, NAN, NAN, NAN]))
    assert named_cause(*parts, series("supervised", supervised)) == cause
