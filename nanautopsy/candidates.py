"""Which findings make a run non-finite, which only look like it, and which of them came first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nanautopsy.model import Axis, Finding, Run
from nanautopsy.objectives import is_named_total
from nanautopsy.scaler_skips import is_scaled
from nanautopsy.signal import first_nonfinite, stretches
from nanautopsy.tag_words import words

QUANTITY = {
    "nonfinite-layer-activation": ("activations", 0),
    "nonfinite-attention-logit": ("attention logits", 0),
    "reported-nonfinite": ("reported", 0),
    "nonfinite-loss": ("loss", 1),
    "masked-loss": ("loss", 1),
    "backward-nonfinite": ("gradients", 2),
    "nonfinite-layer-gradient": ("gradients", 2),
    "nonfinite-grad-norm": ("grad_norm", 2),
    "gradient-sentinel": ("grad_norm", 2),
    "loss-scale-collapse": ("gradients", 2),
    "steps-skipped": ("gradients", 2),
    "nonfinite-layer-parameter": ("parameters", 3),
    "nonfinite-parameters": ("parameters", 3),
    "sampling-assert": ("probabilities", 3),
    "nonfinite-moments": ("optimizer moments", 4),
    "nonfinite-eval-loss": ("eval_loss", 5),
    "nonfinite-metric": ("metric", 6),
}
"""Finding to quantity and its place within one step: forward, loss, backward, update."""

_AXES: tuple[Axis, ...] = ("step", "record", "epoch", "samples")
"""Counters, most exact first."""


def candidates_of(run: Run, findings: Sequence[Finding]) -> list[Finding]:
    """The findings that count, earliest first."""
    found = [f for f in findings if f.id in QUANTITY and _counts(run, f, findings)]
    if _has_losses(run):
        # Arithmetic warnings come from metrics too, and values are printed to look at masks:
        # beside a run that is finite they are no failure of training.
        strong = any(not _is_weak(f) for f in found)
        found = [f for f in found if strong or not _is_weak(f)]
    found = [f for f in found if not (_is_weak(f) and _is_refuted(f, found))]
    return sorted([*found, *_leading_metrics(findings, found)], key=_order)


def axis_of(finding: Finding) -> Axis:
    """What the finding's step counts."""
    axis = finding.data.get("axis", "step")
    return next((known for known in _AXES if known == axis), "step")


def _order(finding: Finding) -> tuple[bool, int, int, int]:
    """Earliest step first; within a step forward, loss, backward, update."""
    unknown = finding.step is None
    axis = _AXES.index(axis_of(finding))
    place = _WEAK_PLACE if _is_weak(finding) else QUANTITY[finding.id][1]
    return unknown, axis, finding.step or 0, place


def _counts(run: Run, finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether it makes the run non-finite, or is one of the patterns that look like it."""
    if finding.id in ("nonfinite-grad-norm", "nonfinite-layer-gradient"):
        return not (finding.data.get("skipped") or _is_placeholder(run, finding))
    if finding.id == "nonfinite-layer-parameter" and finding.last_good is None:
        # No weight comes back: a ratio or an angle of weights had no value yet.
        return bool(finding.data.get("persistent"))
    if finding.id == "nonfinite-eval-loss":
        return _is_evaluation_failure(run, finding)
    if finding.id == "nonfinite-loss":
        early = _is_refuted_by_rows(run, finding)
        return not (early or _is_outside_the_total(run, finding) or _is_empty_mean(run, finding))
    if finding.id == "nonfinite-metric":
        # What is NaN until there is something to measure is a placeholder, and so is what never is
        # beside what always is: the score of a class that does not occur.
        never = finding.last_good is None
        placeholder = never and (not finding.data.get("persistent") or _has_sound_metric(run))
        return not placeholder and not _has_losses(run)
    if finding.id == "reported-nonfinite":
        if _is_preamble(run, finding):
            return False
        if finding.data.get("quantity") == "gradient" and _says_a_skip(run, finding, findings):
            return False
        if finding.data.get("beside_moving"):
            return False
        return not (finding.data.get("quantity") == "input" and _is_passed_over(run, finding))
    return True


def _leading_metrics(findings: Iterable[Finding], candidates: Sequence[Finding]) -> list[Finding]:
    """Metrics that died for good between the last finite loss and the first that is not.

    A divergence or a loss term that is logged beside the objective is part of it; what is NaN now
    and then, or from the beginning, is a placeholder.
    """
    losses = [f for f in candidates if f.id == "nonfinite-loss" and f.data.get("persistent")]
    if not losses:
        return []
    first = min(losses, key=_order)
    return [
        f
        for f in findings
        if f.id == "nonfinite-metric"
        and f.data.get("persistent")
        and f.last_good is not None
        and f.step is not None
        and axis_of(f) == axis_of(first)
        and first.last_good == f.step
    ]


_WEAK_PLACE = 7
"""Behind everything that was measured at the same step."""


def _is_weak(finding: Finding) -> bool:
    """A statement that need not be about training."""
    weak = finding.data.get("quantity") in ("warning", "value") or finding.data.get("aside")
    return bool(weak) and finding.id == "reported-nonfinite"


def _is_refuted(weak: Finding, found: Iterable[Finding]) -> bool:
    """Whether what was measured, and turned later, was finite after the statement: it was not
    about training."""
    return any(
        not _is_weak(f)
        and f.last_good is not None
        and weak.step is not None
        and axis_of(f) == axis_of(weak)
        and f.last_good > weak.step
        for f in found
    )


def _is_preamble(run: Run, said: Finding) -> bool:
    """Whether it was said before the first step of a training that stayed sound, and not behind it:
    of data that were then mended, of a check that is switched on, of what was changed in a code."""
    line = said.data.get("last_line")
    return (
        said.step is None
        and isinstance(line, int)
        and _loss_is_sound(run)
        and any(
            s.source.path == said.source.path and s.lines is not None and line < int(s.lines[0])
            for s in run.by_role("loss")
            if len(s)
        )
    )


def _is_refuted_by_rows(run: Run, finding: Finding) -> bool:
    """Whether the same loss, which another artifact gives row by row, was finite at that step and
    the next: a progress bar shows its last count beside numbers of later steps."""
    axis, step, tag = axis_of(finding), finding.step, finding.data.get("tag")
    points = finding.data.get("points")
    if step is None or not isinstance(points, int):
        return False
    return any(
        s.tag == tag
        and s.axis == axis
        and s.rank == finding.data.get("rank")
        and s.source.path != finding.source.path
        and len(s) > points
        and bool(np.isfinite(s.values[(s.steps >= step) & (s.steps <= step + 1)]).all())
        and {step, step + 1} <= set(s.steps.tolist())
        and first_nonfinite(s) is not None
        for s in run.by_role("loss")
    )


def _is_outside_the_total(run: Run, finding: Finding) -> bool:
    """Whether a term was non-finite for a time, or from the first step to the last, while the total
    was finite at the same steps: it is not added yet, or never, and a placeholder is logged."""
    points = finding.data.get("points")
    never = finding.last_good is None and isinstance(points, int) and points >= _PERIODS
    if finding.data.get("persistent") and not never:
        return False
    losses = [s for s in run.by_role("loss") if s.axis == axis_of(finding)]
    terms = [s for s in losses if s.tag == finding.data.get("tag") and s.rank is None]
    totals = [s for s in losses if is_named_total(s.tag) and s not in terms]
    if len(terms) != 1 or is_named_total(terms[0].tag):
        return False
    bad = terms[0].steps[~np.isfinite(terms[0].values)]
    return any(np.isin(bad, s.steps[np.isfinite(s.values) & (s.values != 0)]).all() for s in totals)


_MEAN = frozenset("avg average mean running moving smoothed smooth smoothened ema window".split())


def _is_empty_mean(run: Run, finding: Finding) -> bool:
    """Whether a mean of the last losses was NaN at its first point alone, or at the first of each
    epoch as well: of no loss yet. One that holds a NaN holds it for as long as its window."""
    found = [s for s in run.by_role("loss") if s.tag == finding.data.get("tag")]
    if finding.data.get("persistent") or finding.last_good is not None or len(found) != 1:
        return False
    values, steps = found[0].values, found[0].steps
    bad = ~np.isfinite(values)
    if _MEAN.isdisjoint(words(found[0].tag)) or not np.isnan(values[bad]).all():
        return False
    begins, ends = np.array(list(stretches(bad))).T
    gaps = np.diff(steps[begins])
    regular = (gaps == gaps[:1]).all()
    # A bar shows the text of its last change with a count that went on.
    short = (ends - begins).max() <= _REPAINTED
    return bool(begins[0] == 0 and regular and short and (~bad).sum() >= _PERIODS * bad.sum())


_REPAINTED = 3


def _has_sound_metric(run: Run) -> bool:
    """Whether some metric was finite throughout."""
    return any(len(s) > 1 and np.isfinite(s.values).all() for s in run.by_role("other"))


def _has_losses(run: Run) -> bool:
    """Whether any loss, evaluation loss or gradient norm was logged."""
    return any(len(s) for s in run.by_role("loss", "eval_loss", "grad_norm"))


def _is_passed_over(run: Run, said: Finding) -> bool:
    """Whether every statement of bad inputs says that the batch was skipped, or stands above rows
    of a training that stayed sound: nothing of them reached the model."""
    last = said.data.get("last_line")
    went_on = isinstance(last, int) and any(
        s.source.path == said.source.path
        and s.lines is not None
        and int((s.lines > last).sum()) >= _PERIODS
        for s in run.by_role("loss")
    )
    return (bool(said.data.get("skipped")) or went_on) and _loss_is_sound(run)


def _is_placeholder(run: Run, finding: Finding) -> bool:
    """Whether a norm was never finite, beside another one that always was, and training went on:
    of what is frozen."""
    if _is_periodic(run, finding):
        return _loss_is_sound(run)
    if finding.last_good is not None or not finding.data.get("persistent"):
        return False
    losses = [s for s in run.by_role("loss") if s.axis == axis_of(finding)]
    if losses and not any((s.steps > (finding.step or 0)).any() for s in losses):
        return False
    norms = [s for s in run.by_role("grad_norm") if s.tag != finding.data.get("tag")]
    return _loss_is_sound(run) and any(len(s) and np.isfinite(s.values).all() for s in norms)


def _is_periodic(run: Run, finding: Finding) -> bool:
    """Whether a norm is NaN at all steps but every n-th: it is computed where micro-batches have
    been accumulated, and a placeholder is written beside the others."""
    for series in run.by_role("grad_norm"):
        if series.tag != finding.data.get("tag") or series.axis != axis_of(finding):
            continue
        finite = np.isfinite(series.values)
        gaps = np.diff(np.flatnonzero(finite))
        alike = len(gaps) >= _PERIODS and gaps[0] > 1 and bool((gaps == gaps[0]).all())
        return alike and bool(np.isnan(series.values[~finite]).all())
    return False


_PERIODS = 4
"""Times that a pattern must come again to be one."""


def _says_a_skip(run: Run, said: Finding, findings: Iterable[Finding]) -> bool:
    """Whether what is said of gradients is of steps that were skipped: their norms show it, or
    every statement says so and they are few (a run that skips every step fails) and, without a
    trace of a loss scaler, no oftener than one that is searched for in a run whose format nothing
    states; the loss is sound."""
    norms = [f for f in findings if f.id in ("nonfinite-grad-norm", "nonfinite-layer-gradient")]
    skipped = all(f.data.get("skipped") for f in norms)
    count, points = said.data.get("count"), max((len(s) for s in run.by_role("loss")), default=0)
    few = isinstance(count, int) and 2 * count < points
    scaled = is_scaled(run)
    rare = scaled or not (said.data.get("frequent") or "compute_dtype" in run.facts)
    told = bool(norms) or (bool(said.data.get("skipped")) and few and rare)
    return skipped and told and _loss_is_sound(run)


def _loss_is_sound(run: Run) -> bool:
    """Every logged training loss finite, and none masked."""
    losses = [s for s in run.by_role("loss") if len(s)]
    return bool(losses) and all(
        np.isfinite(s.values).all() and (s.values != 0).any() for s in losses
    )


def _is_evaluation_failure(run: Run, finding: Finding) -> bool:
    """An evaluation loss that ends non-finite; placeholders before and between are none."""
    if finding.data.get("persistent"):
        # An evaluation that was never run, or that has no data, gives NaN from the beginning on,
        # beside a training loss that is fine. In another format than training it was run.
        cast = run.facts.get("evaluation_dtype")
        if cast is not None and cast.value == "F16":
            return True
        return not (finding.last_good is None and _loss_is_sound(run))
    if _is_mostly_infinite(finding):
        return True
    return not _loss_is_sound(run) and finding.last_good is not None


_FINITE_FIRST = 3
"""Evaluations in a row with a number, behind which Inf is a value and no placeholder."""


def _is_mostly_infinite(finding: Finding) -> bool:
    """Whether an evaluation that had numbers comes out Inf from a point on, but for a few times: an
    overflow that depends on the batches. What was not evaluated is NaN, or Inf from the start."""
    position, count, points = (finding.data.get(k) for k in ("position", "count", "points"))
    if not (isinstance(position, int) and isinstance(count, int) and isinstance(points, int)):
        return False
    infinite = finding.data.get("value") in ("inf", "-inf")
    return (
        infinite
        and position >= _FINITE_FIRST
        and count > _FINITE_FIRST * (points - position - count)
    )
