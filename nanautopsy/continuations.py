"""Logs that go on where another one of the same writer ends: a run that was started again.

A process that is restarted opens a log of its own: another event file in the same directory,
``metrics_1.csv`` beside ``metrics_0.csv``, ``version_1`` beside ``version_0``. Or it appends to the
log of the one before, whose last steps it repeats. That is a resume, though no line says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from nanautopsy.attempts import attempts_within
from nanautopsy.model import LogEvent, Series, Source
from nanautopsy.wording import phrase

_NUMBER = re.compile(r"\d+")
_OBJECTIVES = ("loss", "grad_norm")
"""Roles by which it is told: training steps them in every process."""
_MOST_LOGS = 100


def continuations(series: Iterable[Series]) -> list[LogEvent]:
    """A resume for every log that goes on where a sibling's steps end, in order of steps.

    Logs whose steps begin anew are other runs or other ranks. An event's step is the last one
    before the new log's.
    """
    families: dict[tuple[str, str, int | None], list[Series]] = {}
    for one in series:
        if one.role in _OBJECTIVES and one.axis == "step" and len(one):
            family = families.setdefault((_place(one.source.path), one.tag, one.rank), [])
            family.extend(attempts_within(one))
    found: dict[tuple[str, int], LogEvent] = {}
    for members in families.values():
        if len(members) > _MOST_LOGS:
            continue
        for earlier, later in pairwise(sorted(members, key=lambda one: int(one.steps[0]))):
            if _goes_on(earlier, later):
                event = _event(earlier, later)
                found.setdefault((later.source.path, event.step or 0), event)
    return [found[key] for key in sorted(found, key=lambda key: key[1])]


def _place(path: str) -> str:
    """Where the logs of one run may lie: one directory, or directories that are numbered."""
    return _NUMBER.sub("#", path.rpartition("/")[0])


def _name(path: str) -> str:
    """What the logs of one writer have in common."""
    name = path.rpartition("/")[2]
    return "tfevents" if "tfevents" in name else _NUMBER.sub("#", name)


def _goes_on(earlier: Series, later: Series) -> bool:
    """Whether ``later`` begins behind the first step of ``earlier`` and near its last one; behind
    it, where no clock says which was written first; with the very next point, where its name is
    another."""
    interval = int(np.median(np.diff(earlier.steps))) if len(earlier) > 1 else 1
    first, last = int(later.steps[0]), int(earlier.steps[-1])
    if not int(earlier.steps[0]) < first <= last + 2 * max(1, interval):
        return False
    if earlier.source.path == later.source.path:
        return first <= last  # written behind it
    if _name(earlier.source.path) != _name(later.source.path):
        return last < first <= last + interval
    if earlier.times is None or later.times is None:
        return first >= last
    return bool(later.times[0] >= earlier.times[-1]) and int(later.steps[-1]) > last


def _event(earlier: Series, later: Series) -> LogEvent:
    before = earlier.steps[earlier.steps < later.steps[0]]
    text = phrase(
        "{later} goes on where {earlier} ends", later=later.source.path, earlier=earlier.source.path
    )
    if later.source.path == earlier.source.path:
        text = phrase(
            "{path} logs again from step {step} on",
            path=later.source.path,
            step=int(later.steps[0]),
        )
    return LogEvent(
        "run-resumed",
        text,
        Source(later.source.path, tag=later.tag, step=int(later.steps[0])),
        int(before[-1]),
        step_exact=True,
        time=None if later.times is None else float(later.times[0]),
    )
