"""The products of queries and keys grow past the format, or past what softmax can use.

What happens: an attention logit is a dot product of a query and a key. When the norms of both
projections grow, the logits grow with their product. Eager attention keeps the logits in the
compute format: in float16 they become Inf at 65504, and softmax, which subtracts the row's
maximum, then computes Inf - Inf = NaN. In bfloat16 and float32 the range is 3.4e38; there,
logits of 1e4 and more make every row one-hot long before, so that gradients vanish or jump
(entropy collapse) and training diverges.

Evidence for: query and key projections that grow much more than the other weights; logged
attention logits far above 1e4, or ones predicted from projections and norm gains; the first
non-finite module lies in attention; the fused kernel (which accumulates in float32) is fine where
eager is not.

Evidence against: the first non-finite layer lies elsewhere; projections stay as they were; the
logits that the weights of the last sound checkpoint predict are those of any sound model.

Confirm: log the largest attention logit a layer; run the same step with `attn_implementation`
sdpa or flash_attention_2.

Fix: normalize queries and keys (QK-norm) or cap the logits, lower the learning rate of the
projections, use a fused kernel, bfloat16.
"""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.detectors.attention import ATTENTION, QUERY_KEY
from nanautopsy.detectors.predicted_logits import predicted
from nanautopsy.model import Assessment, Finding
from nanautopsy.signal import up_to
from nanautopsy.wording import phrase

_SCORES = re.compile(r"score|logit|\bqk|energ", re.IGNORECASE)


_MEASURED = ("attention-logits-large", "attention-logits-past-exp")


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("projection-growth", *_MEASURED):
        weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("nonfinite-attention-logit"):
        if finding.role == "initiating":
            usual = finding.data.get("value") == "nan" and _was_usual(case, finding)
            strength = thresholds.WEAK if usual else thresholds.STRONG
            weighing.speaks_for(strength, finding.text, finding.source)
    for finding in case.found("reported-nonfinite")[:1]:
        # A row without a key is NaN, in softmax; a mask's -Inf is no Inf of a sum.
        infinite = finding.data.get("value") == "inf" and finding.role == "initiating"
        if infinite and ATTENTION.search(finding.layer or "") and _SCORES.search(finding.text):
            weighing.speaks_for(
                thresholds.STRONG,
                phrase("{finding}: the logits themselves", finding=finding.text),
                finding.source,
            )
    if not weighing.evidence:
        return quiet(
            phrase(
                "no sign of growing queries and keys: neither their weights nor logged attention "
                "logits grew beyond the others"
            )
        )
    _weigh_prediction(case, weighing)
    onset = case.onset
    # A layer that is known by its logits alone says nothing beside them.
    by_logits = {s.layer for s in case.run.by_role("attention_logit")}
    if onset is not None and onset.layer is not None and onset.layer not in by_logits:
        if ATTENTION.search(onset.layer) or QUERY_KEY.search(onset.layer):
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("the first non-finite layer, {layer}, lies in attention", layer=onset.layer),
                onset.source,
            )
        else:
            weighing.speaks_against(
                thresholds.STRONG,
                phrase(
                    "the first non-finite layer, {layer}, is no attention layer", layer=onset.layer
                ),
                onset.source,
            )
    eager = case.states("attention", "eager")
    if eager is not None:
        weighing.speaks_for(
            thresholds.WEAK,
            phrase("eager attention keeps the logits in the compute format"),
            eager.source,
        )
    half = case.states("compute_dtype", "F16")
    if half is not None:
        weighing.speaks_for(
            thresholds.WEAK, phrase("in float16 a logit past 65504 is Inf"), half.source
        )
    for finding in case.found("lr-jump"):
        weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    return weighing.fired()


def _was_usual(case: Case, finding: Finding) -> bool:
    """Whether what turned NaN had the size of trained models' logits right before."""
    for series in case.run.by_role("attention_logit"):
        before = np.abs(up_to(series, finding.step))
        if series.tag == finding.source.tag and len(before):
            return bool(before[-1] <= thresholds.ATTENTION_LOGIT_USUAL)
    return False


def _weigh_prediction(case: Case, weighing: Weighing) -> None:
    """Logits that follow from the weights of the last sound checkpoint: large ones speak for it,
    and ones far from the end of the format against."""
    finding, death = predicted(case.run), case.death
    value = None if finding is None else finding.data.get("value")
    if finding is not None and isinstance(value, float):
        if finding.step is not None and death is not None and finding.step > death:
            return
        if value >= thresholds.ATTENTION_LOGIT_LARGE:
            weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
        elif value <= thresholds.ATTENTION_LOGIT_USUAL and not case.found(*_MEASURED):
            weighing.speaks_against(
                thresholds.WEAK,
                phrase("{finding}, as in any sound model", finding=finding.text),
                finding.source,
            )


CAUSE = Cause(
    id="attention-overflow",
    title=phrase("attention logits grew past the format"),
    assess=_assess,
    remedies=(
        phrase("Normalize queries and keys before their product (QK-norm), or cap the logits."),
        phrase(
            "Use a fused kernel (`attn_implementation='sdpa'` or `'flash_attention_2'`), which "
            "accumulates logits in float32."
        ),
        phrase(
            "Lower the learning rate of the query and key projections, or give them weight decay."
        ),
    ),
    references=(
        "https://arxiv.org/abs/2302.05442",
        "https://github.com/QwenLM/Qwen3-VL/issues/1077",
        "https://github.com/QwenLM/Qwen3/issues/910",
    ),
)
