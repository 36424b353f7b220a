"""A router that is non-finite before anything else, and not merely the first that was watched."""

from __future__ import annotations

from builders import INF, NAN, named_cause, series

CALM = [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6]
EXPERTS = {"model": {"num_experts": 4}}


def test_the_auxiliary_loss_is_inf_alone() -> None:
    parts = (
        series("train/loss", [*CALM, INF, NAN]),
        series("train/ce_loss", [*CALM, 1.5, NAN]),
        series("train/router_aux_loss", [0.01] * 10 + [INF, NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"


def test_the_router_is_nan_behind_finite_layers() -> None:
    parts = (
        series("loss", [*CALM, NAN]),
        series("activations/layers.1.attn", [1.0] * 11),
        series("activations/layers.1.router", [1.0] * 10 + [NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"


def test_a_router_that_is_called_a_gate() -> None:
    parts = (
        series("loss/ce", [*CALM, 1.5, NAN]),
        series("loss/z", [30.0] * 10 + [INF, NAN]),
        series("grad/layers.1.mlp.gate", [0.1] * 10 + [NAN, NAN]),
        series("grad/layers.1.mlp.experts", [0.4] * 11 + [NAN]),
    )
    assert named_cause(*parts) == "moe-router"


def test_a_gate_of_a_gated_unit_is_no_router() -> None:
    parts = (
        series("loss/ce", [*CALM, 1.5, NAN]),
        series("loss/z", [30.0] * 10 + [INF, NAN]),
        series("grad/layers.1.mlp.gate", [0.1] * 10 + [NAN, NAN]),
        series("grad/layers.1.mlp.up", [0.4] * 11 + [NAN]),
    )
    assert named_cause(*parts) != "moe-router"


def test_a_bad_batch_makes_router_metrics_nan_as_well() -> None:
    parts = (
        series("loss", [*CALM, NAN]),
        series("aux_loss", [0.01] * 10 + [NAN]),
        series("router/max_logit", [1.0] * 10 + [NAN]),
        series("activations/layers.1.router", [1.0] * 10 + [NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) != "moe-router"


def test_without_experts_an_auxiliary_loss_is_any_loss() -> None:
    parts = (
        series("train/loss", [*CALM, INF, NAN]),
        series("train/ce_loss", [*CALM, 1.5, NAN]),
        series("train/balance_loss", [0.01] * 10 + [INF, NAN]),
    )
    assert named_cause(*parts) == "loss-domain-error"


def test_a_z_loss_that_grows_is_not_the_learning_rate() -> None:
    """The total does not grow with it: its weight is small."""
    z = [6.0 * 1.4**k for k in range(16)]
    main = [1.5 - 0.01 * k for k in range(16)]
    parts = (
        series("train/loss", [*(m + 1e-4 * a for m, a in zip(main, z, strict=True)), INF, NAN]),
        series("lm_loss", [*main, 1.4, NAN]),
        series("router_z_loss", [*z, INF, NAN]),
        series("lr", [1e-3] * 18),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"


GROWING = [1.5**i for i in range(12)]


def test_a_term_that_grows_to_inf_where_the_loss_is_nan() -> None:
    parts = (
        series("loss", [2.0 + 0.001 * v for v in GROWING] + [NAN, NAN]),
        series("lm", [2.0] * 12 + [NAN, NAN]),
        series("router_z_loss", [*GROWING, INF, NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"


def test_a_term_that_is_inf_with_a_bad_batch() -> None:
    parts = (
        series("loss", [2.0] * 12 + [NAN, NAN]),
        series("lm", [2.0] * 12 + [NAN, NAN]),
        series("router_z_loss", [1.0] * 12 + [INF, NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) is None


def test_logits_past_the_reach_of_an_exponential() -> None:
    logits = [60.0 + i for i in range(24)] + [96.7, NAN, NAN]
    parts = (
        series("loss", [-2.0] * 24 + [NAN] * 3),
        series("router_logit_max", logits),
        series("gnorm", [1.0] * 24 + [NAN] * 3),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"
    below = series("router_logit_max", [v / 2 for v in logits])
    assert named_cause(parts[0], below, parts[2], config=EXPERTS) != "moe-router"


def test_gradients_that_follow_a_growing_term() -> None:
    total = [2.0 + v for v in GROWING]
    parts = (
        series("loss", [*total, INF, NAN]),
        series("lm", [2.0] * 12 + [2.0, NAN]),
        series("router_z_loss", [*GROWING, INF, NAN]),
        series("grad_norm", [v / 3 for v in GROWING] + [INF, NAN]),
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"


def growing(router: list[float], norm: list[float]) -> str | None:
    size = len(norm)
    parts = (
        series("loss", [2.0] * size + [NAN]),
        series("router/max_logit", [*router, NAN]),
        series("grad_norm", [*norm, NAN]),
        series("lr", [1e-3] * (size + 1)),
    )
    return named_cause(*parts, config=EXPERTS)


def test_a_router_that_grows_before_the_gradients_do() -> None:
    router = [2.0] * 20 + [2.0 * 1.5**k for k in range(1, 31)]
    late = [1.0] * 40 + [1.0 * 3.0**k for k in range(1, 11)]
    assert growing(router, late) == "moe-router"
    assert growing([2.0] * 50, late) != "moe-router"


def test_weights_of_a_router_that_sum_to_zero() -> None:
    total = series("router/prob_sum", [1.3, 1e-3, 1e-9, *[1e-30] * 7, 0.0, NAN])
    loss = series("lm_loss", [*CALM, NAN, NAN])
    assert named_cause(loss, total, config=EXPERTS) == "moe-router"
    other = series("denominator", [1.3, 1e-3, 1e-9, *[1e-30] * 7, 0.0, NAN])
    assert named_cause(loss, other, config=EXPERTS) != "moe-router"


def test_an_expert_without_tokens() -> None:
    least = series("tokens_min", [4.0, 1.0, 2.0, 1.0, 2.0, *[3.0] * 5, 0.0, 0.0])
    parts = (
        series("ce", [*CALM, 1.2, NAN]),
        series("balance_loss", [0.05] * 10 + [NAN, NAN]),
        least,
    )
    assert named_cause(*parts, config=EXPERTS) == "moe-router"
    assert named_cause(*parts) != "moe-router"


def test_the_first_logit_past_the_reach_of_an_exponential() -> None:
    grows = [2.5, 20.0, 50.0, 70.0, 80.0, 85.0, 86.0, 87.0, 85.8, 68.0]
    loss = series("loss", [*CALM, NAN, NAN])
    past = series("router_logit_max", [*grows, 89.7, NAN])
    assert named_cause(loss, past, config=EXPERTS) == "moe-router"
    within = series("router_logit_max", [*grows, 88.0, NAN])
    assert named_cause(loss, within, config=EXPERTS) != "moe-router"
