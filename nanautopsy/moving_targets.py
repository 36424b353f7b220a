"""Losses whose level is no measure of success: games, policies, values, sums over time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Run, Series
from nanautopsy.tag_words import words

_UNBOUND = frozenset(
    {"d", "g", "disc", "discriminator", "generator", "gan", "adv", "adversarial"}
    | {"policy", "pg", "pi", "actor", "critic", "value", "vf", "v", "kl", "entropy", "elbo"}
    | {"q", "qf", "td", "bellman"}
)
"""Words of losses in two-player games, of policies, of what follows their returns, divergences."""

_RUNNING = frozenset({"cum", "cumulative", "cumsum", "accumulated", "regret"})
"""Words of a sum over all steps so far, which can only rise."""

_COMPANIONS = frozenset(
    {"reward", "rewards", "rew", "return", "returns", "ret", "advantage", "advantages", "policy"}
    | {"actor", "critic", "discriminator", "disc", "generator", "contrastive", "infonce", "nce"}
    | {"moco"}
)
"""Words of metrics beside which the objective is a moving target: returns to be fitted, an
opponent, negatives that become harder."""

_COMPANION_LOSSES = frozenset({"d", "g", "dis", "gen", "gan", "adv", "adversarial"})
"""Words of a loss that has an opponent."""


def is_unbound(series: Series) -> bool:
    """Whether its own name says that its level is no measure of success; a cross-entropy's is."""
    named = words(series.tag)
    if ("cross", "entropy") in pairwise(named):
        named = tuple(word for word in named if word != "entropy")
    return not (_UNBOUND | _RUNNING).isdisjoint(named)


def is_running_sum(series: Series) -> bool:
    """Whether it sums up all steps so far."""
    return not _RUNNING.isdisjoint(words(series.tag)) or _is_count(series)


_PLAIN = frozenset({"loss", "train", "training"})


def _is_count(series: Series) -> bool:
    """Whether it counts: losses of games, batches whose loss was left out. Only whole numbers, that
    never fall and grow no faster in the second half than by a share of the first.

    A loss that is printed in whole numbers falls now and then, and one that explodes grows ever
    faster.
    """
    values = series.values
    if len(values) < thresholds.DIVERGED_MIN_POINTS or frozenset(words(series.tag)) <= _PLAIN:
        return False
    if not np.isfinite(values).all() or (values != np.floor(values)).any() or values[0] < 0:
        return False
    grown = np.diff(values)
    half = len(grown) // 2
    first, second = float(grown[:half].sum()), float(grown[half:].sum())
    return bool((grown >= 0).all()) and first > 0 and second <= _STEADY * first


_STEADY = 4
"""Times that a count may grow faster in the second half: what it counts may become more common."""


def is_moving_target(run: Run, series: Series) -> bool:
    """Whether the same writer logs the signs of a game, a policy or a contrastive objective."""
    beside = [other for other in run.series if other.source.path == series.source.path]
    return any(
        not _COMPANIONS.isdisjoint(words(other.tag))
        or (other.role == "loss" and not _COMPANION_LOSSES.isdisjoint(words(other.tag)))
        for other in beside
    )
