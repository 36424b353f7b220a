"""Infinite derivatives: a finite loss, NaN gradients, and a name."""

from __future__ import annotations

import pytest
from builders import NAN, event, named_cause, series

from nanautopsy.model import LogEvent

CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]


def said(function: str) -> LogEvent:
    return event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)


@pytest.mark.parametrize("function", ["SqrtBackward0", "LinalgVectorNormBackward0", "DivBackward0"])
def test_named_by_anomaly_mode(function: str) -> None:
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said(function)) == "singular-gradient"


def test_named_without_any_curve() -> None:
    assert named_cause(said("SqrtBackward0")) == "singular-gradient"


def test_a_finite_loss_beside_nan_gradients_is_not_enough() -> None:
    parts = series("loss", [*CALM, 1.5, NAN]), series("grad_norm", [*[1.0] * 10, NAN, NAN])
    assert named_cause(*parts) is None


@pytest.mark.parametrize("function", ["SoftmaxBackward0", "MmBackward0", "AddmmBackward0"])
def test_other_operations(function: str) -> None:
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said(function)) != "singular-gradient"


def test_a_square_hands_on_what_the_forward_pass_gave_it() -> None:
    assert named_cause(said("PowBackward0")) is None
    parts = series("loss", [*CALM, 1.5]), series("grad_norm", [*[1.0] * 10, NAN])
    assert named_cause(*parts, said("PowBackward0")) == "singular-gradient"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("n = (x ** 2).sum(-1) ** 0.5", "singular-gradient"),
        ("d = torch.pow(x, 1 / 3)", "singular-gradient"),
        ("loss = (pred.log() - y).pow(2).mean()", None),
        ("y = x ** 3", None),
    ],
)
def test_the_line_of_the_forward_call_tells_the_power(code: str, cause: str | None) -> None:
    text = "Function 'PowBackward0' returned nan"
    place = {"function": "PowBackward0", "forward": f"m.py:17: {code}"}
    assert named_cause(event("backward-nonfinite", text, 11, **place)) == cause
