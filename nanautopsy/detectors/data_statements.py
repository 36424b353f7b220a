"""What the program says of its data, and whether it says so where the run died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run
from nanautopsy.places import is_before_training, place_of
from nanautopsy.wording import Phrase, phrase

_SAID: dict[str, Phrase] = {
    "labels-mismatch": phrase("the program says that labels are missing: {line}"),
    "empty-sequence": phrase("the program says that a sequence is empty: {line}"),
    "odd-sample": phrase("the program says that a sample is odd: {line}"),
}


def _detect(run: Run) -> Iterator[Finding]:
    death = _death(run)
    for kind, said in _SAID.items():
        events = run.events_of(kind)
        if events:
            yield _finding(run, said, events, death)


def _finding(run: Run, said: Phrase, events: tuple[LogEvent, ...], death: int | None) -> Finding:
    """Of one kind of statement: the one where the run died, if nowhere more was said, or the
    first."""
    places = [place_of(run, event)[0] for event in events]
    often = Counter(places)
    there = often.pop(death, 0) if death is not None else 0
    only = there > max((n for step, n in often.items() if step is not None), default=0)
    told = events[places.index(death)] if only else events[0]
    return Finding(
        id=told.kind,
        text=phrase(said, line=told.text),
        source=told.source,
        step=death if only else None,
        data={
            "there": only,
            "count": len(events),
            "before": is_before_training(run, told),
        },
    )


def _death(run: Run) -> int | None:
    """First step at which a loss or a gradient was logged non-finite."""
    bad = [
        s.steps[~np.isfinite(s.values)]
        for s in run.by_role("loss", "grad_norm")
        if s.axis == "step"
    ]
    return min((int(steps[0]) for steps in bad if len(steps)), default=None)


DETECTOR = Detector("data-statements", _detect)
