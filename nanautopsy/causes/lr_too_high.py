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
from nanautopsy.causes._rate_height import weigh_height, weigh_settings
from nanautopsy.causes._unseen_climb import weigh_unseen
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.detectors.rl_metrics import is_reinforcement
from nanautopsy.learning_rates import (
    from_the_start,
    highest,
    how_high,
    rising_before,
    steep_gradient,
    summed_over_batch,
)
from nanautopsy.model import Assessment, Finding, Series
from nanautopsy.signal import up_to
from nanautopsy.tag_words import words
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
        weigh_first_entropy(case, weighing)
        summed = summed_over_batch(case.run)
        if summed is not None:
            weighing.speaks_for(thresholds.MODERATE, summed.text, summed.source)
    weigh_height(case, rate, weighing)
    weigh_settings(case, rate, weighing)
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
    for finding in case.found(*EXPLANATIONS):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    steep = steep_gradient(case.run)
    if early is not None and steep is not None:
        weighing.speaks_against(thresholds.STRONG, steep.text, steep.source)
    if early is not None:
        _weigh_other_beginnings(case, early, weighing)
    else:
        weigh_unseen(case, factor, rises, weighing)


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
