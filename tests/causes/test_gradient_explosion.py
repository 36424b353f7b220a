"""Growth that leads the loss and overflows, at a rate that is known to be usual."""

from __future__ import annotations

import numpy as np
from builders import INF, NAN, event, named_cause, series

CLIMB = [float(v) for v in 2.0 ** np.arange(1, 40)]
RATE = {"training": {"optimizer": "SGD", "learning_rate": 0.01}}


def test_gradients_lead_the_loss() -> None:
    norm = series("grad_norm", [1.0] * 40 + CLIMB + [INF, NAN])
    loss = series("loss", [2.0] * 50 + CLIMB[:29] + [1e20, NAN])
    assert named_cause(norm, loss, config=RATE) == "gradient-explosion"


def test_a_rate_that_nobody_knows_is_not_usual() -> None:
    norm = series("grad_norm", [1.0] * 40 + CLIMB + [INF, NAN])
    assert named_cause(norm) is None


def test_a_divergence_that_stays_finite() -> None:
    norm = series("grad_norm", [1.0] * 30 + CLIMB)
    loss = series("loss", [2.0] * 30 + CLIMB)
    assert named_cause(norm, loss, config=RATE) is None


def test_a_loss_that_jumps_takes_its_gradients_along() -> None:
    norm = series("grad_norm", [1.0] * 40 + CLIMB + [INF, NAN])
    loss = series("loss", [2.0] * 40 + [1e6] * 39 + [INF, NAN])
    assert named_cause(norm, loss, config=RATE) is None


def test_a_loss_that_jumps_behind_its_gradients_follows_them() -> None:
    """A recurrence: the step that is long enough at last breaks the loss at once."""
    norm = series("grad_norm", [30.0] * 40 + [110.0, 130.0, 700.0, 3e4, 3e16, NAN])
    loss = series("loss", [75.0] * 40 + [76.0, 80.0, 79.0, 82.0, 2.5e14, INF])
    assert named_cause(norm, loss, config=RATE) == "gradient-explosion"


FROM_THE_START = [float(v) for v in 0.1 * 1.4 ** np.arange(1, 60)]


def test_an_objective_without_a_lower_bound_is_won_at_any_rate() -> None:
    """A critic's loss falls without end: no step that is too long makes a loss fall."""
    norm = series("grad_norm", [*FROM_THE_START, INF, NAN])
    loss = series("loss", [0.02, *(-3 * v for v in FROM_THE_START[1:]), NAN, NAN])
    assert named_cause(norm, loss, config=RATE) == "gradient-explosion"


def test_a_loss_that_rises_from_the_start_is_no_explosion() -> None:
    norm = series("grad_norm", [*FROM_THE_START, INF, NAN])
    loss = series("loss", [0.02, *(3 * v for v in FROM_THE_START[1:]), NAN, NAN])
    assert named_cause(norm, loss, config=RATE) != "gradient-explosion"


def test_a_quadratic_loss_rises_with_its_gradients() -> None:
    """It reaches ten times its level first, being their square."""
    climb = [0.2 * 1.25**k for k in range(1, 60)]
    norm = series("grad_norm", [0.2] * 60 + climb + [INF, NAN])
    loss = series("loss", [0.05] * 60 + [0.05 * (c / 0.2) ** 2 for c in climb] + [INF, NAN])
    assert named_cause(norm, loss, config=RATE) == "gradient-explosion"


def test_growth_that_begins_where_the_run_resumed() -> None:
    climb = [float(v) for v in 1.6 ** np.arange(1, 30)]
    norm = series("grad_norm", [1.0] * 40 + climb + [NAN])
    loss = series("loss", [2.0] * 45 + climb[:24] + [NAN])
    resumed = event("run-resumed", "restored checkpoint from /ckpt/step_40", 40)
    assert named_cause(norm, loss, config=RATE) == "gradient-explosion"
    assert named_cause(norm, loss, resumed, config=RATE) != "gradient-explosion"
    early = event("run-resumed", "restored checkpoint from /ckpt/step_5", 5)
    assert named_cause(norm, loss, early, config=RATE) == "gradient-explosion"


def test_growth_from_the_start_is_the_rates_whichever_comes_first() -> None:
    norm = series("grad_norm", [5.0, 12.0, 150.0, 4e4, 1e11, INF, NAN])
    loss = series("loss", [34.0, 38.0, 62.0, 7e4, 1e12, 7e18, INF])
    assert named_cause(norm, loss, series("lr", [0.3] * 7)) == "lr-too-high"


def test_gradients_of_layers_alone() -> None:
    """Only per-layer norms are logged; those of the recurrence grow."""
    hidden = series("gradnorm/cell.weight_hh", [30.0] * 40 + [110.0, 130.0, 700.0, 3e4, 3e16, NAN])
    head = series("gradnorm/head.weight", [20.0] * 40 + [25.0, 30.0, 31.0, 90.0, 2e15, NAN])
    loss = series("loss", [75.0] * 40 + [76.0, 80.0, 79.0, 82.0, 2.5e14, INF])
    assert named_cause(hidden, head, loss, config=RATE) == "gradient-explosion"
    calm = [series(s.tag, [30.0] * 45 + [NAN]) for s in (hidden, head)]
    assert named_cause(*calm, series("loss", [75.0] * 45 + [NAN]), config=RATE) is None


def test_gradients_that_are_steep_before_any_update() -> None:
    """A recurrence whose product of Jacobians is long from the start breaks with its first step."""
    at = [0, 5, 10, 15]
    loss = series("mse", [0.55, NAN, NAN, NAN], at)
    steep = series("grad_norm", [172.0, NAN, NAN, NAN], at)
    assert named_cause(loss, steep) == "gradient-explosion"
    assert named_cause(loss, series("grad_norm", [1.7, NAN, NAN, NAN], at)) is None
    squares = series("grad_norm", [4146.0, NAN, NAN, NAN], at)
    assert named_cause(series("mse", [893.0, NAN, NAN, NAN], at), squares) == "gradient-explosion"
    broken = series("mse", [5e16, NAN, NAN, NAN], at)
    assert named_cause(broken, series("grad_norm", [4e17, NAN, NAN, NAN], at)) is None
    scaled = series("mse", [550.0, NAN, NAN, NAN], at)
    assert named_cause(scaled, steep) is None


def test_steep_gradients_that_turn_nan_beside_a_finite_loss_are_singular() -> None:
    at = [0, 1, 2, 3]
    loss = series("mse", [0.55, 0.5, NAN, NAN], at)
    norm = series("grad_norm", [172.0, NAN, NAN, NAN], at)
    assert named_cause(loss, norm) != "gradient-explosion"
