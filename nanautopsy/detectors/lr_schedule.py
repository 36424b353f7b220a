"""Learning rates that jump against their own history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("learning_rate"):
        yield from _jump(series)


def _jump(series: Series) -> Iterator[Finding]:
    """The largest rise between neighbours that no warmup explains.

    A linear warmup multiplies by k/(k-1) at its k-th logged point, so from its third point on by
    1.5 at most; points at the beginning and zeros are no history. A jump back to a level that the
    schedule had held before (a cyclic schedule, warm restarts) is a schedule too.
    """
    usable = np.isfinite(series.values) & (series.values > 0)
    steps, values = series.steps[usable], series.values[usable]
    if len(values) <= thresholds.LR_WARMUP_POINTS:
        return
    ratios = values[1:] / values[:-1]
    peak_before = np.maximum.accumulate(values)[:-1]
    jumps = ratios >= thresholds.LR_JUMP_FACTOR
    jumps &= values[1:] > peak_before * thresholds.LR_JUMP_FACTOR
    jumps[: thresholds.LR_WARMUP_POINTS - 1] = False
    if not jumps.any():
        return
    at = int(np.where(jumps, ratios, 0.0).argmax())
    index = int(np.flatnonzero(usable)[at + 1])
    yield Finding(
        id="lr-jump",
        text=phrase(
            "{tag} jumps from {before} at step {step} to {after} at step {next_step}, "
            "{ratio:.0f} times",
            tag=series.tag,
            before=shown(float(values[at])),
            step=int(steps[at]),
            after=shown(float(values[at + 1])),
            next_step=int(steps[at + 1]),
            ratio=float(ratios[at]),
        ),
        source=series.at(index),
        step=int(steps[at + 1]),
        last_good=int(steps[at]),
        data={"ratio": float(ratios[at]), "to": float(values[at + 1]), "from": float(values[at])},
    )


DETECTOR = Detector("lr-schedule", _detect)
