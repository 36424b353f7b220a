"""Something was lost when the run resumed: optimizer state, scaler, scheduler or data position.

What happens: weights are restored and the rest begins anew. Without its second moments Adam takes
its first steps at full length in every direction; a scheduler that counts from zero warms up
again or starts at the peak; a loss scale of 2**16 overflows where it had settled lower. A few
steps later the run is where it was, or it is not.

Evidence for: loss, learning rate or gradient norm jumps at the very point where the run resumed,
and the failure follows within a few points; what was calm up to the resume is not finite in the
first row behind it; the program says that a state was not restored, or that other code or another
number of devices saved it.

Evidence against: the run went on smoothly after the resume; the failure comes long after it, or
before; nothing grew from the resume to the onset: a new stage raises rate and loss on purpose.

Confirm: compare the first logged points after the resume with the last ones before it; list what
the checkpoint directory holds.

Fix: restore optimizer, scheduler, scaler, random state and data position together; where the
state is gone, warm the learning rate up again.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._resume import lost_state
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.model import Assessment, Finding, LogEvent, Run, Series, Source
from nanautopsy.signal import first_nonfinite
from nanautopsy.wording import phrase


def _assess(case: Case) -> Assessment:
    jumps = case.found("resume-jump")
    death = case.death
    lost = lost_state(case)
    elsewhere = next(iter(case.run.events_of("saved-elsewhere")), None)
    if not jumps and lost is None and elsewhere is not None and death is not None:
        return _assess_lost(case, elsewhere, death)
    if not jumps and lost is None:
        return _assess_dead(case)
    if death is None:
        return quiet(
            phrase("something jumps where the run resumed, but no step is known for the failure")
        )
    near = [f for f in jumps if _until_death(case, f) is not None]
    if not near and lost is not None:
        return _assess_lost(case, lost, death)
    if not near:
        return quiet(phrase("{jumps}, after the onset", jumps=jumps[0].text))
    weighing = Weighing()
    first = min(near, key=lambda f: not _counts_alike(case, f))
    assert first.step is not None
    between = _until_death(case, first) or 0
    if between > thresholds.LR_JUMP_WINDOW:
        return quiet(
            phrase("{first}, {between} points before the onset", first=first.text, between=between)
        )
    for finding, strength in zip(
        _one_each(near), (thresholds.STRONG, thresholds.MODERATE), strict=False
    ):
        weighing.speaks_for(strength, finding.text, finding.source)
    if between <= thresholds.RESUME_WINDOW:
        _weigh_near(between, first.source, weighing)
    for said in (lost, elsewhere):
        if said is not None:
            _weigh_lost(said, weighing)
    if lost is None:
        _weigh_weights(case, death, weighing)
    if _counts_alike(case, first):
        _weigh_calm(case, first.step, death, weighing)
    return weighing.fired()


def _weigh_weights(case: Case, death: int, weighing: Weighing) -> None:
    """A checkpoint from before the failure that is broken itself."""
    for finding in case.found("absurd-weight", "flipped-weight", "nonfinite-parameters"):
        if finding.step is not None and finding.step <= death:
            weighing.speaks_against(
                thresholds.STRONG,
                phrase("{finding}: the weights are what changed", finding=finding.text),
                finding.source,
            )
            return


def _assess_dead(case: Case) -> Assessment:
    """What was calm up to the resume and dead in the first row behind it, and nothing between that
    could have jumped: rows may lie an epoch apart."""
    weighing = Weighing()
    for finding in case.found("dead-at-resume")[:1]:
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    if not weighing.evidence:
        return quiet(phrase("nothing jumps where the run resumed"))
    for finding in case.found("absurd-weight", "flipped-weight")[:1]:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{finding}: the weights are what changed", finding=finding.text),
            finding.source,
        )
    return weighing.fired()


def _counts_alike(case: Case, jump: Finding) -> bool:
    """Whether the step of the death counts what the jump's does."""
    return case.onset is None or jump.data.get("axis", "step") == case.onset.axis


def _until_death(case: Case, jump: Finding) -> int | None:
    """Logged points from a jump to the death, by the counter of the jump; ``None`` when the death
    came before."""
    axis, death = jump.data.get("axis", "step"), case.death
    if jump.step is None or death is None:
        return None
    if _counts_alike(case, jump):
        return _points(case.run, jump.step, death)
    ends = [
        int(s.steps[i])
        for s in case.run.by_role("loss", "grad_norm")
        if s.axis == axis and (i := first_nonfinite(s)) is not None
    ]
    return _points(case.run, jump.step, min(ends)) if ends else None


def _weigh_lost(lost: LogEvent, weighing: Weighing) -> None:
    """Circumstances that differ may do no harm; a state that is gone does."""
    weighing.speaks_for(
        thresholds.STRONG if lost.kind == "state-not-restored" else thresholds.MODERATE,
        phrase("the program says so: {line}", line=lost.text),
        lost.source,
    )


def _weigh_near(between: int, source: Source, weighing: Weighing) -> None:
    weighing.speaks_for(
        thresholds.MODERATE,
        phrase("the failure follows within {between} points", between=between),
        source,
    )


def _assess_lost(case: Case, lost: LogEvent, death: int) -> Assessment:
    """Where the log begins with the resume, nothing is seen from before it to be compared with."""
    starts = [int(s.steps[0]) for s in case.run.by_role("loss", "grad_norm") if len(s)]
    start = lost.step if lost.step is not None else min(starts, default=death)
    between = _points(case.run, start, death)
    if between is None or between > thresholds.LR_JUMP_WINDOW:
        return quiet(phrase("the state that was not restored is far from the onset"))
    weighing = Weighing()
    telling = lost.kind == "state-not-restored" or start > thresholds.FIRST_ROW
    if telling:
        _weigh_lost(lost, weighing)
    else:  # whatever kills a run in its first steps may have: nothing is seen from before them
        weighing.speaks_for(
            thresholds.WEAK, phrase("the program says so: {line}", line=lost.text), lost.source
        )
    if between <= thresholds.RESUME_WINDOW:
        _weigh_near(between, lost.source, weighing)
    grown = case.found("grad-norm-growth", "loss-growth", "diverged-loss")
    for finding in grown[:1] if telling else []:
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase("{finding}, after the resume", finding=finding.text),
            finding.source,
        )
    _weigh_calm(case, start, death, weighing)
    return weighing.fired()


def _weigh_calm(case: Case, start: int, death: int, weighing: Weighing) -> None:
    """Nothing that grew from the resume to the onset: a new stage raises rate and loss on purpose,
    and what a lost state does to the weights shows before they are NaN."""
    if case.onset is None:
        return
    calm: list[Series] = []
    for series in case.run.by_role("loss", "grad_norm"):
        inside = (series.steps >= start) & (series.steps < death)
        values = np.abs(series.values[inside])
        if len(values) < thresholds.GROWTH_POINTS or not np.isfinite(values).all():
            continue
        if values[-1] >= thresholds.SUDDEN_FACTOR * float(values[0]):
            return
        calm.append(series)
    if calm:
        weighing.speaks_against(
            thresholds.DECISIVE,
            phrase(
                "{tag} did not grow from the resume to the onset: it came at once", tag=calm[0].tag
            ),
            case.onset.source,
        )


def _one_each(jumps: list[Finding]) -> list[Finding]:
    """The first jump of each kind, two kinds at most: they have one reason."""
    kinds: dict[object, Finding] = {}
    for finding in jumps:
        kinds.setdefault(finding.data.get("what"), finding)
    return list(kinds.values())[:2]


def _points(run: Run, start: int, end: int) -> int | None:
    """Logged points from ``start`` to ``end``; ``None`` when it ends before."""
    if end < start:
        return None
    counts = [
        int(np.count_nonzero((s.steps >= start) & (s.steps <= end)))
        for s in run.by_role("loss", "grad_norm")
    ]
    return max(counts, default=0)


CAUSE = Cause(
    id="resume-mismatch",
    title=phrase("the resume lost part of the state"),
    assess=_assess,
    needs=(
        Need(
            phrase("resume"),
            lambda run: bool(run.events_of("run-resumed", "state-not-restored", "saved-elsewhere")),
        ),
    ),
    remedies=(
        phrase(
            "Save and load optimizer, scheduler, scaler, random generators and data position "
            "together."
        ),
        phrase(
            "Where the optimizer state is gone, warm the learning rate up again over some hundred "
            "steps."
        ),
    ),
    references=(
        "https://github.com/NVIDIA/apex/issues/480",
        "https://github.com/pytorch/torchtitan/issues/1213",
    ),
)
