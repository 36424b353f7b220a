"""A policy that runs away, and one that has moved as far as it was meant to."""

from __future__ import annotations

import numpy as np
from builders import INF, NAN, named_cause, series

CALM = [0.5] * 60
ENTROPY = series("train/entropy", [1.3] * 62)


def rl(kl: list[float], loss: list[float]) -> str | None:
    reward = series("rollout/reward", [0.4] * len(kl))
    return named_cause(series("train/loss", loss), series("train/kl", kl), reward, ENTROPY)


def test_kl_runs_away() -> None:
    kl = [0.01] * 50 + [float(v) for v in 0.01 * 3.0 ** np.arange(1, 11)] + [INF, NAN]
    assert rl(kl, [*CALM, NAN, NAN]) == "rl-collapse"


def test_kl_that_rose_steadily_is_where_training_took_it() -> None:
    kl = [float(v) for v in 8 * np.linspace(0.01, 1, 60) ** 2] + [NAN, NAN]
    assert rl(kl, [*CALM, NAN, NAN]) != "rl-collapse"


def test_names_that_only_an_update_of_a_policy_has() -> None:
    kl = [0.01] * 50 + [float(v) for v in 0.01 * 3.0 ** np.arange(1, 11)] + [INF, NAN]
    parts = series("loss/policy_avg", [*CALM, NAN, NAN]), series("policy/approxkl_avg", kl)
    assert named_cause(*parts) == "rl-collapse"


def test_values_that_run_away_with_what_they_maximize() -> None:
    q = [1.0] * 15 + [1.5**k for k in range(1, 26)]
    parts = (
        series("train/q_mean", [*q, NAN]),
        series("train/critic_loss", [0.1] * 15 + [0.1 * 2.0**k for k in range(1, 26)] + [NAN]),
        series("rollout/episode_return", [5.0] * 41),
        series("lr", [3e-4] * 41),
    )
    assert named_cause(*parts) == "rl-collapse"
    calm = (series("train/q_mean", [1.0] * 40 + [NAN]), *parts[1:])
    assert named_cause(*calm) != "rl-collapse"


def test_returns_by_the_names_of_spinning_up() -> None:
    q = [0.2] * 20 + [0.2 * 3.0**k for k in range(1, 21)]
    parts = (
        series("AverageEpRet", [100.0] * 41),
        series("AverageQ1Vals", [*q, NAN]),
        series("LossQ", [1.9] * 20 + [1.9 * 9.0**k for k in range(1, 21)] + [INF]),
    )
    assert named_cause(*parts) == "rl-collapse"
