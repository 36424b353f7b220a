"""What the program says of its data, and whether it says so where the run died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run
from nanautopsy.places import is_before_training, place_of
from nanautopsy.signal import stretches
from nanautopsy.wording import Phrase, phrase

_SAID: dict[str, Phrase] = {
    "labels-mismatch": phrase("the program says that labels are missing: {line}"),
    "empty-sequence": phrase("the program says that a sequence is empty: {line}"),
    "odd-sample": phrase("the program says that a sample is odd: {line}"),
}

_AHEAD = 4
"""Batches: a loader without workers fetches one before its step, one with two workers four."""
_AUDIT = phrase("what is printed of the data has defects: {line}")


def _detect(run: Run) -> Iterator[Finding]:
    deaths = _deaths(run)
    for kind, said in _SAID.items():
        events = run.events_of(kind)
        audits = tuple(e for e in events if e.data.get("audit") and is_before_training(run, e))
        events = tuple(e for e in events if not e.data.get("audit"))
        if events:
            yield _finding(run, said, events, deaths)
        if audits:
            yield _finding(run, _AUDIT, audits, set())


def _finding(run: Run, said: Phrase, events: tuple[LogEvent, ...], deaths: set[int]) -> Finding:
    """Of one kind of statement: the first where the run died, each time that it did, if nowhere
    more was said, or the first of all."""
    places = [_place(run, event, deaths) for event in events]
    often = Counter(step for step in places if step is not None)
    fatal = [step for step in places if step in deaths]
    dead = _dead_steps(run)
    elsewhere = max(
        (n for step, n in often.items() if step not in deaths and step not in dead), default=0
    )
    only = bool(fatal) and often[fatal[0]] > elsewhere
    told = events[places.index(fatal[0])] if only else events[0]
    return Finding(
        id=told.kind,
        text=phrase(said, line=told.text),
        source=told.source,
        step=fatal[0] if only else None,
        data={
            "there": only,
            "count": len(events),
            "before": is_before_training(run, told),
            "nonfinite": told.data.get("nonfinite") is True,
        },
    )


def _place(run: Run, event: LogEvent, deaths: set[int]) -> int | None:
    """The step of what a line says. Loaders fetch batches ahead of the step, and bars are painted
    late: where the line names its batch, counted from 0 or from 1, and a death is that one's, it
    is what the line is about."""
    step, _ = place_of(run, event)
    batch = event.data.get("batch")
    if isinstance(batch, int) and step is not None and abs(batch - step) <= _AHEAD:
        return next((b for b in (batch, batch + 1) if b in deaths), step)
    return step


def _deaths(run: Run) -> set[int]:
    """The steps at which losses or gradients that were finite turned non-finite: the first of all,
    and of a run that goes on the others, too."""
    logged = [s for s in run.by_role("loss", "grad_norm") if s.axis == "step"]
    return {int(s.steps[start]) for s in logged for start, _ in stretches(~np.isfinite(s.values))}


def _dead_steps(run: Run) -> set[int]:
    """All logged steps at which they were non-finite: what is said there is no more of the data
    than of what is computed from it."""
    logged = [s for s in run.by_role("loss", "grad_norm") if s.axis == "step"]
    return {int(step) for s in logged for step in s.steps[~np.isfinite(s.values)]}


DETECTOR = Detector("data-statements", _detect)
