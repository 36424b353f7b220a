"""The learning rate is too high from the start, or there was no warmup.

What happens: a step longer than 2 over the sharpest curvature overshoots; the next one overshoots
more. Loss and gradients grow by a factor a step, from the first steps or as soon as a warmup
passes the edge. Adam's first steps have their full length whatever the gradient is, which is why
it wants a warmup. The rate of a recipe belongs to its batch size.

Evidence for: loss, gradients or weights grow from the first steps on, or while the rate still
rises; the first logged loss is already absurd; the rate is far above what is usual for the
optimizer and its momentum, also where only one finite row was logged; it starts at its peak; a
momentum of 1; a rate times weight decay above 2, with which each step turns every weight around and
makes it larger; a loss that is the sum over its batch, where steps grow with the gradient.

Evidence against: a tiny rate fails too; the run trained well for long; it comes from one step to
the next; it was non-finite at the very first step, before any update; the rate jumped later, or is
far below what is usual for a loss of order one; gradients were steep before any update.

Confirm: a tenth of the rate, everything else equal.

Fix: lower the peak, warm up longer, scale the rate with the batch size, clip the gradient norm.
"""

from __future__ import annotations

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes._growth import EXPLANATIONS, weigh_first_entropy, weigh_resume
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.detectors.rl_metrics import is_reinforcement
from nanautopsy.learning_rates import (
    Rate,
    breaks_at_once,
    endless_momentum,
    from_the_start,
    highest,
    how_high,
    long_momentum,
    rising_before,
    steep_gradient,
    steps_with_the_loss,
    summed_over_batch,
    turning_decay,
)
from nanautopsy.model import Assessment, Finding, Onset, Series
from nanautopsy.quantities import quantity_words
from nanautopsy.roles import words
from nanautopsy.signal import up_to
from nanautopsy.wording import phrase

_BOOTSTRAPPED = frozenset({"td", "bellman"})
_GROWTH = (
    "diverged-loss",
    "loss-growth",
    "grad-norm-growth",
    "parameter-norm-growth",
    "huge-first-loss",
)


def _assess(case: Case) -> Assessment:
    rate = highest(case.run, case.death)
    if rate is None:
        return quiet(phrase("no learning rate is known up to the onset"))
    if rate.value <= thresholds.TINY_LR:
        return quiet(phrase("the learning rate never passes {rate:g}", rate=rate.value))
    weighing = Weighing()
    early = _early_growth(case)
    if early is not None:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("{early}, from the first steps on", early=early.text),
            early.source,
        )
    if early is not None:
        weigh_first_entropy(case, weighing)
        summed = summed_over_batch(case.run)
        if summed is not None:
            weighing.speaks_for(thresholds.MODERATE, summed.text, summed.source)
    _weigh_height(case, rate, weighing)
    _weigh_settings(case, rate, weighing)
    rising = _while_rising(case)
    if rising is not None:
        turned = any(_turned(case, f) for f in case.found("diverged-loss"))
        weighing.speaks_for(
            thresholds.STRONG if turned or _exploded(case) else thresholds.MODERATE,
            phrase("{tag} was still rising when it happened", tag=rising.tag),
            rising.source,
        )
        if 1 < how_high(case.run, rate.value) < thresholds.HIGH_LR_FACTOR:
            weighing.speaks_for(
                thresholds.WEAK,
                phrase("the learning rate reaches {rate:g}, above what is usual", rate=rate.value),
                rate.source,
            )
    if not any(evidence.supports for evidence in weighing.evidence):
        return quiet(phrase("nothing grew from the first steps on, and the learning rate is usual"))
    if early is None and rising is None:
        _weigh_soundness(case, weighing)
    _weigh_rivals(case, early, rising is not None, how_high(case.run, rate.value), weighing)
    return weighing.fired()


def _exploded(case: Case) -> bool:
    """Whether the loss left its level by more than any batch takes it: updates multiplied it."""
    grown = [f.data.get("ratio") for f in case.found("loss-growth")]
    return any(isinstance(r, float) and r >= thresholds.EXPLODED for r in grown)


def _early_growth(case: Case) -> Finding | None:
    """Growth or divergence that began within the first points of what was logged."""
    for finding in case.findings:
        if finding.id not in _GROWTH:
            continue
        if finding.role == "cascade" or finding.data.get("descends"):
            continue
        if from_the_start(case.run, finding):
            return finding
    return None


def _weigh_height(case: Case, rate: Rate, weighing: Weighing) -> None:
    factor = how_high(case.run, rate.value)
    if factor >= thresholds.EXTREME_LR_FACTOR:
        strength = thresholds.STRONG
    elif factor >= thresholds.HIGH_LR_FACTOR:
        strength = thresholds.MODERATE
    else:
        usual = "optimizer" in case.run.facts and factor <= 1 / thresholds.HIGH_LR_FACTOR
        if usual and factor > thresholds.LOW_LR_FACTOR:
            weighing.speaks_against(
                thresholds.WEAK,
                phrase("the learning rate reaches {rate:g}, which is usual", rate=rate.value),
                rate.source,
            )
        if factor <= thresholds.LOW_LR_FACTOR and steps_with_the_loss(case.run) is None:
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase(
                    "the learning rate reaches {rate:g}, far below what is usual", rate=rate.value
                ),
                rate.source,
            )
        return
    momentum = long_momentum(case.run)
    text = phrase(
        "the learning rate reaches {rate:g}, {factor:.0f} times what is usual",
        rate=rate.value,
        factor=factor,
    )
    if momentum is not None:
        text = phrase(
            "the learning rate reaches {rate:g} with a momentum of {momentum:g}, together "
            "{factor:.0f} times what is usual",
            rate=rate.value,
            momentum=momentum,
            factor=factor,
        )
    weighing.speaks_for(
        strength,
        text,
        rate.source,
    )


def _weigh_settings(case: Case, rate: Rate, weighing: Weighing) -> None:
    """Settings beside the rate with which every step makes the next one longer."""
    momentum = endless_momentum(case.run)
    if momentum is not None:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase("a momentum of {momentum} forgets no gradient", momentum=momentum.value),
            momentum.source,
        )
    product = turning_decay(case.run, rate.value)
    if product is not None:
        weighing.speaks_for(
            thresholds.DECISIVE,
            phrase(
                "learning rate times weight decay is {product:g}: each step multiplies the weights "
                "by {factor:.3g}",
                product=product,
                factor=1 - product,
            ),
            case.run.facts["weight_decay"].source,
        )


def _weigh_soundness(case: Case, weighing: Weighing) -> None:
    """A rate past the limit of stability multiplies errors at each step, and shows it soon."""
    grown = [f.data.get("began", f.step) for f in case.findings if f.id in _GROWTH]
    known = [step for step in grown if isinstance(step, int)]
    begins = min(known, default=None if case.onset is None else case.onset.step)
    for series in case.run.by_role("loss"):
        before = up_to(series, begins)
        long = len(before) >= thresholds.LONG_SOUND
        if long and np.median(before[-10:]) <= np.median(before[:10]):
            weighing.speaks_against(
                thresholds.STRONG,
                phrase("it trained soundly with that rate for {n} points", n=len(before)),
                series.source,
            )
            return


def _turned(case: Case, diverged: Finding) -> bool:
    """Whether the rise of the rate is what took the loss with it: as its shape says, or because the
    loss was thrown far above its beginning before it came to rest."""
    if diverged.data.get("with_rate"):
        return True
    first = diverged.data.get("from")
    for series in case.run.by_role("loss"):
        if (series.source.path, series.tag) == (diverged.source.path, diverged.source.tag):
            thrown = float(series.values[series.steps >= (diverged.step or 0)].max(initial=0.0))
            return isinstance(first, float) and thrown >= thresholds.GROWTH_FACTOR * first
    return False


def _while_rising(case: Case) -> Series | None:
    """The learning rate's series, where it rose at its last points before something grew."""
    grown = [f for f in case.findings if f.id in ("loss-growth", "grad-norm-growth")]
    starts = [f.step for f in grown if f.step is not None and f.role != "cascade"]
    return rising_before(case.run, min(starts, default=case.death))


def _weigh_rivals(
    case: Case, early: Finding | None, rises: bool, factor: float, weighing: Weighing
) -> None:
    """``rises``: whether the rate was rising, so that, where it is far above the usual, some step
    was the first that was too long by much; ``factor``: the rate over the usual."""
    breaks = breaks_at_once(case.run, factor)
    climbs = rises and breaks
    for finding in case.found(*EXPLANATIONS):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    steep = steep_gradient(case.run)
    if early is not None and steep is not None:
        weighing.speaks_against(thresholds.STRONG, steep.text, steep.source)
    if early is not None:
        _weigh_other_beginnings(case, early, weighing)
    onset = case.onset
    if onset is None or early is not None:
        return
    if onset.last_finite is None:
        if factor >= thresholds.EXTREME_LR_FACTOR and _updated_before(onset):
            return
        weighing.speaks_against(
            thresholds.STRONG,
            phrase(
                "non-finite from the first point on: {quantity}",
                quantity=quantity_words(onset.quantity),
            ),
            onset.source,
        )
    elif case.found("loss-growth", "grad-norm-growth", "parameter-norm-growth") or climbs:
        return
    elif breaks and _hides_the_climb(case, onset):
        weighing.speaks_for(
            thresholds.MODERATE,
            phrase(
                "it died within its first {count} steps, of which hardly a row was logged",
                count=onset.step,
            ),
            onset.source,
        )
    elif not _hides_growth(case, onset, factor):
        weighing.speaks_against(
            thresholds.STRONG, phrase("nothing grew before it: it came at once"), onset.source
        )


def _hides_the_climb(case: Case, onset: Onset) -> bool:
    """Whether one or two rows are all that was logged before the onset, beginning with that of the
    beginning, and several updates lie between the last of them and the onset."""
    if onset.axis != "step" or onset.step is None or onset.last_finite is None:
        return False
    losses = [s for s in case.run.by_role("loss") if len(s) and s.steps[0] <= 1]
    if not losses or onset.step - onset.last_finite <= thresholds.FIRST_STEPS:
        return False
    rows = max(int(np.count_nonzero(s.steps <= onset.last_finite)) for s in losses)
    return rows < thresholds.EARLY_POINTS


def _hides_growth(case: Case, onset: Onset, factor: float) -> bool:
    """Whether all that was finite are the weights as they began, and the updates behind them, of a
    rate that is a mistake, are not seen: two of these, or one of a rate past all measure."""
    if onset.axis != "step" or onset.step is None or onset.last_finite is None:
        return False
    updates = onset.step - onset.last_finite
    enough = updates > 1 or factor >= thresholds.EXTREME_LR_FACTOR**3
    if factor < thresholds.EXTREME_LR_FACTOR or not enough:
        return False
    starts = [int(s.steps[0]) for s in case.run.by_role("loss") if len(s)]
    return bool(starts) and onset.last_finite <= min(starts) <= thresholds.FIRST_STEPS


def _updated_before(onset: Onset) -> bool:
    """Whether steps were taken before the first row, which does not show them."""
    return onset.axis == "step" and onset.step is not None and onset.step > thresholds.FIRST_STEPS


def _weigh_other_beginnings(case: Case, early: Finding, weighing: Weighing) -> None:
    """A policy's losses follow what it meets, a value that is fitted to itself runs away at any
    rate, and a resumed run begins with what was restored."""
    weigh_resume(case, early, weighing)
    if not _BOOTSTRAPPED.isdisjoint(words(str(early.data.get("tag") or early.source.tag or ""))):
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("what is fitted there is the value of the next step, which grows with it"),
            early.source,
        )
    if is_reinforcement(case.run):
        series = case.run.by_role("loss")[0] if case.run.by_role("loss") else case.run.series[0]
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("a policy is trained, whose losses grow with what it meets"),
            series.source,
        )


CAUSE = Cause(
    id="lr-too-high",
    title=phrase("the learning rate is too high"),
    assess=_assess,
    needs=(
        Need(
            phrase("learning rate"),
            lambda run: bool(run.by_role("learning_rate")) or "learning_rate" in run.facts,
        ),
    ),
    remedies=(
        phrase("Try a tenth of the learning rate; if that trains, search between."),
        phrase(
            "Warm up over more steps, and scale the rate with the batch size that the recipe used."
        ),
        phrase("Clip the gradient norm (a lower threshold clips harder)."),
    ),
    references=(
        "https://github.com/mosaicml/llm-foundry/issues/232",
        "https://github.com/facebookresearch/maskrcnn-benchmark/issues/295",
        "https://github.com/deepspeedai/DeepSpeedExamples/issues/531",
    ),
)
