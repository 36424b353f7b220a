"""The learning rate jumps within the run, and training follows it off the cliff.

What happens: a step that is too long for the curvature overshoots; each further step overshoots
more, so loss and gradients grow by a constant factor a step until they leave the format. A
schedule that jumps (a resumed scheduler counted in other units, a restart without warmup, a
multiplier applied twice) does that to a run that was fine.

Evidence for: the logged learning rate rises many times between neighbouring points, against its
own history; loss and grad norm rise after it, not before.

Evidence against: growth began before the jump; the run went on after it, for long or at its
usual level; the rise is a
warmup from zero.

Confirm: plot the schedule alone for the whole run; resume from the checkpoint before the jump
with the rate held.

Fix: mend the schedule; resume from the last checkpoint before the jump.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.checkpoints.states import state_series
from nanautopsy.model import Assessment, Finding
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    jumps = case.found("lr-jump")
    death = case.death
    if not jumps:
        return quiet(phrase("the learning rate never jumps against its own history"))
    if death is None:
        return quiet(phrase("the learning rate jumps, but no step is known for the failure"))
    before = [f for f in jumps if f.step is not None and f.step <= death]
    if not before:
        return quiet(phrase("the learning rate jumps only after the onset"))
    weighing = Weighing()
    jump = before[-1]
    assert jump.step is not None
    elsewhere = _is_elsewhere(case, jump)
    between = 0 if elsewhere else _points_between(case, jump.step, death)
    if elsewhere and not _within_two_epochs(case, jump, death):
        return quiet(phrase("the learning rate jumps in an epoch that is not the onset's"))
    if between <= thresholds.LR_JUMP_WINDOW or jump.data.get("negative"):
        # Below 0 it begins at 0: what it does takes its time.
        weighing.speaks_for(thresholds.DECISIVE, jump.text, jump.source)
    else:
        weighing.speaks_for(thresholds.MODERATE, jump.text, jump.source)
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{between} points were logged between the jump and the onset", between=between),
            jump.source,
        )
    for kind in () if elsewhere else ("loss-growth", "grad-norm-growth"):
        # A log and a tracker tell the same rise twice.
        for growth in _earliest(case.found(kind)):
            _weigh_growth(growth, jump, weighing)
    if not jump.data.get("negative") and not elsewhere:
        _weigh_calm(case, jump, death, weighing)
    # The same jump may be logged by steps and by epochs.
    places = [f.step for f in jumps if f.step is not None]
    for resumed in case.found("resume-jump"):
        at = any(_is_at(resumed, step) for step in places)
        if resumed.data.get("what") == "learning_rate" and at:
            weighing.speaks_against(
                thresholds.DECISIVE,
                phrase("{resumed}: the resume did it", resumed=resumed.text),
                resumed.source,
            )
            break
    return weighing.fired(
        remedies=(
            phrase(
                "Resume from the last checkpoint before step {step} with the learning rate at "
                "{rate:.3g}.",
                step=jump.step,
                rate=jump.data.get("from"),
            ),
        )
    )


def _is_elsewhere(case: Case, jump: Finding) -> bool:
    """Whether the rate is logged once an epoch and the run's losses by steps alone: their numbers
    do not compare."""
    losses = case.run.by_role("loss")
    return (
        jump.data.get("axis") == "epoch"
        and bool(losses)
        and all(series.axis == "step" for series in losses)
    )


def _within_two_epochs(case: Case, jump: Finding, death: int) -> bool:
    """Whether the share of its steps at which the run died is that of the jump among the epochs,
    to within two of them; both were logged from the beginning to the end."""
    began, ended = jump.data.get("began"), jump.data.get("ended")
    if not isinstance(began, float) or not isinstance(ended, float):
        return False
    long = max(case.run.by_role("loss"), key=len)
    if len(long) < 2 or long.begins:
        return False
    interval = float(np.median(np.diff(long.steps)))
    if long.steps[0] > interval:
        return False
    share = death / (float(long.steps[-1]) + interval)
    return began <= share <= ended


def _is_at(resumed: Finding, step: int) -> bool:
    """Whether a jump at ``step`` is the one at a resume, whose own step may be on either side."""
    return (
        resumed.step is not None
        and resumed.last_good is not None
        and resumed.last_good <= step <= resumed.step
    )


def _earliest(grown: tuple[Finding, ...]) -> list[Finding]:
    """The first to rise of several series of one kind."""
    placed = [(f.step, f) for f in grown if f.step is not None]
    return [min(placed, key=lambda pair: pair[0])[1]] if placed else []


def _points_between(case: Case, start: int, end: int) -> int:
    counts = [
        int(np.count_nonzero((s.steps > start) & (s.steps <= end)))
        for s in case.run.by_role("loss", "grad_norm")
    ]
    return max(counts, default=0)


def _weigh_growth(growth: Finding, jump: Finding, weighing: Weighing) -> None:
    assert jump.step is not None
    if growth.step is None:
        return
    if growth.step >= jump.step:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{growth}, after the learning rate", growth=growth.text),
            growth.source,
        )
    else:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{growth}, from before the jump on", growth=growth.text),
            growth.source,
        )


def _weigh_calm(case: Case, jump: Finding, death: int, weighing: Weighing) -> None:
    """Points after the jump at which nothing had grown: overshooting shows from the start."""
    assert jump.step is not None
    calm, enough = 0, thresholds.LR_CALM_POINTS
    for series in case.run.by_role("loss", "grad_norm"):
        values = np.abs(np.where(np.isfinite(series.values), series.values, np.inf))
        before = values[series.steps < jump.step][-thresholds.LR_JUMP_WINDOW :]
        after = values[(series.steps > jump.step) & (series.steps < death)]
        if not len(before) or not len(after):
            continue
        if after.max() > thresholds.SUDDEN_FACTOR * float(np.median(before)):
            return
        calm = max(calm, len(after))
        if len(after) == death - jump.step - 1 and case.states("compute_dtype", "F16") is None:
            enough = thresholds.LR_CALM_STEPS
    if calm >= enough:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "loss and gradients stayed at their level for {calm} points after the jump",
                calm=calm,
            ),
            jump.source,
        )


CAUSE = Cause(
    id="lr-spike",
    title=phrase("the learning rate jumped"),
    assess=_assess,
    needs=(
        Need(
            phrase("learning rate"),
            lambda run: bool(
                run.by_role("learning_rate")
                or run.events_of("rate-set")
                or state_series(run.checkpoints, "learning_rate", "learning_rate")
            ),
        ),
    ),
    remedies=(
        phrase(
            "Print the whole schedule without training and look for the jump; on resume, check "
            "what the scheduler counts (steps, epochs, micro-steps)."
        ),
        phrase(
            "Clip the gradient norm (a lower threshold clips harder), so that one bad step cannot "
            "end the run."
        ),
    ),
    references=("https://github.com/mosaicml/llm-foundry/issues/232",),
)
