"""An attention row with no key left: softmax over nothing but -Inf is 0/0.

What happens: softmax subtracts the row's maximum, and where every key is masked with -Inf that
maximum is -Inf: ``-Inf - -Inf`` is NaN. Padding rows, a causal mask added to a padding mask
(``finfo.min + finfo.min`` is -Inf), a sliding window over a left-padded batch do it. Multiplying
by 0 afterwards does not help, ``0 * NaN`` is NaN: through the next layer's values, or only in the
backward pass, it reaches every weight. A mask of -1e10 is -Inf in float16.

Evidence for: attention is non-finite first, NaN and not Inf, with no growth of logits before, or
its output projection is while its queries and keys are finite;
a softmax is the first module that is NaN; anomaly mode names the backward function of softmax or of
scaled dot-product attention; a count of keys, or a shortest length, is 0 there; the failing batches
are those with padding.

Evidence against: queries, keys or attention logits that grew (attention-overflow); Inf first;
growing gradients; no layer before attention was watched, so that a bad batch may have come through
one; no attention in the model.

Confirm: ask ``mask.any(-1).all()`` of the combined mask of that batch; use batch size 1 for it.

Fix: leave at least one key visible to every row (unmask padding rows), combine boolean masks
before they become numbers, or use an attention kernel that gives zeros for such rows.
"""

from __future__ import annotations

import re

import numpy as np

from nanautopsy import thresholds
from nanautopsy.causes.interface import Case, Cause, Weighing, quiet
from nanautopsy.circumstances import finite_layer_beside
from nanautopsy.detectors.attention import ATTENTION, QUERY_KEY, has_attention
from nanautopsy.model import Assessment, Onset, Run, Series
from nanautopsy.signal import index_at
from nanautopsy.versions import is_before
from nanautopsy.wording import phrase

_FUNCTION = re.compile(
    r"^(Softmax|SafeSoftmax|ScaledDotProduct\w*|\w*FlashAttention\w*|\w*EfficientAttention\w*)"
    r"Backward\w*$",
    re.IGNORECASE,
)
_OUTPUT = re.compile(r"o|out|output|(o|out|c|output)_?(proj|lin|linear|dense)|proj|to_out|wo|dense")
"""Names of the projection behind attention."""
_HEAD_WIDTH = 256
"""Elements of a query, of which models have no more."""
_ENDS = re.compile(r"\.(?:output|input)s?(?:\[\d+\])?$")
_SOFTMAX = re.compile(
    r"(?:^|[._/])(?:(?:attn_|attention_)?(?:softmax|probs)|attn_drop(?:out)?|attention_dropout)$",
    re.IGNORECASE,
)
_SAFE_SDPA = "2.5"
"""torch whose scaled dot-product attention gives zeros for such rows (pytorch#103749)."""


def _assess(case: Case) -> Assessment:
    weighing = Weighing()
    for finding in case.found("backward-nonfinite"):
        if _FUNCTION.match(str(finding.data.get("function", ""))):
            weighing.speaks_for(thresholds.STRONG, finding.text, finding.source)
            break
    _weigh_layer(case, weighing)
    _weigh_batch(case, weighing)
    for finding in case.found("reported-nonfinite"):
        if finding.data.get("quantity") == "attention" and finding.data.get("value") == "nan":
            if case.onset is not None and finding.source == case.onset.source:
                continue  # the onset's own line, which has been weighed
            weighing.speaks_for(thresholds.MODERATE, finding.text, finding.source)
            break
    if not weighing.evidence:
        return quiet(phrase("nothing says that attention was NaN first, or that rows had no key"))
    _weigh_settings(case, weighing)
    _weigh_rivals(case, weighing)
    return weighing.fired()


def _weigh_batch(case: Case, weighing: Weighing) -> None:
    """What is known of the batch that died: keys that are missing, padding that others had not."""
    for finding in case.at_onset("no-keys", since=True)[:1]:
        weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
    if has_attention(case.run):
        for finding in case.at_onset("no-elements")[:1]:
            weighing.speaks_for(
                thresholds.DECISIVE,
                phrase("{finding}, in a model with attention", finding=finding.text),
                finding.source,
            )
    for finding in case.found("empty-sequence"):
        if finding.data.get("there"):
            weighing.speaks_for(thresholds.DECISIVE, finding.text, finding.source)
    for finding in case.at_onset("padding-begins")[:1]:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("{finding}: only batches with padding die", finding=finding.text),
            finding.source,
        )
        onset = case.onset
        if onset is not None and onset.value == "nan":
            masked = onset.quantity in ("grad_norm", "gradients")
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("the loss, which leaves padding out, was finite there")
                if masked
                else phrase("it is NaN at once, with no Inf before it, and every step is logged"),
                onset.source,
            )
    for finding in case.found("nonfinite-attention-logit"):
        if finding.role == "initiating" and case.onset is not None and case.onset.value == "nan":
            weighing.speaks_for(
                thresholds.MODERATE,
                phrase("{finding}: NaN, and no Inf before it", finding=finding.text),
                finding.source,
            )
            break


def _weigh_layer(case: Case, weighing: Weighing) -> None:
    onset = case.onset
    if onset is None or onset.layer is None:
        return
    if onset.value != "nan" and not _is_masked_softmax(case, onset):
        return
    query = _query_before(case.run, onset)
    if query is not None:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "{layer}, which reads what attention gives, is NaN first, while {query} was finite "
                "there: it arose between them",
                layer=onset.layer,
                query=query.layer,
            ),
            onset.source,
        )
        return
    if _is_softmax(case, onset.layer):
        weighing.speaks_for(
            thresholds.STRONG,
            phrase(
                "the first non-finite layer, {layer}, is a softmax, which is finite for whatever "
                "is finite",
                layer=onset.layer,
            ),
            onset.source,
        )
    if not ATTENTION.search(onset.layer):
        return
    before = finite_layer_beside(case.run, onset)
    text = phrase(
        "the first non-finite layer, {layer}, lies in attention, and it is NaN, not Inf",
        layer=onset.layer,
    )
    if before is not None:
        weighing.speaks_for(
            thresholds.STRONG,
            phrase("{text}, while {layer} was finite there", text=text, layer=before.layer),
            onset.source,
        )
    else:
        weighing.speaks_for(thresholds.MODERATE, text, onset.source)


def _is_softmax(case: Case, layer: str) -> bool:
    """Whether a layer is a softmax, of which -Inf may go in and NaN may not come out."""
    name = _ENDS.sub("", layer)
    return _SOFTMAX.search(name) is not None or any(
        f.data.get("module_class") == "Softmax" and f.layer in (None, name)
        for f in case.found("reported-nonfinite")
    )


def _is_masked_softmax(case: Case, onset: Onset) -> bool:
    """Whether a softmax met Inf that a mask put there: its queries and keys are too small to have
    made it, in any format."""
    assert onset.layer is not None
    if onset.step is None or not _is_softmax(case, onset.layer):
        return False
    parent = _ENDS.sub("", onset.layer).rpartition(".")[0]
    largest = [
        abs(float(s.values[i]))
        for s in case.run.by_role("layer_activation")
        if s.layer is not None and s.layer.startswith(f"{parent}.") and QUERY_KEY.search(s.layer)
        if (i := index_at(s, onset.step)) is not None
    ]
    return bool(largest) and max(largest) ** 2 * _HEAD_WIDTH < thresholds.FP16_MAX


def _query_before(run: Run, onset: Onset) -> Series | None:
    """A query or key that was finite at the onset's step, of the module whose output projection is
    the first layer that was not."""
    assert onset.layer is not None
    parent, _, name = onset.layer.replace("/", ".").rpartition(".")
    if onset.step is None or not _OUTPUT.fullmatch(name):
        return None
    for series in run.by_role("layer_activation"):
        index = index_at(series, onset.step)
        if series.layer is None or index is None or not np.isfinite(series.values[index]):
            continue
        beside, _, own = series.layer.replace("/", ".").rpartition(".")
        if beside == parent and QUERY_KEY.search(own):
            return series
    return None


def _weigh_settings(case: Case, weighing: Weighing) -> None:
    torch = case.run.packages.get("torch")
    attention = case.states("attention", "sdpa")
    if torch is not None and attention is not None and is_before(torch.version, _SAFE_SDPA):
        weighing.speaks_for(
            thresholds.WEAK,
            phrase(
                "scaled dot-product attention of torch {version} gives NaN for such rows",
                version=torch.version,
            ),
            torch.source,
        )
    eager = case.states("attention", "eager")
    if eager is not None:
        weighing.speaks_for(
            thresholds.WEAK, phrase("eager attention gives NaN for such rows"), eager.source
        )


def _weigh_rivals(case: Case, weighing: Weighing) -> None:
    for finding in case.found(
        "projection-growth", "attention-logits-large", "attention-logits-past-exp", "lr-jump"
    ):
        weighing.speaks_against(thresholds.STRONG, finding.text, finding.source)
    for finding in case.found("grad-norm-growth", "loss-growth"):
        weighing.speaks_against(thresholds.MODERATE, finding.text, finding.source)
    onset = case.onset
    if onset is None or onset.layer is None or _is_softmax(case, onset.layer):
        return
    if not ATTENTION.search(onset.layer) and _query_before(case.run, onset) is None:
        weighing.speaks_against(
            thresholds.MODERATE,
            phrase("the first non-finite layer, {layer}, is no attention layer", layer=onset.layer),
            onset.source,
        )


CAUSE = Cause(
    id="fully-masked-attention",
    title=phrase("an attention row in which every key is masked"),
    assess=_assess,
    remedies=(
        phrase(
            "Leave one key visible in every row of the combined mask; padding rows may see "
            "themselves."
        ),
        phrase(
            "Combine masks as booleans and fill once with `finfo.min`, instead of adding two masks."
        ),
    ),
    references=(
        "https://github.com/pytorch/pytorch/issues/103749",
        "https://github.com/pytorch/pytorch/issues/41508",
        "https://github.com/huggingface/transformers/issues/27114",
    ),
)
