"""How large attention logits can be, predicted from saved weights.

A block's input leaves its norm with root mean square ``g``, that of the norm's gain. Queries are
``x W``: a component has the size ``r g sqrt(d)`` for weights of root mean square ``r`` and ``d``
inputs, so that an aligned pair of a query and a key has the logit

    r_q r_k g^2 d sqrt(h)        for heads of h components, after the division by sqrt(h).

Where queries and keys are normalized themselves, with gains ``g_q`` and ``g_k``, it is at most
``g_q g_k sqrt(h)``, whatever the projections are. Both are sizes for weights without outliers; the
largest logit may be several times as large.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Checkpoint, Finding, Run, Source, TensorHealth
from nanautopsy.signal import shown
from nanautopsy.spellings import number
from nanautopsy.wording import phrase

_FUSED = re.compile(r"(^|[._/])(qkv|wqkv|c_attn|query_key_value|in_proj(_weight)?|to_qkv)($|[._/])")
_QUERY = re.compile(r"(^|[._/])(q|query|wq|to_q|q_lin)(_?proj)?($|[._/])", re.IGNORECASE)
_KEY = re.compile(r"(^|[._/])(k|key|wk|to_k|k_lin)(_?proj)?($|[._/])", re.IGNORECASE)
_NORM_OF_QUERY = re.compile(r"(^|[._/])(q|query)_?(layer)?_?norm($|[._/])", re.IGNORECASE)
_NORM_OF_KEY = re.compile(r"(^|[._/])(k|key)_?(layer)?_?norm($|[._/])", re.IGNORECASE)
_NORM_BEFORE = re.compile(
    r"(^|[._/])(input_?(layer)?norm|ln_?1|norm_?1|attention_norm|attn_norm|pre_?attn\w*norm"
    r"|layer_?norm_?1|layernorm_before|self_attn_layer_norm|pre_attention_norm)($|[._/])",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"^(.*?(?:^|[._/])\d+)[._/]")
"""The name up to and with its first number: the block."""
_USUAL_HEAD = 64
"""Components of a head where no setting says it: from GPT-2 on 64 to 128, by its root."""


@dataclass(frozen=True, slots=True)
class _Logit:
    """The prediction of one block."""

    value: float
    tensor: TensorHealth
    normalized: bool


def predicted(run: Run) -> Finding | None:
    """The largest prediction from the last sound checkpoint; ``None`` where no block has both
    projections."""
    sound = [c for c in in_order(run.checkpoints) if weights(c) and not damaged(c)]
    if not sound:
        return None
    head, is_known = _head_size(run)
    last = _largest(sound[-1], head)
    if last is None:
        return None
    return Finding(
        id="attention-logits-predicted",
        text=phrase(
            "attention logits of about {value} are predicted from {tensor} in {path}{assumed}",
            value=shown(last.value),
            tensor=last.tensor.name,
            path=sound[-1].path,
            assumed=""
            if is_known
            else phrase(" (for heads of {head} components, which no setting says)", head=head),
        ),
        source=Source(sound[-1].path, tensor=last.tensor.name),
        step=sound[-1].step,
        layer=last.tensor.name,
        data={"value": last.value, "normalized": last.normalized},
    )


def _detect(run: Run) -> Iterator[Finding]:
    """What no sound model has."""
    finding = predicted(run)
    if finding is not None and float(str(finding.data["value"])) >= thresholds.ATTENTION_LOGIT_ODD:
        yield finding


def _head_size(run: Run) -> tuple[int, bool]:
    """Components of a head by the model's settings, and whether they say it."""
    settings = {key.rpartition(".")[2]: fact.value for key, fact in run.config.items()}
    stated = number(settings.get("head_dim"))
    if stated is None:
        width = number(settings.get("hidden_size", settings.get("n_embd")))
        heads = number(settings.get("num_attention_heads", settings.get("n_head")))
        stated = width / heads if width and heads else None
    return (int(stated), True) if stated and stated >= 1 else (_USUAL_HEAD, False)


def _largest(checkpoint: Checkpoint, head: int) -> _Logit | None:
    blocks: dict[str, list[TensorHealth]] = {}
    for tensor in weights(checkpoint):
        match = _BLOCK.match(tensor.name)
        if match is not None and tensor.rms is not None:
            blocks.setdefault(match[1], []).append(tensor)
    found = [logit for block in blocks.values() if (logit := _of_block(block, head)) is not None]
    return max(found, key=lambda logit: logit.value, default=None)


def _of_block(tensors: Sequence[TensorHealth], head: int) -> _Logit | None:
    matrices = [t for t in tensors if len(t.shape) == 2 and t.rms]
    fused = _first(matrices, _FUSED)
    query, key = _first(matrices, _QUERY) or fused, _first(matrices, _KEY) or fused
    if query is None or key is None:
        return None
    gains = {
        place: _first([t for t in tensors if len(t.shape) == 1], pattern)
        for place, pattern in _GAINS.items()
    }
    if gains["query"] is not None and gains["key"] is not None:
        value = _gain(gains["query"]) * _gain(gains["key"]) * math.sqrt(head)
        return _Logit(value, gains["query"], True)
    gain = _gain(gains["before"])
    inputs = min(query.shape)
    value = (query.rms or 0.0) * (key.rms or 0.0) * gain * gain * inputs * math.sqrt(head)
    return _Logit(value, query, False)


_GAINS: Mapping[str, re.Pattern[str]] = {
    "query": _NORM_OF_QUERY,
    "key": _NORM_OF_KEY,
    "before": _NORM_BEFORE,
}


def _gain(norm: TensorHealth | None) -> float:
    """Root mean square of a norm's gain; 1, as it is initialized, where there is none."""
    return 1.0 if norm is None or not norm.rms else norm.rms


def _first(tensors: Sequence[TensorHealth], pattern: re.Pattern[str]) -> TensorHealth | None:
    return next(
        (t for t in tensors if pattern.search(t.name) and not t.name.endswith("bias")), None
    )


DETECTOR = Detector("predicted-logits", _detect)
