"""Gradients grow over many steps at a learning rate that is usual.

What happens: a product of many Jacobians (time steps of a recurrence, layers without
normalization) has a spectral radius above 1, and training makes it larger; each step is longer
than the last, until the loss follows. Clipping the norm bounds the step; a *lower* threshold clips
harder.

An objective that has no lower bound (a critic without a penalty, a score that is maximized) does
the same at any rate: the loss falls without end, and its gradient grows with the weights.

Evidence for: the gradient norm grows over several points before the loss does, or is far above the
loss before any update and ends the run within its first rows; the loss falls below zero without
end; the learning rate is unchanged and usual; no clipping; a recurrence; gradients grow toward the
input.

Evidence against: the learning rate jumped, or is far above what is usual; it comes from one step
to the next; float16 with a falling loss scale; the loss rises first or jumps; growth began with the
first steps or while the rate rose; no rate is known; nothing overflowed.

Confirm: log the norm of every layer's gradient for the steps before the onset.

Fix: clip the gradient norm (1.0 is a common start), normalize, gate or orthogonally initialize the
recurrence, shorten the unrolled length.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.causes._growth import EXPLANATIONS, leapt, weigh_resume
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.circumstances import backward_made_it
from nanautopsy.experts import has_experts, is_auxiliary
from nanautopsy.learning_rates import (
    from_the_start,
    highest,
    how_high,
    is_at_the_start,
    rising_before,
    steep_gradient,
)
from nanautopsy.model import Assessment, Finding, Run, Source
from nanautopsy.wording import phrase

_RECURRENCE = re.compile(r"(^|[._/\d])(lstm|gru|rnn)\w*([._/]|$)|weight_hh|recurrent_kernel", re.I)


def _assess(case: Case) -> Assessment:
    growths = case.found("grad-norm-growth")
    steep = _steep_from_the_start(case)
    if steep is not None:
        return _assess_steep(case, steep)
    if not growths:
        return quiet(phrase("the gradient norm does not grow before the onset"))
    growth = growths[0]
    points = growth.data.get("points")
    if not isinstance(points, int) or points < thresholds.GROWTH_POINTS:
        return quiet(
            phrase(
                "{growth}, but within {points} points: it came at once",
                growth=growth.text,
                points=points,
            )
        )
    weighing = Weighing()
    weighing.speaks_for(
        thresholds.STRONG,
        phrase("{growth}, over {count} points and more", growth=growth.text, count=2 * points),
        growth.source,
    )
    _weigh_loss(case, growth, weighing)
    _weigh_start(case, growth, weighing)
    _weigh_structure(case, weighing)
    _weigh_clipping(case, weighing)
    _weigh_rate(case, weighing)
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "the run computes in float16, whose end is reached long before gradients explode"
            ),
            half.source,
        )
    for finding in case.found("loss-term-growth"):
        if has_experts(case.run) and is_auxiliary(str(finding.source.tag)):
            weighing.speaks_against(
                thresholds.STRONG,
                phrase("{growth}: a router's, which has no bound", growth=finding.text),
                finding.source,
            )
            break
    for finding in case.found(*EXPLANATIONS):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    return weighing.fired()


def _steep_from_the_start(case: Case) -> Finding | None:
    """Gradients that are steep before any update, in a run that ends within its first rows."""
    onset, steep = case.onset, steep_gradient(case.run)
    if steep is None or onset is None or onset.step is None or onset.last_finite is None:
        return None
    at_once = any(from_the_start(case.run, f) for f in case.found("grad-norm-growth"))
    return steep if at_once or is_at_the_start(case.run, onset.step) else None


def _assess_steep(case: Case, steep: Finding) -> Assessment:
    """The first step is as long as the gradient: it needs no growth to break the run at once."""
    weighing = Weighing()
    weighing.speaks_for(thresholds.STRONG, steep.text, steep.source)
    _weigh_structure(case, weighing)
    _weigh_clipping(case, weighing)
    if highest(case.run, case.death) is not None:
        _weigh_rate(case, weighing)
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_against(
            thresholds.STRONG, phrase("float16 ends long before gradients explode"), half.source
        )
    onset = case.onset
    if onset is not None and onset.value == "nan" and backward_made_it(case.run, onset):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("gradients turned NaN while the loss was finite, without an overflow"),
            onset.source,
        )
    for finding in case.found(*EXPLANATIONS):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    return weighing.fired()


def _weigh_loss(case: Case, growth: Finding, weighing: Weighing) -> None:
    """Gradients that explode lead the loss, and end in an overflow."""
    if case.onset is None:
        weighing.speaks_against(
            thresholds.STRONG, phrase("nothing overflowed: gradients stayed finite"), growth.source
        )
    loss = next(iter(case.found("loss-growth")), None)
    if loss is None or loss.step is None or growth.step is None:
        return
    if leapt(case.run, loss, _began(growth)):
        weighing.speaks_against(
            thresholds.DECISIVE,
            phrase(
                "{loss}, of which it leapt most in one step behind an ordinary gradient: no "
                "update did that",
                loss=loss.text,
            ),
            loss.source,
        )
    if loss.data.get("descends"):
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "{loss}, downward: what is minimized has no lower bound, so that every step is "
                "a success and makes the next one longer",
                loss=loss.text,
            ),
            loss.source,
        )
        return
    points = loss.data.get("points")
    if loss.step > growth.step and not from_the_start(case.run, growth):
        # However suddenly: the step that gradients have made long enough breaks the loss at once.
        weighing.speaks_for(
            thresholds.MODERATE, phrase("{loss}, after the gradients", loss=loss.text), loss.source
        )
    elif isinstance(points, int) and points < thresholds.GROWTH_POINTS:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{loss}, within {points} points: it jumped", loss=loss.text, points=points),
            loss.source,
        )
    elif loss.step <= _began(growth):
        weighing.speaks_against(
            thresholds.MODERATE, phrase("{loss}, before the gradients", loss=loss.text), loss.source
        )


def _began(growth: Finding) -> int:
    """Last step at which the gradients had their usual level. A loss that is quadratic in what
    grows reaches ten times its level before they do."""
    began = growth.data.get("left")
    return began if isinstance(began, int) else -1


def _weigh_start(case: Case, growth: Finding, weighing: Weighing) -> None:
    """Growth that began at the start, or while the learning rate rose, is the rate's: unless the
    loss fell all the while, which no step that is too long makes it do."""
    if any(finding.data.get("descends") for finding in case.found("loss-growth")):
        return
    weigh_resume(case, growth, weighing)
    if from_the_start(case.run, growth):
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("it began with the first steps, as with a rate that is too high for the model"),
            growth.source,
        )
    rising = rising_before(case.run, growth.step)
    if rising is not None:
        weighing.speaks_against(
            thresholds.STRONG,
            phrase("{tag} was still rising when it began", tag=rising.tag),
            rising.source,
        )


def _weigh_structure(case: Case, weighing: Weighing) -> None:
    place = _recurrence(case.run)
    if place is not None:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("the model has a recurrence ({place})", place=place[0]),
            place[1],
        )


def _recurrence(run: Run) -> tuple[str, Source] | None:
    for checkpoint in run.checkpoints[:1]:
        for tensor in checkpoint.tensors:
            if _RECURRENCE.search(tensor.name):
                return tensor.name, tensor.at()
    for series in run.series:
        if series.layer is not None and _RECURRENCE.search(series.layer):
            return series.layer, series.source
    return None


def _weigh_clipping(case: Case, weighing: Weighing) -> None:
    clipping = case.fact("gradient_clipping")
    if clipping is None or not isinstance(clipping.value, (int, float)):
        return
    if clipping.value:
        weighing.speaks_against(
            thresholds.WEAK,
            phrase("gradients are clipped at {clipping:g}", clipping=clipping.value),
            clipping.source,
        )
    else:
        weighing.speaks_for(thresholds.WEAK, phrase("gradients are not clipped"), clipping.source)


def _weigh_rate(case: Case, weighing: Weighing) -> None:
    rate = highest(case.run, case.death)
    if rate is None:
        if case.run.by_role("grad_norm"):
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase("no learning rate is known, so that nothing says that it was usual"),
                case.run.by_role("grad_norm")[0].source,
            )
        return
    factor = how_high(case.run, rate.value)
    if factor >= thresholds.HIGH_LR_FACTOR:
        weighing.speaks_against(
            thresholds.STRONG if factor >= thresholds.EXTREME_LR_FACTOR else thresholds.MODERATE,
            phrase(
                "the learning rate reaches {rate:g}, {factor:.0f} times what is usual",
                rate=rate.value,
                factor=factor,
            ),
            rate.source,
        )
    elif factor <= 1.0:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("the learning rate of {rate:g} is usual", rate=rate.value),
            rate.source,
        )


CAUSE = Cause(
    id="gradient-explosion",
    title=phrase("gradients grew until they overflowed"),
    assess=_assess,
    needs=(
        Need(phrase("gradient norm"), lambda run: bool(run.by_role("grad_norm", "layer_gradient"))),
    ),
    remedies=(
        phrase("Clip the gradient norm, for example at 1.0; a lower threshold clips harder."),
        phrase("Normalize (LayerNorm, weight norm), or initialize recurrent weights orthogonally."),
    ),
    references=(
        "https://arxiv.org/abs/1211.5063",
        "https://github.com/canopyai/Orpheus-TTS/issues/78",
    ),
)
