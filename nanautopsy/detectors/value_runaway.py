"""Values that a critic predicts, past all that returns can add up to.

A value is a sum of rewards to come. One that is fitted to its own estimate (no target network, a
discount of 1 or more, an entropy bonus without end) grows by a factor an update, and stays finite
for long: the loss of temporal differences alone says little, since it follows the returns.
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
from nanautopsy.roles import words
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_VALUE = OF_Q | frozenset("qs qf value values v vf".split())
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
    for series in run.series:
        have = frozenset(words(series.tag))
        if series.role != "other" or not have & _VALUE or have & _NOT_PREDICTED:
            continue
        found = _beyond(series, limit)
        if found is not None:
            yield found
            yield _verdict(found)
            return


def _limit(series: Series) -> float:
    """The value that no sum of such rewards reaches; 0 where none was logged."""
    values = np.abs(series.values[np.isfinite(series.values)])
    summed = frozenset(words(series.tag)) & _SUMS
    factor = thresholds.VALUE_BEYOND if summed else thresholds.VALUE_BEYOND_STEP
    return factor * max(1.0, float(values.max())) if len(values) else 0.0


def _beyond(series: Series, limit: float) -> Finding | None:
    """Where all of the end lies above what returns can add up to, and still grows or stays; its
    beginning does not."""
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
    inside = np.flatnonzero(values < thresholds.VALUE_LEFT * limit)
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
