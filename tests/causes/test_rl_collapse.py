"""A policy that runs away, and one that has moved as far as it was meant to."""

from __future__ import annotations

import numpy as np
from builders import INF, NAN, detect, judge, make_run, named_cause, series

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


def test_values_past_all_returns_while_finite() -> None:
    q = [0.3, 1.0, 13.0, 130.0, *[500.0 * 2.0**k for k in range(20)]]
    parts = (
        series("mean_q", [-v for v in q]),
        series("td_loss", [v * v for v in q]),
        series("reward", [20.0 * (-1) ** k for k in range(24)]),
    )
    assert judge(make_run(*parts)).verdict == "diverged"
    assert named_cause(*parts) == "rl-collapse"
    late = (series("Qmean", [NAN] * 2 + q[2:]), *parts[1:])
    assert named_cause(*late) == "rl-collapse"  # no update before the buffer is full
    learned = (series("mean_q", [min(v, 90.0) for v in q]), *parts[1:])
    assert judge(make_run(*learned)).verdict == "healthy"
    scaled = (series("mean_q", [v / 2e3 for v in q]), *parts[1:])
    assert judge(make_run(*scaled)).verdict == "healthy"  # rewards of a step, times a hundred
    earned = (*parts[:2], series("reward", [v / 2 for v in q]))
    assert judge(make_run(*earned)).verdict == "healthy"


def test_an_update_out_of_reach() -> None:
    loss = series("train/loss", [2e7, 1e12, 1e20, 1e30, INF])
    far = series("train/approx_kl", [21.3, 0.1, 0.08, 0.01, 0.01])
    assert named_cause(loss, far) == "rl-collapse"
    near = series("train/approx_kl", [0.02, 0.1, 0.08, 0.01, 0.01])
    assert named_cause(loss, near) != "rl-collapse"


LOST = [0.1 + 0.02 * k for k in range(25)] + [0.05] * 25
VANISHED = [2.0 * 0.85**k for k in range(50)]


def test_a_reward_that_is_lost_with_the_entropy() -> None:
    reward, entropy = series("train/reward", LOST), series("train/entropy", VANISHED)
    assert judge(make_run(reward, entropy)).verdict == "diverged"
    assert named_cause(reward, entropy) == "rl-collapse"
    kept = series("train/reward", [*LOST[:25], *[0.58] * 25])
    assert judge(make_run(kept, entropy)).verdict != "diverged"
    varied = series("train/entropy", [2.0] * 50)
    assert judge(make_run(reward, varied)).verdict != "diverged"  # a harder task, for all we know
    part = series("rewards/format_reward/mean", LOST)
    assert judge(make_run(part, kept, entropy)).verdict != "diverged"


def test_a_reward_that_is_lost_with_its_spread() -> None:
    spread = series("train/reward_std", [0.3] * 25 + [0.0] * 25)
    kl = series("train/kl", [0.05] * 50)
    reward = series("train/reward", LOST)
    assert judge(make_run(reward, spread, kl)).verdict == "diverged"
    assert judge(make_run(reward, kl)).verdict != "diverged"


def test_a_reward_that_the_first_update_threw_away() -> None:
    """The row of the first update holds what the policy earned before it."""
    reward = series("charts/episodic_return", [-38.0, *[-700.0 - 300 * (k % 3) for k in range(59)]])
    far = series("losses/approx_kl", [16.3, *[0.3] * 59])
    assert judge(make_run(reward, far)).verdict == "diverged"
    assert named_cause(reward, far) == "rl-collapse"
    near = series("losses/approx_kl", [0.02, *[0.3] * 59])
    assert judge(make_run(reward, near)).verdict != "diverged"  # longer episodes, for all we know
    kept = series("charts/episodic_return", [-38.0, *[-60.0 + k for k in range(59)]])
    assert judge(make_run(kept, far)).verdict != "diverged"


def test_an_error_of_values_past_the_square_of_all_returns() -> None:
    grows = [2.0 * 10.0 ** (k / 2) for k in range(60)]
    returns = series("rollout/ep_rew_mean", [-150.0] * 60)
    parts = series("train/actor_loss", [-v for v in grows]), returns
    assert judge(make_run(series("train/critic_loss", grows), *parts)).verdict == "diverged"
    assert named_cause(series("train/critic_loss", grows), *parts) == "rl-collapse"
    large = series("train/critic_loss", [min(v, 1e6) for v in grows])
    calm = series("train/actor_loss", [-1e3] * 60)
    assert judge(make_run(large, calm, returns)).verdict == "healthy"


def test_values_and_their_error_past_all_returns_together() -> None:
    q = [10.0 * 1.3 ** min(k, 36) for k in range(60)]  # comes to a thousand and more of the largest
    parts = series("maxQ", q), series("return", [-18.0] * 60)
    error = series("loss", [10.0 * 1.6 ** min(k, 36) for k in range(60)])
    assert judge(make_run(*parts, error)).verdict == "diverged"
    assert judge(make_run(*parts, series("loss", [10.0] * 60))).verdict == "healthy"


def test_values_that_are_filed_under_losses() -> None:
    steps = list(range(0, 4000, 100))
    earned = series("charts/episodic_return", [20.0 + i % 3 for i in range(40)], steps)
    loss = series("losses/qf1_loss", [2.0 * 4.0**i for i in range(40)], steps)
    grown = series("losses/qf1_values", [0.5 * 2.0**i for i in range(40)], steps)
    calm = series("losses/qf1_values", [0.5 + i for i in range(40)], steps)
    assert "value-runaway" in {f.id for f in detect(make_run(earned, loss, grown))}
    assert "value-runaway" not in {f.id for f in detect(make_run(earned, loss, calm))}


def test_the_weight_of_a_divergence_is_none() -> None:
    weight = series("learner/cur_kl_coeff", [0.2 * 1.5**i for i in range(20)])
    earned = series("episode_reward_mean", [float(i) for i in range(20)])
    found = detect(make_run(weight, earned, series("policy_loss", [0.1] * 20)))
    assert "policy-divergence" not in {f.id for f in found}
