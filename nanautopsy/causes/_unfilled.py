"""Memory that was reserved and not filled, as what was said and how training went on tell it: rows
that a vocabulary gained, parameters that a checkpoint lacks."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.circumstances import at_first_steps
from nanautopsy.detectors.load_report import is_own, keys_of
from nanautopsy.model import Finding
from nanautopsy.places import is_before_training
from nanautopsy.wording import phrase, shortlist


def weigh_resized(case: Case, weighing: Weighing) -> None:
    """A vocabulary that grew, where nothing finite was ever seen behind it; or whose rows are said
    to hold nothing, which shows when their token appears."""
    onset = case.onset
    for event in case.run.events_of("embeddings-resized"):
        placed = event.step is not None and not is_before_training(case.run, event)
        if event.data.get("unfilled") and not placed:
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("rows were added that nothing fills: {line}", line=event.text),
                event.source,
            )
            return
    if weighing.evidence or onset is None or onset.last_finite is not None:
        return
    for event in case.run.events_of("embeddings-resized")[:1]:
        if is_before_training(case.run, event) and at_first_steps(case.run, onset):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("rows were added, and nothing says what they hold: {line}", line=event.text),
                event.source,
            )


def are_unfilled_rows(case: Case) -> bool:
    """Whether the program says that only new rows of a vocabulary were left so."""
    return any(event.data.get("unfilled") for event in case.run.events_of("embeddings-resized"))


def weigh_own(case: Case, weighing: Weighing) -> None:
    """Parameters that the program's own class declares, new where nothing finite was ever seen.

    ``from_pretrained`` of transformers 5 builds the model without memory; what the checkpoint does
    not hold gets ``torch.empty``, and the model's ``_init_weights`` has to fill what is no layer of
    the library. Before, the class filled it as it was built, or not.
    """
    onset = case.onset
    if weighing.evidence or onset is None or onset.last_finite is not None:
        return
    if not at_first_steps(case.run, onset):
        return
    for event in case.run.events_of("weights-newly-initialized"):
        own = [key for key in keys_of(event) if is_own(key)]
        if own and event.data.get("model_class"):
            weighing.speaks_for(
                thresholds.MODERATE if event.data.get("table") else thresholds.WEAK,
                phrase(
                    "the checkpoint lacks {names}, no layer of the library: only the model's own "
                    "_init_weights fills it",
                    names=shortlist(own, 3),
                ),
                event.source,
            )
            return


def are_unread(case: Case, finding: Finding) -> bool:
    """Whether the last rows of a table are non-finite throughout while the training behind them is
    finite: an update that had broken them would have gone through the others, or shown at once."""
    if not (finding.data.get("whole_rows") and finding.data.get("last_rows")):
        return False
    step = finding.step
    return step is not None and any(
        np.isfinite(s.values[i])
        for s in case.run.by_role("loss", "grad_norm")
        for i in np.flatnonzero(s.steps > step)[: thresholds.FIRST_STEPS]
        if s.values[i] != 0.0
    )
