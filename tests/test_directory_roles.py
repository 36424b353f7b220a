"""Evaluation losses told by their directory, and directories that tell nothing."""

from __future__ import annotations

import numpy as np
import pytest

from nanautopsy.model import Series, SeriesRole, Source
from nanautopsy.role_patterns import give_roles, parse_roles
from nanautopsy.roles import classify

EVENTS = "events.out.tfevents.1.host.2.0"


def roles(*paths: str, tag: str = "loss", patterns: tuple[str, ...] = ()) -> list[SeriesRole]:
    series = [
        Series(tag, np.arange(2), np.array([2.0, 1.0]), Source(f"{path}/{EVENTS}", tag=tag))
        for path in paths
    ]
    return [one.role for one in give_roles(series, parse_roles(patterns), [])]


@pytest.mark.parametrize(
    ("training", "evaluation", "tag"),
    [
        ("runs/loss_train", "runs/loss_val", "loss"),
        ("Loss_train", "Loss_test", "loss"),
        ("runs/a_Loss_epoch_train", "runs/a_Loss_epoch_validation", "a/Loss_epoch"),
        ("logs/train", "logs/validation", "epoch_loss"),
        ("model", "model/eval", "loss"),
    ],
)
def test_the_directory_of_an_evaluation(training: str, evaluation: str, tag: str) -> None:
    assert roles(training, evaluation, tag=tag) == ["loss", "eval_loss"]
    assert roles(training, evaluation, tag=tag, patterns=("loss=*",)) == ["loss", "loss"]


@pytest.mark.parametrize(
    "paths",
    [
        ("runs/loss_test",),
        ("runs/test",),
        ("runs/test", "runs/baseline"),
        ("runs", "runs/test"),
        ("runs/loss_a", "runs/loss_b"),
        ("runs/lossy_test", "runs/lossy_train"),
        ("a/train", "b/test"),
    ],
)
def test_directories_that_tell_nothing(paths: tuple[str, ...]) -> None:
    assert set(roles(*paths)) == {"loss"}


def test_only_losses_change() -> None:
    assert roles("logs/train", "logs/validation", tag="grad_norm") == ["grad_norm"] * 2


@pytest.mark.parametrize(
    ("tag", "layer"),
    [
        ("fc/kernel_0#max", "fc/kernel_0"),
        ("dense_1/bias_0/histogram#nonfinite", "dense_1/bias_0"),
        ("lstm/lstm_cell/recurrent_kernel_0#max_abs", "lstm/lstm_cell/recurrent_kernel_0"),
        ("bn/moving_variance_0#min", "bn/moving_variance_0"),
        ("sequential/dense/kernel/histogram#max", "sequential/dense/kernel"),
    ],
)
def test_keras_variables_are_layers(tag: str, layer: str) -> None:
    assert classify(tag) == ("layer_parameter", layer)


@pytest.mark.parametrize("tag", ["fc/kernel_0", "kernel/loss_0", "beta_0#max", "kl/beta"])
def test_no_keras_variables(tag: str) -> None:
    assert classify(tag)[0] not in ("layer_parameter", "layer_gradient")


def test_a_gradient_of_a_keras_variable_is_none() -> None:
    assert classify("dense/kernel_0/gradient#max")[0] != "layer_parameter"
