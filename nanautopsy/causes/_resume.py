"""What the program says that a resume lost."""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case
from nanautopsy.model import LogEvent

_OF_RESUME = re.compile(
    r"resum|restor|\b(?:re-?)?load|checkpoint|ckpt|snapshot|KeyError|carried"
    r"|\d\s*(?:/|of)\s*\d",
    re.IGNORECASE,
)


def lost_state(case: Case) -> LogEvent | None:
    """The last statement before the failure that some state was not restored.

    A run that begins has a new optimizer too: the line, or another one, must speak of a resume, or
    stand behind rows of training.
    """
    run, death = case.run, case.death
    resumed = bool(run.events_of("run-resumed", "weights-loaded"))
    said = [
        event
        for event in run.events_of("state-not-restored")
        if resumed
        or _OF_RESUME.search(event.text) is not None
        or (event.step or 0) > thresholds.FIRST_ROW
    ]
    before = [e for e in said if e.step is None or death is None or e.step <= death]
    last = before or said
    return last[-1] if last else None
