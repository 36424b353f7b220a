"""What a run started from: which checkpoint was loaded, and whether its weights were sound."""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Weighing
from nanautopsy.checkpoints.damage import weights
from nanautopsy.circumstances import at_first_steps
from nanautopsy.model import Finding, LogEvent, Onset, TensorHealth
from nanautopsy.signal import index_at, up_to
from nanautopsy.wording import phrase

SOON = 10
"""Steps after a load within which absurd weights show."""


def was_loaded(case: Case, path: str) -> bool:
    """Whether the log says that this checkpoint was loaded."""
    return bool(_loads(case, path))


def _loads(case: Case, path: str) -> list[LogEvent]:
    """What the log says of loading this checkpoint."""
    own = path.strip("./")
    found = []
    for event in case.run.events_of("weights-loaded", "run-resumed"):
        name = str(event.data.get("checkpoint") or "").strip("./")
        held = name.endswith(own) or own.endswith(name) or own in name
        if name and (held or name.rpartition("/")[2] in own.split("/")):
            found.append(event)
    return found


def loaded_before(case: Case, finding: Finding) -> bool:
    """Whether the checkpoint of a finding was loaded right before the onset: within a few steps
    of its own, or between the last finite row and the first that is not."""
    onset = case.onset
    if onset is None or onset.step is None:
        return False
    loads = _loads(case, finding.source.path)
    if finding.step is not None and loads and 0 <= onset.step - finding.step <= SOON:
        return True
    last = onset.last_finite
    return last is not None and any(
        e.step is not None and last <= e.step <= onset.step for e in loads
    )


def was_loaded_then(case: Case) -> bool:
    """Whether a checkpoint that holds the damage was loaded right before the onset."""
    return any(
        loaded_before(case, f)
        for f in case.found("nonfinite-parameters", "flipped-weight", "absurd-weight")
    )


def from_before(case: Case, step: int | None) -> bool:
    """Whether a checkpoint of that step was saved before anything was trained.

    One that says no step may be the run's own last save; one that is sound but for a few elements,
    beside a run that was broken from its first step on, is not.
    """
    onset = case.onset
    if step is None:
        return onset is not None and onset.persistent and at_first_steps(case.run, onset)
    steps = [int(s.steps[0]) for s in case.run.by_role("loss", "grad_norm") if len(s)]
    return step == 0 or (bool(steps) and step < min(steps))


def was_sound(case: Case) -> bool:
    """Whether a loss was ordinary with the weights as they were loaded."""
    onset = case.onset
    assert onset is not None and onset.step is not None
    return onset.quantity != "parameters" and any(
        len(s) and s.steps[0] < onset.step and abs(s.values[0]) <= thresholds.FIRST_LOSS_MAX
        for s in case.run.by_role("loss")
    )


def never_updated(case: Case) -> TensorHealth | None:
    """Where weights are non-finite that were saved before training: one beside them that is still
    as it was initialized, ones or zeros throughout, as no update leaves it."""
    onset = case.onset
    if onset is None or onset.quantity != "parameters" or not from_before(case, onset.step):
        return None
    for checkpoint in case.run.checkpoints:
        if checkpoint.step == onset.step and any(t.nonfinite for t in weights(checkpoint)):
            return next((t for t in weights(checkpoint) if _is_initial(t)), None)
    return None


def _is_initial(tensor: TensorHealth) -> bool:
    if len(tensor.shape) != 1 or tensor.numel < 2 or tensor.nonfinite or "running_" in tensor.name:
        return False
    return tensor.all_zero or (tensor.max_abs == 1.0 and tensor.rms == 1.0)


def trained_until(case: Case, step: int) -> bool:
    """Whether a number of training says that the run was finite at a step; that the weights that
    were loaded are finite says nothing of it."""
    return any(index_at(s, step) is not None for s in case.run.by_role("loss", "grad_norm"))


def weigh_time(case: Case, weighing: Weighing, *, sound: bool = False) -> None:
    """Weights that were bad when training began show at once; weights that are sound, and another
    model's, as long as the run learns nothing.
    """
    onset = case.onset
    if onset is None or onset.step is None:
        return
    if at_first_steps(case.run, onset):
        if onset.last_finite is not None and was_sound(case):
            return  # an ordinary loss came first: an update may have done it
        dead_with_what_was_loaded(onset, weighing)
    elif (
        onset.last_finite
        and not _is_first_row(case, onset.last_finite)
        and not _only_blew_up(case, onset)
    ):
        learned = not sound or _learned(case, onset.step)
        finite_before(onset, thresholds.STRONG if learned else thresholds.WEAK, weighing)


def _learned(case: Case, until: int) -> bool:
    """Whether a loss fell before that step, or lasted for long."""
    for series in case.run.by_role("loss"):
        before = up_to(series, until)
        if len(before) >= thresholds.LONG_SOUND:
            return True
        third = len(before) // 3
        if third and np.median(before[-third:]) <= _LEARNS * np.median(before[:third]):
            return True
    return False


_LEARNS = 0.9
"""A loss's last third over its first, by judgement: less is the scatter of batches."""


def _is_first_row(case: Case, step: int) -> bool:
    """Whether the only finite row is the first: the weights as they were loaded gave it, and what
    lies between it and the next is not seen."""
    starts = [int(s.steps[0]) for s in case.run.by_role("loss", "grad_norm") if len(s)]
    return bool(starts) and step <= min(starts) <= thresholds.FIRST_STEPS


def weigh_untouched(case: Case, weighing: Weighing) -> None:
    """Speaks against what only an update does to weights."""
    tensor = never_updated(case)
    if tensor is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "weights were non-finite before any update: {tensor} is as it was initialized",
                tensor=tensor.name,
            ),
            tensor.at(),
        )


def _only_blew_up(case: Case, onset: Onset) -> bool:
    """Whether all rows before the onset, a few, tell of one rise from the first on: no level of
    training was ever seen."""
    for series in case.run.by_role("loss"):
        before = up_to(series, onset.step)
        if series.axis == onset.axis and 1 < len(before) <= thresholds.CALM_POINTS:
            rises = bool(before.min() == before[0] > 0)
            return rises and bool(before[-1] >= thresholds.GROWTH_FACTOR * before[0])
    return False


def dead_with_what_was_loaded(onset: Onset, weighing: Weighing) -> None:
    """Speaks for weights that were bad as they were loaded."""
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase(
            "it was non-finite at step {step}, with the weights as they were loaded",
            step=onset.step,
        ),
        onset.source,
    )


def finite_before(onset: Onset, strength: float, weighing: Weighing) -> None:
    """Speaks against them."""
    weighing.speaks_against(
        strength,
        phrase("training was finite until step {last_finite}", last_finite=onset.last_finite),
        onset.source,
    )
