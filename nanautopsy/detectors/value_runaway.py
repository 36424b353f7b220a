"""Values that a critic predicts, past all that returns can add up to.

A value is a sum of rewards to come. One that is fitted to its own estimate (no target network, a
discount of 1 or more, an entropy bonus without end) grows by a factor an update, and stays finite
for long: the loss of temporal differences alone says little, since it follows the returns. Past
the square of all that they add up to it says enough, and so do values and errors that are beyond
them by less, together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.attempts import take
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.rl_metrics import OF_Q, is_of_rewards, is_reinforcement
from nanautopsy.model import Finding, Run, Series
from nanautopsy.roles import own_words
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_VALUE = OF_Q | frozenset("qs qf value values v vf".split())
_FITTED = frozenset("critic td bellman qf q qf1 qf2 q1 q2 vf value v".split())
"""Words of the loss with which values are fitted."""
_SUMS = frozenset("ret return returns episode episodic ep".split())
"""Words of a reward that is summed up over an episode."""
_NOT_PREDICTED = frozenset(
    "loss losses lr std var coef weight time grad norm clip explained target error proj attn"
    " attention layer head k tokens length".split()
)


def _detect(run: Run) -> Iterator[Finding]:
    if not is_reinforcement(run):
        return
    limit = max((_limit(s) for s in run.series if is_of_rewards(s)), default=0.0)
    if not limit:
        return
    left = thresholds.VALUE_LEFT * limit
    values = [s for s in run.by_role("other") if _is_a_value(s)]
    errors = [s for s in run.by_role("loss") if _is_of_a_fit(s)]
    far = any(_beyond(s, (left * thresholds.ERROR_SHARED) ** 2, left**2) for s in errors)
    if values:
        limit *= thresholds.VALUE_SHARED if far else 1.0
        beyond = (_beyond(series, limit, left) for series in values)
    else:
        beyond = (_beyond(series, limit**2, left**2) for series in errors)
    found = next((finding for finding in beyond if finding is not None), None)
    if found is not None:
        yield found
        yield _verdict(found)


def _is_a_value(series: Series) -> bool:
    have = own_words(series.tag)
    return bool(have & _VALUE) and not have & _NOT_PREDICTED


def _is_of_a_fit(series: Series) -> bool:
    """Whether it is the loss of the critic, a mean of squares of differences of values, or the only
    loss that its words tell, as of a value that is its own policy."""
    have = frozenset(words(series.tag))
    return bool(have & _FITTED) or have <= {"loss", "train", "training"}


def _limit(series: Series) -> float:
    """The value that no sum of such rewards reaches; 0 where none was logged."""
    values = np.abs(series.values[np.isfinite(series.values)])
    summed = frozenset(words(series.tag)) & _SUMS
    factor = thresholds.VALUE_BEYOND if summed else thresholds.VALUE_BEYOND_STEP
    return factor * max(1.0, float(values.max())) if len(values) else 0.0


def _beyond(series: Series, limit: float, left: float) -> Finding | None:
    """Where all of the end lies above what returns can add up to, and still grows or stays; its
    beginning does not lie above ``left``."""
    finite = np.isfinite(series.values)
    if not finite.any():
        return None
    series = take(series, slice(int(finite.argmax()), None))  # none before the first update
    finite = np.isfinite(series.values)
    end = len(finite) if finite.all() else int((~finite).argmax())
    values: NDArray[np.float64] = np.abs(series.values[:end])
    if len(values) < thresholds.RL_HISTORY:
        return None
    tail = values[-max(3, int(len(values) * thresholds.DIVERGED_TAIL)) :]
    if float(tail.min()) < limit or 2 * tail[-1] < values.max():
        return None
    inside = np.flatnonzero(values < left)
    if not len(inside):
        return None
    start = int(inside[-1]) + 1
    return Finding(
        id="value-runaway",
        text=phrase(
            "{tag} comes to {last} by step {step}; the rewards that are logged add up to less than "
            "{limit}",
            tag=series.tag,
            last=shown(float(series.values[end - 1])),
            step=int(series.steps[end - 1]),
            limit=shown(limit),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        last_good=int(series.steps[start - 1]),
        data={"from": float(values[0]), "to": float(values[-1]), "best": float(values.min())},
    )


def _verdict(found: Finding) -> Finding:
    return Finding(
        id="diverged-loss",
        text=found.text,
        source=found.source,
        step=found.step,
        last_good=found.last_good,
        data=found.data,
    )


DETECTOR = Detector("value-runaway", _detect)
