"""The router of a mixture of experts, or its balance loss, overflows.

What happens: router logits have nothing that bounds them; they grow until softmax is one-hot and,
in half precision, until exp or their square (the z-loss) is Inf. The balance loss divides by
counts that are 0 for an expert without tokens, or multiplies by the number of experts.

Evidence for: the router or its auxiliary loss is non-finite first, while the main loss is still
finite; router logits grow before it, or up to the reach of an exponential; all tokens go to one
expert before it.

Evidence against: the router turned together with everything else; no layer before it was watched,
so that it may just be the first that was; the model has no experts.

Confirm: log the largest router logit and the tokens per expert; set the auxiliary coefficient to 0
for a hundred steps.

Fix: compute the router in float32, add a z-loss, warm the auxiliary coefficient up, or lower the
router's learning rate.
"""

from __future__ import annotations

import math
import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Need, Weighing, quiet
from nanautopsy.circumstances import finite_layer_beside, loss_was_finite_at, says_first
from nanautopsy.experts import ROUTER, has_experts, is_auxiliary, is_router_logit, is_routing
from nanautopsy.model import Assessment, Finding, Series
from nanautopsy.signal import index_at, shown
from nanautopsy.wording import phrase

_COUNT = re.compile(r"(?:num|n)_?(?:local_|routed_)?experts$", re.IGNORECASE)
_MOST_EXPERTS = 4096
_NEAR = 0.8
"""Share of the way to the end that a logit has come, from where its last step led past it."""


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    onset = case.onset
    if onset is not None and onset.layer is not None and ROUTER.search(onset.layer):
        before = finite_layer_beside(case.run, onset)
        beside = ""
        if before is not None:
            beside = phrase(", while {layer} was finite there", layer=before.layer)
        told = before is not None or says_first(onset.source)
        weighing.speaks_for(
            # Where nothing before it was watched, it may just be the first that was.
            thresholds.STRONG if told else thresholds.MODERATE,
            phrase(
                "the first non-finite layer is the router {layer}{beside}",
                layer=onset.layer,
                beside=beside,
            ),
            onset.source,
        )
    _weigh_auxiliary(case, weighing)
    _weigh_logits(case, weighing)
    grown = [f for f in case.found("loss-term-growth") if is_auxiliary(str(f.source.tag))]
    for finding in grown[:1]:
        if len(grown) == len(case.found("loss-term-growth")):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{growth}; no other term of the loss did", growth=finding.text),
                finding.source,
            )
        else:
            weighing.speaks_for(thresholds.WEAK, finding.text, finding.source)
    for finding in () if grown else case.found("router-growth")[:1]:
        leads = finding.data.get("leads")
        weighing.speaks_for(
            thresholds.STRONG if leads else thresholds.MODERATE,
            phrase("{growth}, before gradients and the main loss did", growth=finding.text)
            if leads
            else finding.text,
            finding.source,
        )
    for finding in case.found("router-collapse"):
        death = case.death
        if death is None or finding.step is None or finding.step < death:
            weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("weight-growth"):
        if finding.layer is not None and ROUTER.search(finding.layer):
            weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
    if not weighing.evidence:
        return quiet(phrase("neither the router nor its auxiliary loss was non-finite first"))
    if onset is not None and len(onset.layers) > 1:
        others = [name for name in onset.layers if not ROUTER.search(name)]
        if len(others) > len(onset.layers) / 2:
            weighing.speaks_against(
                thresholds.MODERATE,
                phrase("{n} other layers were non-finite at the same step", n=len(others)),
                onset.source,
            )
    return weighing.fired()


def _weigh_logits(case: Case, weighing: Weighing) -> None:
    """Router logits past the reach of an exponential, finite where the loss is NaN: a softmax that
    does not subtract its maximum is Inf / Inf there."""
    onset = case.onset
    if onset is None or onset.step is None or onset.value != "nan":
        return
    narrow = any(
        ROUTER.search(key) and "16" in str(fact.value) and "bf" not in str(fact.value).lower()
        for key, fact in case.run.config.items()
    )
    half = narrow or case.states("compute_dtype", "F16") is not None
    reach = thresholds.FP16_EXP_MAX if half else thresholds.FP32_EXP_MAX
    for series in case.run.by_role("other"):
        index = index_at(series, onset.step) if is_router_logit(series.tag) else None
        if index is None or not index or series.axis != onset.axis:
            continue
        if _weigh_approach(case, weighing, series, index, reach):
            return
        largest, before = abs(float(series.values[index])), np.abs(series.values[:index])
        # Up to the reach nothing happened, past it everything: no need to be much higher.
        if np.isfinite(largest) and largest > reach and largest > float(before.max()):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase(
                    "{tag} is {value} where the loss is NaN, higher than ever before: past {reach} "
                    "an exponential is Inf",
                    tag=series.tag,
                    value=shown(largest),
                    reach=shown(reach),
                ),
                series.at(index),
            )
            return


def _weigh_approach(
    case: Case, weighing: Weighing, series: Series, index: int, reach: float
) -> bool:
    """A logit that is NaN with everything else, and had come to where the sum of as many
    exponentials as there are experts ends."""
    if np.isfinite(series.values[index]):
        return False
    before = np.abs(series.values[:index])
    counts = [f.value for key, f in case.run.config.items() if _COUNT.search(key)]
    experts = max([2, *(int(c) for c in counts if isinstance(c, int) and 1 < c < _MOST_EXPERTS)])
    last, end = float(before[-1]), reach - math.log(experts)
    if not (np.isfinite(before).all() and last <= reach and last >= before.max()):
        return False
    # As much again as since the point before: the way to the point that is NaN.
    ahead = last + max(last - float(before[-2]), 0.0) if len(before) > 1 else last
    if ahead < end or last < _NEAR * end:
        return False
    weighing.speaks_for(
        thresholds.STRONG,
        phrase(
            "{tag} was {value} right before, higher than ever and rising: the sum of the "
            "exponentials of {n} such logits is Inf past {reach}",
            tag=series.tag,
            value=shown(last),
            n=experts,
            reach=shown(end),
        ),
        series.at(index - 1),
    )
    return True


def _weigh_auxiliary(case: Case, weighing: Weighing) -> None:
    """The auxiliary loss or a metric of the router that turned alone, or before the loss."""
    onset = case.onset
    for finding in case.at_onset("left-domain", since=True):
        if is_routing(str(finding.source.tag)):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{finding}: what is divided by it is not finite", finding=finding.text),
                finding.source,
            )
            return
    for finding in case.found("loss-term-alone", "nonfinite-metric", "nonfinite-loss"):
        if not is_auxiliary(str(finding.data.get("tag", ""))):
            continue
        alone = finding.id == "loss-term-alone"
        if _is_upstream(case, finding):
            weighing.speaks_for(
                # What came in may have been Inf already.
                thresholds.MODERATE,
                phrase(
                    "{finding}, where the loss is NaN: the Inf came first", finding=finding.text
                ),
                finding.source,
            )
            return
        if finding.id == "nonfinite-loss":
            continue
        # What turns at the same step as everything else tells nothing of where it began.
        first = onset is not None and (onset.step is None or finding.step == onset.step)
        if not alone and not (first and _is_alone(case, finding)):
            continue
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
        if finding.data.get("value") in ("inf", "-inf"):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("it is Inf, as past the reach of an exponential"),
                finding.source,
            )
        return


def _is_upstream(case: Case, finding: Finding) -> bool:
    """Whether the metric is Inf at the step at which the loss is NaN: Inf becomes NaN on its way
    through the forward pass, and never the other way round."""
    onset = case.onset
    infinite = finding.data.get("value") in ("inf", "-inf")
    return infinite and onset is not None and onset.value == "nan" and finding.step == onset.step


def _is_alone(case: Case, finding: Finding) -> bool:
    """Whether a loss was logged, finite, where the metric turned."""
    return finding.step is not None and loss_was_finite_at(case.run, finding.step)


CAUSE = Cause(
    id="moe-router",
    title=phrase("the router of a mixture of experts overflows"),
    assess=_assess,
    needs=(Need(phrase("sign of a mixture of experts"), has_experts),),
    remedies=(
        phrase("Compute router logits and their softmax in float32, and add a z-loss on them."),
        phrase(
            "Raise the auxiliary coefficient slowly, and divide by `max(1, tokens)` per expert."
        ),
    ),
    references=(
        "https://github.com/AI-Hypercomputer/maxtext/issues/3864",
        "https://github.com/jingyaogong/minimind/issues/567",
        "https://arxiv.org/abs/2202.08906",
    ),
)
