"""Logged counts of what a batch has to learn from: targets, labels that are not ignored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.roles import words
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_TARGET = frozenset(
    "target targets label labels valid supervised unmasked trainable answer".split()
)
_COUNT = frozenset("num n count number tokens token targets labels positions pixels".split())
_NOT_TARGETS = frozenset(
    "loss acc accuracy ignored masked vocab classes class length len lr grad norm ratio fraction"
    " frac max min mean std val validation eval test".split()
)


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("other", "counter"):
        if not _tells_targets(series):
            continue
        usual = float(np.median(series.values))
        empty = np.flatnonzero(series.values == 0)
        if usual < 1 or not len(empty):
            continue
        index = int(empty[0])
        yield Finding(
            id="no-targets",
            text=phrase(
                "{tag} is 0 at {place}, and {usual} as a rule",
                tag=series.tag,
                place=position(series.axis, int(series.steps[index])),
                usual=shown(usual),
            ),
            source=series.at(index),
            step=int(series.steps[index]),
            last_good=int(series.steps[index - 1]) if index else None,
            data={"tag": series.tag, "axis": series.axis},
        )


def _tells_targets(series: Series) -> bool:
    have = frozenset(words(series.tag))
    named = bool(have & _TARGET) and bool(have & _COUNT) and not have & _NOT_TARGETS
    return named and len(series) > 1 and bool((series.values == np.floor(series.values)).all())


DETECTOR = Detector("target-counts", _detect)
