"""Values past 65504: magnitudes that sound weights still show after the loss died."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import INF, NAN, checkpoint, event, named_cause, series, tensor

from nanautopsy.model import Checkpoint

LOSS = series("loss", [2.3] * 30 + [NAN] * 10)
FALLING = series("amp_scale", [65536.0] * 30 + [65536.0 / 2**i for i in range(1, 6)] + [2048.0] * 5)
AMP = {"training": {"amp": "fp16", "lr": 1e-3}}


def weights(largest: float) -> Checkpoint:
    parts = [tensor(f"{i}.weight", max_abs=0.2) for i in range(4)]
    return checkpoint(40, *parts, tensor("4.weight", max_abs=largest))


def test_a_weight_that_float16_cannot_hold() -> None:
    assert named_cause(LOSS, FALLING, weights(7.2e4), config=AMP) == "fp16-overflow"


def test_the_same_weight_in_bfloat16_is_fine() -> None:
    config = {"training": {"amp": "bf16", "lr": 1e-3}}
    assert named_cause(LOSS, weights(7.2e4), config=config) is None


def test_a_healthy_run_with_such_a_weight_is_left_alone() -> None:
    sound = replace(LOSS, values=np.full(40, 2.3))
    assert named_cause(sound, weights(7.2e4)) is None


@pytest.mark.parametrize(("dtype", "named"), [("float16", True), ("float32", False)])
def test_a_number_over_the_whole_forward_pass(dtype: str, named: bool) -> None:
    loss = series("loss", [2.3] * 30 + [NAN] * 5)
    largest = series("act_abs_max", [300.0 * 1.195**k for k in range(30)] + [float("inf")] * 5)
    found = named_cause(loss, largest, config={"training": {"dtype": dtype, "lr": 1e-3}})
    assert (found == "fp16-overflow") is named


def test_the_program_names_a_magnitude_beside_the_limit() -> None:
    said = event("magnitude-near-limit", "ffn peak=61216 limit=65504", 29, value=61216.0)
    late = event("magnitude-near-limit", "ffn peak=61216 limit=65504", 35, value=61216.0)
    assert named_cause(LOSS, said) == "fp16-overflow"
    assert named_cause(LOSS, late) is None


@pytest.mark.parametrize(("largest", "named"), [(23100.0, True), (410.0, False), (2e9, False)])
def test_some_ten_thousands_in_one_layer_and_inf_in_another(largest: float, named: bool) -> None:
    """One step, as a forward trace prints it; nothing says the precision."""
    layers = [2.6, 0.1, largest, 2.9, INF, NAN]
    parts = [series(f"act_max/h.{i}.mlp", [value], [20]) for i, value in enumerate(layers)]
    loss = series("loss", [3.4] * 19 + [NAN] * 3)
    assert (named_cause(loss, *parts) == "fp16-overflow") is named
    exact = {"training": {"bf16": True}}
    assert named_cause(loss, *parts, config=exact) != "fp16-overflow"


@pytest.mark.parametrize(("sizes", "named"), [((11.4, 24.1, 364.0), True), ((11.4, 9, 10), False)])
def test_magnitudes_that_rise_from_layer_to_layer(sizes: tuple[float, ...], named: bool) -> None:
    dead = [NAN] * 3
    parts = [
        series(f"activations/blocks.{k}/absmax", [*[size / 2] * 30, size, *dead[1:]])
        for k, size in enumerate(sizes)
    ]
    parts.append(series("activations/blocks.3/absmax", [500.0] * 30 + dead))
    parts += [series("loss", [2.3] * 30 + dead), series("grad_norm", [1.0] * 30 + dead)]
    found = named_cause(*parts, config={"training": {"dtype": "float16", "lr": 1e-3}})
    assert (found == "fp16-overflow") is named


def test_a_loss_that_is_finite_now_and_then() -> None:
    """Magnitudes at the edge of the format: the weights stay sound, nearly every batch fails."""
    loss = series("lm loss", [1.8] * 41 + [NAN] * 40 + [1.8] + [NAN] * 40)
    sound = checkpoint(100, tensor("a.weight"), tensor("b.weight"))
    half = {"training": {"fp16": True}}
    assert named_cause(loss, sound, config=half) == "fp16-overflow"
    seldom = series("lm loss", [1.8] * 41 + [NAN, 1.8, 1.8, 1.8] * 20)
    assert named_cause(seldom, sound, config=half) != "fp16-overflow"


@pytest.mark.parametrize(("output", "weight", "named"), [(INF, 5.3e3, True), (INF, 5.3e30, False)])
def test_a_sum_that_no_other_format_ends(output: float, weight: float, named: bool) -> None:
    """A module that is Inf of finite weights and inputs; in float32 they give some millions."""
    name = "activation_max/model.decoder.layers.1.fc2"
    parts = (
        series(f"{name}.weight", [weight], [0]),
        series(f"{name}.input[0]", [9.78], [0]),
        series(f"{name}.output", [output], [0]),
    )
    assert (named_cause(*parts) == "fp16-overflow") is named


@pytest.mark.parametrize(
    ("cast", "loss", "named"),
    [(True, 2.0, True), (False, 2.0, False), (True, NAN, False)],
)
def test_an_evaluation_in_float16_alone(cast: bool, loss: float, named: bool) -> None:
    """It was never finite, as an evaluation without data is not; the cast says that it was run."""
    parts = (
        series("loss", [2.3] * 19 + [loss]),
        series("grad_norm", [1.0] * 20),
        series("eval_loss", [NAN, NAN], [10, 20]),
    )
    config = {"training": {"fp16_full_eval": cast}}
    assert (named_cause(*parts, config=config) == "fp16-overflow") is named
    assert named_cause(*parts[:2], series("eval_loss", [2.2, 2.1], [10, 20]), config=config) is None
