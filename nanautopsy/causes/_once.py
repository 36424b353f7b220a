"""What tells a failure that happened once, of a device or a race, from one of the numbers."""

from __future__ import annotations

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.circumstances import calm_before
from nanautopsy.wording import phrase


def weigh_once(case: Case, weighing: Weighing) -> None:
    """A step that gave the same when it was computed again, and a gradient that was calm before."""
    for finding in case.near_onset("reproducible"):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    norm = None if case.onset is None else calm_before(case.run, case.onset)
    if norm is not None:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("{tag} was at its usual level right before", tag=norm.tag),
            norm.source,
        )
