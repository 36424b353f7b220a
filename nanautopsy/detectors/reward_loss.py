"""A reward that was lost again for good, beside a policy that shows why.

Rewards are noisy and a harder task lowers them: it counts only where the entropy has vanished, all
samples of a group earn the same, the divergence from the reference is past any target, or one
update before it moved the policy out of reach of its own samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.rl_metrics import DETECTOR as RL_METRICS
from nanautopsy.detectors.rl_metrics import is_of_rewards, is_reinforcement
from nanautopsy.model import Finding, Run, Series
from nanautopsy.roles import EVALUATION
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_WHOLE = frozenset(
    "reward rewards rew ret return returns episode episodic ep avg average mean total sum train"
    " training rollout rollouts score critic env objective all overall charts".split()
)
"""Words of a tag that names the whole reward."""
_SPREAD = frozenset({"std", "stddev", "var", "variance", "spread"})


def _detect(run: Run) -> Iterator[Finding]:
    if not is_reinforcement(run):
        return
    shown_by = _policy_shows_it(run)
    thrown = [f.step for f in RL_METRICS.detect(run) if f.id == "update-divergence"]
    if not shown_by and not thrown:
        return
    for series in run.series:
        if not is_of_rewards(series) or not _is_whole(series):
            continue
        lost = _lost(series) or _thrown_away(series)
        if lost is not None and (shown_by or _is_behind(lost, thrown)):
            yield lost
            yield replace(lost, id="diverged-loss")
            return


def _is_behind(lost: Finding, updates: list[int | None]) -> bool:
    """Whether an update that went too far comes before the fall."""
    return any(s is not None and lost.step is not None and s <= lost.step for s in updates)


def _is_whole(series: Series) -> bool:
    """Whether it is all that is earned, or what an evaluation gives: of several rewards one may be
    given up for the others."""
    named = frozenset(word for word in words(series.tag) if not word.isdigit())
    return named <= _WHOLE or not named.isdisjoint(EVALUATION)


def _policy_shows_it(run: Run) -> bool:
    if any(
        f.id == "entropy-collapse" or (f.id == "policy-divergence" and f.data.get("far"))
        for f in RL_METRICS.detect(run)
    ):
        return True
    return any(map(_earns_the_same, run.series))


def _earns_the_same(series: Series) -> bool:
    """A spread of rewards that had been there and is exactly 0 to the end."""
    have = frozenset(words(series.tag))
    values = series.values
    if not have & {"reward", "rewards"} or not have & _SPREAD or "zero" in have:
        return False
    tail = values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    return len(values) >= thresholds.RL_HISTORY and not tail.any() and bool(values.any())


def _lost(series: Series) -> Finding | None:
    values = series.values
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return None
    width = max(3, len(values) // 20)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    tail = smooth[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    first, best, level = float(smooth[0]), float(smooth.max()), float(tail.max())
    steps = np.diff(values)
    noise = thresholds.NORMAL_MAD * float(np.median(np.abs(steps - np.median(steps))))
    gained, fell = best - first, best - level
    scale = abs(best) if gained < thresholds.SUCCESS_LEARNED * abs(best) else gained
    if fell < thresholds.REWARD_LOST * scale or fell <= thresholds.REWARD_NOISE * noise / np.sqrt(
        width
    ):
        return None
    top = int(smooth.argmax())
    start = top + int((smooth[top:] <= best - fell / 2).argmax()) + width // 2
    start = min(start, len(values) - 1)
    return _finding(series, start, first, best, level, float(np.median(tail)))


def _thrown_away(series: Series) -> Finding | None:
    """A reward that the first update lost: all rows behind the first lie far below it."""
    values = series.values
    if len(values) < thresholds.DIVERGED_MIN_POINTS or not np.isfinite(values).all():
        return None
    first, later = float(values[0]), float(values[1:].max())
    limit = first * (thresholds.DIVERGED_FACTOR if first < 0 else 1 - thresholds.REWARD_LOST)
    if later >= limit:
        return None
    return _finding(series, 1, first, first, later, float(np.median(values[1:])))


def _finding(
    series: Series, start: int, first: float, best: float, level: float, usual: float
) -> Finding:
    return Finding(
        id="reward-lost",
        text=phrase(
            "{tag} falls from {best} back to {level}, and stays: what the policy had learned is "
            "lost",
            tag=series.tag,
            best=shown(best),
            level=shown(usual),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]) if start else None,
        data={"from": first, "to": level, "best": best},
    )


DETECTOR = Detector("reward-loss", _detect)
