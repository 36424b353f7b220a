"""A formula outside its domain: one term alone, or an operation by name."""

from __future__ import annotations

import numpy as np
import pytest
from builders import INF, NAN, case_of, event, make_run, named_cause, series

from nanautopsy.model import Series

CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]


def test_one_term_is_inf_alone() -> None:
    parts = (
        series("loss/total", [*CALM, INF, NAN]),
        series("loss/log_prior", [*CALM, INF, NAN]),
        series("loss/recon", [*CALM, 1.5, NAN]),
    )
    assert named_cause(*parts) == "loss-domain-error"


@pytest.mark.parametrize("function", ["LogBackward0", "KlDivBackward0", "ExpBackward0"])
def test_anomaly_mode_names_the_operation(function: str) -> None:
    said = event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)
    assert named_cause(series("loss", [*CALM, NAN]), said) == "loss-domain-error"


@pytest.mark.parametrize(
    "function", ["LogSoftmaxBackward0", "BinaryCrossEntropyWithLogitsBackward0", "MulBackward0"]
)
def test_stable_forms_are_none(function: str) -> None:
    said = event("backward-nonfinite", f"Function '{function}' returned nan", 11, function=function)
    assert named_cause(series("loss", [*CALM, NAN]), said) != "loss-domain-error"


def test_all_terms_together_tell_nothing() -> None:
    parts = series("loss/a", [*CALM, NAN]), series("loss/b", [*CALM, NAN])
    assert named_cause(*parts) is None


def test_an_inf_alone_is_not_enough() -> None:
    assert named_cause(series("loss", [*CALM, INF, NAN])) is None


@pytest.mark.parametrize(("term", "cause"), [("kl", "loss-domain-error"), ("depth", None)])
def test_a_nan_target_makes_its_term_nan_too(term: str, cause: str | None) -> None:
    """A divergence compares with no target; a regression's target may itself be NaN."""
    parts = (
        series("loss/total", [*CALM, NAN, NAN]),
        series(f"loss/{term}", [*CALM, NAN, NAN]),
        series("loss/recon", [*CALM, 1.5, NAN]),
    )
    assert named_cause(*parts) == cause


def test_warnings_of_metrics_long_before_are_about_metrics() -> None:
    warning = event(
        "nonfinite-text", "RuntimeWarning: divide by zero encountered in log", 3,
        quantity="warning", value="inf", operation="log",
    )  # fmt: skip
    case = case_of(make_run(series("loss", [*CALM, NAN, NAN]), warning))
    assert case.onset is not None
    assert (case.onset.last_finite, case.onset.step) == (10, 11)
    assert named_cause(series("loss", [*CALM, NAN, NAN]), warning) is None


def test_a_teacher_is_handed_in_like_a_target() -> None:
    parts = (
        series("loss/total", [*CALM, NAN, NAN]),
        series("loss/distill_kl", [*CALM, NAN, NAN]),
        series("loss/ce", [*CALM, 1.5, NAN]),
    )
    assert named_cause(*parts) is None


def test_a_term_that_rises_while_the_total_falls_is_no_growth() -> None:
    """A divergence begins at zero and rises as the code is learned."""
    kl = [0.003 * 1.07**k for k in range(76)]
    recon = [1.0 * 0.96**k + 0.05 for k in range(76)]
    total = [r + 0.01 * k for r, k in zip(recon, kl, strict=True)]
    parts = (
        series("loss_total", [*total, INF, NAN]),
        series("kl_loss", [*kl, INF, NAN]),
        series("recon_loss", [*recon, 0.1, NAN]),
    )
    assert named_cause(*parts) == "loss-domain-error"


@pytest.mark.parametrize(
    ("operation", "cause"),
    [("log", "loss-domain-error"), ("acos", "loss-domain-error"), ("mul", None), ("div", None)],
)
def test_jax_names_the_first_operation_that_is_nan(operation: str, cause: str | None) -> None:
    """The compiled function is named first, then run again without being compiled."""
    compiled = event(
        "nonfinite-text", "Invalid nan value encountered in the output of a jax.jit function.", 10,
        quantity="operation", value="nan", operation="jit",
    )  # fmt: skip
    raised = event(
        "nonfinite-text", f"FloatingPointError: invalid value (nan) encountered in {operation}", 10,
        quantity="operation", value="nan", operation=operation,
    )  # fmt: skip
    assert named_cause(series("loss", CALM), compiled, raised) == cause


def test_terms_that_are_not_called_losses() -> None:
    kl = [0.3 - 0.01 * i for i in range(10)]
    parts = (
        series("train_loss", [*CALM, INF, NAN]),
        series("train/kl", [*kl, INF, NAN]),
        series("train/recon", [*CALM, 1.5, NAN]),
    )
    assert named_cause(*parts) == "loss-domain-error"
    policy = series("rollout/reward_mean", [1.0] * 12)
    assert named_cause(*parts, policy) is None


@pytest.mark.parametrize(("highest", "named"), [(1.0, True), (0.97, False)])
def test_a_probability_that_reaches_1_where_its_term_dies(highest: float, named: bool) -> None:
    """``log(1 - p)``; of the terms of an evidence bound only this one has it."""
    parts = (
        series("elbo", [-5.0] * 30 + [NAN] * 3),
        series("rec", [4.0] * 30 + [NAN] * 3),
        series("kl", [16.0] * 31 + [NAN] * 2),
        series("p_max", [0.97] * 30 + [highest] + [NAN] * 2),
    )
    assert (named_cause(*parts) == "loss-domain-error") is named


@pytest.mark.parametrize(("weight", "named"), [(0.1, True), (0.0, False)])
def test_terms_that_only_their_sum_tells(weight: float, named: bool) -> None:
    """No word says that they are terms of the loss; that they add up to it does."""
    rng = np.random.default_rng(0)
    nce, spread = rng.uniform(0.2, 1.0, 60), rng.uniform(-3.0, -1.0, 60)
    nce[50:], spread[51:] = [INF, *[NAN] * 9], NAN
    parts = (
        series("loss", list(nce + weight * spread if weight else nce**2)),
        series("nce", list(nce)),
        series("uniformity", list(spread)),
        series("sim_max", list(rng.uniform(90.0, 99.0, 60))),
    )
    assert (named_cause(*parts) == "loss-domain-error") is named


def test_a_term_that_grew_into_inf_is_no_logarithm_of_zero() -> None:
    def parts(pde: list[float]) -> tuple[Series, ...]:
        bc = [0.455, 2.4, 1.6e4, NAN]
        total = [p + 10 * b for p, b in zip(pde, bc, strict=True)]
        return series("pde_loss", pde), series("bc_loss", bc), series("total_loss", total)

    assert named_cause(*parts([38.4, 2461.0, INF, NAN])) != "loss-domain-error"
    assert named_cause(*parts([38.4, 30.0, INF, NAN])) == "loss-domain-error"
