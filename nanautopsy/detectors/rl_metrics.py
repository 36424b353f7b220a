"""Signs that a policy collapses: divergence, probability ratio and entropy, before the loss."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

OF_Q = frozenset("q qmean qavg qmax qval qvals qvalue qvalues".split())
"""Words of a value of state and action."""
_REWARD = frozenset(
    "eprewmean reward rewards rew ret return returns episode ep_rew_mean score advantage".split()
)
_POLICY = frozenset(
    "policy kl entropy ratio clipfrac clip_frac actor critic ppo grpo qf td advantage".split()
    + ["logp", "logit", "logits", *OF_Q]
)
_KL = frozenset(("kl", "approxkl"))
_OF_AN_UPDATE = frozenset(("approxkl", "clipfrac"))
_MOVING = _KL | OF_Q | {"ratio", "logit", "logits", "logp"}
"""Words of what runs away with a policy, or with the value that it maximizes."""
_NOT_MEASURED = frozenset("loss coef coeff coefficient target beta weight penalty lr".split())


def is_reinforcement(run: Run) -> bool:
    """Whether the run logs both what a policy earns and how it moves, or what only an update of a
    policy has."""
    have = [frozenset(words(s.tag)) for s in run.series]
    if any(h & _OF_AN_UPDATE or {"approx", "kl"} <= h for h in have):
        return True
    return any(h & _REWARD for h in have) and any(h & _POLICY for h in have)


def is_of_rewards(series: Series) -> bool:
    """Whether it is what a policy earns, on average or in an episode."""
    have = frozenset(words(series.tag))
    spread = {"std", "stddev", "var", "frac", "zero", "count", "num", "time", "len", "length"}
    return bool(have & (_REWARD - {"advantage", "ep_rew_mean", "eprewmean"})) and not have & (
        _NOT_MEASURED | spread | {"q", "qf", "v", "vf", "value", "values", "td"}
    )


def _detect(run: Run) -> Iterator[Finding]:
    if not is_reinforcement(run):
        return
    for series in run.series:
        have = frozenset(words(series.tag))
        if have & _NOT_MEASURED and not (have & _KL and have & _NOT_MEASURED == {"loss"}):
            continue
        if have & _OF_AN_UPDATE or {"approx", "kl"} <= have:
            yield from _out_of_reach(series, have)
        if have & _MOVING:
            finding = _blown(series)
        elif "entropy" in have:
            finding = _gone(series)
        else:
            finding = None
        if finding is not None:
            yield finding


def _out_of_reach(series: Series, have: frozenset[str]) -> Iterator[Finding]:
    """One update that moved the policy further than any later one can tell: a divergence between
    the policy before and behind it."""
    far = np.flatnonzero(series.values >= thresholds.UPDATE_KL_FAR)
    for index in far[:1] if have & _KL else ():
        yield Finding(
            id="update-divergence",
            text=phrase(
                "{tag} is {value} at step {step}: an update moved the policy out of reach of its "
                "own samples",
                tag=series.tag,
                value=shown(float(series.values[index])),
                step=int(series.steps[index]),
            ),
            source=series.at(int(index)),
            step=int(series.steps[index]),
        )


def _blown(series: Series) -> Finding | None:
    bad = np.flatnonzero(~np.isfinite(series.values))
    end = int(bad[0]) if len(bad) else len(series)
    values = np.abs(series.values[:end])
    if len(values) < thresholds.RL_HISTORY:
        return None
    usual = float(np.median(values[: max(thresholds.RL_HISTORY, len(values) // 3)]))
    limit = thresholds.KL_BLOWN * usual
    if _KL & frozenset(words(series.tag)):
        limit = min(limit, max(thresholds.KL_FAR, 2 * float(values[0])))
    high = values >= limit
    if usual <= 0 or not high[-1]:
        return None
    start = len(high) - int((~high[::-1]).argmax()) if not high.all() else 0
    return Finding(
        id="policy-divergence",
        text=phrase(
            "{tag} rises from about {usual} to {last} by step {step}",
            tag=series.tag,
            usual=shown(min(usual, float(values[0]))),
            last=shown(float(values[-1])),
            step=int(series.steps[end - 1]),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={
            "tag": series.tag,
            "far": bool(_KL & frozenset(words(series.tag)))
            and float(values[-1]) >= thresholds.KL_FAR,
            "running": _is_running(values),
        },
    )


def _is_running(values: NDArray[np.float64]) -> bool:
    """Whether it was still running away at the end: a divergence from the reference rises steadily
    and levels off in a sound run, at whatever its sum over tokens gives."""
    late = values[-max(3, len(values) // 3) :]
    return float(values[-1]) >= thresholds.SUDDEN_FACTOR * float(np.median(late))


def _gone(series: Series) -> Finding | None:
    bad = np.flatnonzero(~np.isfinite(series.values))
    end = int(bad[0]) if len(bad) else len(series)
    values = series.values[:end]
    if len(values) < thresholds.RL_HISTORY:
        return None
    first = float(np.median(values[:3]))
    if first <= 0 or float(np.median(values[-3:])) > thresholds.ENTROPY_GONE * first:
        return None
    start = int((values <= thresholds.ENTROPY_GONE * first).argmax())
    return Finding(
        id="entropy-collapse",
        text=phrase(
            "{tag} falls from {first} to {last}: the policy is nearly deterministic",
            tag=series.tag,
            first=shown(first),
            last=shown(float(values[-1])),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        data={"tag": series.tag},
    )


DETECTOR = Detector("rl-metrics", _detect)
