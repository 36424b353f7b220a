"""What was seen at the onset and before it: small questions that causes ask of a run."""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Onset, Run, Series, Source
from nanautopsy.signal import first_nonfinite, index_at, persistent, up_to


def at_first_steps(run: Run, onset: Onset) -> bool:
    """Whether the onset lies within the first steps, before training changed the weights much.

    Where the step counter does not start at the beginning (a log that states no steps, a resumed
    run), the position in the series decides.
    """
    if onset.step is None:
        return False
    # Epochs that another artifact counts say nothing of where the steps begin.
    every = [s for s in run.by_role("loss", "grad_norm") if len(s)]
    losses: list[Series] = [s for s in every if s.axis == onset.axis] or every
    start = min((int(s.steps[0]) for s in losses), default=onset.step)
    if onset.step - start <= thresholds.FIRST_STEPS and start <= thresholds.FIRST_STEPS:
        return True
    # A row every few steps: the first one that was logged tells of the steps before it.
    if losses and onset.step == start <= thresholds.FIRST_ROW:
        return True
    return onset.step <= thresholds.FIRST_STEPS


def died_in_the_first_step(run: Run, onset: Onset) -> bool:
    """Whether the very first forward pass was non-finite, though rows are steps apart.

    The Trainer's filter adds the average of a window so far for a loss that is not finite
    (``Trainer.train``: ``tr_loss += tr_loss / n``): its first row is 0.0 only where the first loss
    was not.
    """
    first = [s.values[0] for s in run.by_role("loss") if len(s) and s.steps[0] == onset.step]
    return onset.masked and "trainer" in run.facts and 0.0 in first


def finite_layer_beside(run: Run, onset: Onset) -> Series | None:
    """A layer whose activation was logged and finite at the onset's step.

    A forward pass poisons every layer behind the first bad one, so this one lies before it; where
    there is none, the first layer that was logged may just be the first that was watched.
    """
    if onset.step is None:
        return None
    for series in run.by_role("layer_activation"):
        index = index_at(series, onset.step)
        if series.axis == onset.axis and series.layer not in onset.layers and index is not None:
            if np.isfinite(series.values[index]):
                return series
    return None


def says_first(source: Source) -> bool:
    """Whether the program says itself that what it found was the first of what it watched."""
    return re.search(r"\bfirst\b", source.excerpt or "", re.IGNORECASE) is not None


def loss_was_finite_at(run: Run, step: int) -> bool:
    """Whether a training loss was logged at ``step``, finite and not masked; where none was, a
    number that died for good later, and so depends on the weights."""
    if not run.by_role("loss"):
        return any(_dies_after(s, step) for s in run.by_role("other", "eval_loss"))
    for series in run.by_role("loss"):
        index = index_at(series, step)
        if index is None or not np.isfinite(series.values[index]):
            continue
        # Exactly 0 is what a filter makes of NaN; one that lets NaN through later is none.
        if series.values[index] != 0 or not np.isfinite(series.values[index:]).all():
            return True
    return False


def _dies_after(series: Series, step: int) -> bool:
    """Whether it was finite at ``step``, and non-finite right behind it or from a later one on."""
    index, dead = index_at(series, step), first_nonfinite(series)
    if index is None or dead is None:
        return False
    return index + 1 == dead or (index < dead and persistent(series, dead))


def gradients_were_finite_at(run: Run, step: int) -> bool:
    """Whether a gradient norm was logged at ``step``, and finite."""
    norms = [(s, index_at(s, step)) for s in run.by_role("grad_norm")]
    return any(i is not None and np.isfinite(s.values[i]) for s, i in norms)


def gradients_recovered(run: Run, onset: Onset) -> bool:
    """Whether a gradient norm was finite again behind the onset, at a step whose loss was: a layer
    that a NaN of its input switches off (a ReLU's) has a gradient of 0."""
    step = onset.step
    if step is None:
        return False
    lost = {
        int(at)
        for loss in run.by_role("loss")
        if loss.axis == onset.axis
        for at in loss.steps[~np.isfinite(loss.values) & (loss.steps > step)]
    }
    for norm in run.by_role("grad_norm"):
        sound = norm.steps[np.isfinite(norm.values) & (norm.steps > step)]
        if norm.axis == onset.axis and not lost.issuperset(sound.tolist()):
            return True
    return False


def mostly_spoiled(run: Run, onset: Onset) -> bool:
    """Whether most gradient norms from the onset on are non-finite, or most steps are said to have
    non-finite gradients."""
    step = onset.step
    if step is None:
        return False
    norms = [s for s in run.by_role("grad_norm") if s.axis == onset.axis]
    after = [s.values[s.steps >= step] for s in norms]
    bad = sum(int((~np.isfinite(values)).sum()) for values in after)
    said = {e.step for e in run.events_of("nonfinite-text") if e.data.get("quantity") == "gradient"}
    spoiled = max(bad, len(said - {None}))
    return spoiled > sum(int(np.isfinite(values).sum()) for values in after)


def backward_made_it(run: Run, onset: Onset) -> bool:
    """Whether gradients were the first to turn, at a step whose forward pass was finite."""
    if onset.step is None or onset.quantity not in ("grad_norm", "gradient", "gradients"):
        return False
    said = [e for e in run.events_of("nonfinite-text") if e.step == onset.step]
    told = onset.quantity == "gradient" and any(e.data.get("forward_sound") for e in said)
    if not told and not loss_was_finite_at(run, onset.step):
        return False
    # A trainer that hides NaN logs the average of the finite steps of a window.
    return not onset.masked or onset.last_finite == onset.step - 1


def sound_gradients_beside(run: Run, step: int) -> Series | None:
    """A layer whose gradient was finite and not 0 at a step at which those of others were not: what
    is between them and the loss was sound, and so was the forward pass."""
    at = [(s, index_at(s, step)) for s in run.by_role("layer_gradient", "grad_norm")]
    values = [(s, float(s.values[i])) for s, i in at if i is not None]
    bad = [s for s, value in values if not np.isfinite(value)]
    # Other ranks, and other launches of the run, have a backward pass of their own.
    whose = {(s.source.path, s.rank) for s in bad}
    turned = {s.tag for s in bad}
    return next(
        (
            s
            for s, value in values
            if np.isfinite(value) and value != 0 and s.tag not in turned
            if (s.source.path, s.rank) in whose
        ),
        None,
    )


def own_backward(run: Run, onset: Onset) -> Series | None:
    """A gradient norm that turned where the loss of its own part of the model was finite, though
    another part's was not: parts that train in turn hand on what the first one's update did."""
    if onset.step is None or onset.quantity != "loss":
        return None
    for norm in run.by_role("grad_norm"):
        turned, part = first_nonfinite(norm), norm.tag.rpartition("/")[0]
        if norm.axis != onset.axis or not part or turned is None:
            continue
        own = [s for s in run.by_role("loss") if s.tag.rpartition("/")[0] == part]
        at = [s.values[i] for s in own if (i := index_at(s, onset.step)) is not None]
        if turned and int(norm.steps[turned]) == onset.step and at and np.isfinite(at).all():
            return norm
    return None


def calm_before(run: Run, onset: Onset) -> Series | None:
    """A gradient norm, or where none was logged a loss, at its usual level before the onset."""
    measured = run.by_role("grad_norm") or run.by_role("loss")
    if (told := _told_calm(run, onset)) is not None:
        return told
    if not any(s.axis == onset.axis and len(up_to(s, onset.step)) for s in measured):
        measured = run.by_role("other")
    for series in measured:
        if series.axis != onset.axis:
            continue
        if is_calm(series, onset.step):
            return series
    return None


def is_calm(series: Series, step: int | None) -> bool:
    """Whether its last value before ``step`` was at the level that it usually had."""
    before = up_to(series, step)
    settled = len(before) >= thresholds.CALM_POINTS
    return settled and bool(before[-1] <= thresholds.SUDDEN_FACTOR * float(np.median(before)))


_TOLD = re.compile(
    r"\b(?P<tag>[a-z_]*loss|\w*(?:bce|mse|nll|ce))\b(?: (?:was|is|of))? ?[(=:]? ?"
    r"(?P<value>\d+\.\d+(?:e[-+]?\d+)?)",
    re.IGNORECASE,
)


def _told_calm(run: Run, onset: Onset) -> Series | None:
    """A loss of few rows that the statement of bad gradients gives once more, on its usual level:
    a forward pass that is about to overflow gives none."""
    told = _TOLD.search(onset.source.excerpt or "")
    if told is None or onset.quantity not in ("gradient", "gradients"):
        return None
    for series in run.by_role("loss"):
        before = up_to(series, onset.step)
        few = 2 <= len(before) < thresholds.CALM_POINTS and np.isfinite(before).all()
        if few and 0 <= float(told["value"]) <= thresholds.SUDDEN_FACTOR * abs(before[-1]):
            return series
    return None


def losses_that_hide(run: Run, onset: Onset) -> Series | None:
    """A loss that stays finite for long after gradients have become non-finite for good, or that is
    exactly 0 from then on: it may have been finite because something replaces NaN."""
    norms = [s for s in run.by_role("grad_norm") if s.axis == onset.axis]
    for loss in run.by_role("loss"):
        after = loss.values[loss.steps > (onset.step or 0)]
        if onset.step is None or len(after) < thresholds.CALM_POINTS:
            continue
        if (after == 0).all():
            # The Trainer's 0.0 stands for NaN; what it logged before was computed.
            return None if "trainer" in run.facts else loss
        dead = [not np.isfinite(s.values[s.steps >= onset.step]).any() for s in norms]
        if np.isfinite(after).all() and any(dead):
            return loss
    return None
