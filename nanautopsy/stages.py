"""Where a run says that it begins to train on something else: a stage, a curriculum, a data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from nanautopsy.model import Run, Series
from nanautopsy.tag_words import words

_STAGE = frozenset(
    "stage phase curriculum difficulty task dataset domain corpus mixture lesson resolution".split()
    + ["seqlen", "round", "cycle"]
)
"""Words of a metric that numbers what is trained on."""
_LENGTHS = (("seq", "len"), ("seq", "length"), ("sequence", "length"), ("context", "length"))
_NOT_A_STAGE = frozenset("loss acc accuracy reward time speed error score".split())
_MOST_LEVELS = 24
"""Different values beyond which a metric measures and does not number."""
_MOST_EVENTS = 24
"""Stated changes beyond which the words are those of every step."""


def stage_changes(run: Run) -> list[int]:
    """Steps, in order, from which something else is trained: as the log says it, where a metric
    that numbers stages changes, and where a run was resumed, which is when its data are changed.

    A step is the last one before the change; where a log states none it has no place here.
    """
    stated = [e.step for e in run.events_of("stage-changed") if e.step is not None]
    if len(stated) > _MOST_EVENTS:
        stated = []
    resumed = [e.step for e in run.events_of("run-resumed") if e.step is not None]
    numbered = [step for series in run.by_role("other", "counter") for step in _changes(series)]
    return sorted({*stated, *resumed, *numbered})


def is_any_unplaced(run: Run) -> bool:
    """Whether the log states a change, but no step of it."""
    stated = [e.step for e in run.events_of("stage-changed")]
    return None in stated and len(stated) <= _MOST_EVENTS


def _changes(series: Series) -> Iterator[int]:
    """The last step of every level of a metric that numbers stages."""
    named = words(series.tag)
    have = frozenset(named)
    is_length = any(pair in pairwise(named) for pair in _LENGTHS)
    if not (have & _STAGE or is_length) or have & _NOT_A_STAGE or series.axis != "step":
        return
    values = series.values
    if not np.isfinite(values).all() or len(np.unique(values)) > _MOST_LEVELS:
        return
    changed = np.flatnonzero(values[1:] != values[:-1])
    if len(changed) <= _MOST_LEVELS:
        yield from series.steps[changed].tolist()
