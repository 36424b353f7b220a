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
_NOT_PREDICTED = frozenset(
    "loss losses lr std var coef weight time grad norm clip explained target error proj attn"
    " attention layer head k tokens length".split()
)


def _detect(run: Run) -> Iterator[Finding]:
    if not is_reinforcement(run):
        return
    returns = [s.values[np.isfinite(s.values)] for s in run.series if is_of_rewards(s)]
    largest = max((float(np.abs(v).max()) for v in returns if len(v)), default=None)
    if largest is None:
        return
    for series in run.series:
        have = frozenset(words(series.tag))
        if series.role != "other" or not have & _VALUE or have & _NOT_PREDICTED:
            continue
        found = _beyond(series, max(largest, 1.0))
        if found is not None:
            yield found
            yield _verdict(found)
            return


def _beyond(series: Series, largest: float) -> Finding | None:
    """Where all of the end lies a thousandfold above the largest return, and still grows or stays;
    its beginning does not."""
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
    if float(tail.min()) < thresholds.VALUE_BEYOND * largest or 2 * tail[-1] < values.max():
        return None
    inside = np.flatnonzero(values < thresholds.VALUE_LEFT * largest)
    if not len(inside):
        return None
    start = int(inside[-1]) + 1
    return Finding(
        id="value-runaway",
        text=phrase(
            "{tag} comes to {last} by step {step}, past all that returns of at most {largest} can "
            "add up to",
            tag=series.tag,
            last=shown(float(series.values[end - 1])),
            step=int(series.steps[end - 1]),
            largest=shown(largest),
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
