"""Which non-finite tensors of a checkpoint are damage, and which are so by design."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nanautopsy.model import Checkpoint, TensorHealth
from nanautopsy.tag_words import words

_MASK_BUFFER = re.compile(
    r"(^|[._/])(masked_bias|attn\.bias|causal_mask|attn_mask|attention_mask|mask|alibi|tril)"
    r"($|[._/])"
)

_EXTREMES = frozenset("best min minimum lowest max maximum highest".split())
_BOUNDS = _EXTREMES | frozenset("low high lower upper lb ub bound bounds limit limits".split())
_FORBIDDEN = frozenset("suppress suppressed forbidden banned blocked disallowed".split())
_RECORDS = frozenset("history histories record records curve curves".split())
_RECORDED = frozenset("loss losses metric metrics score scores reward rewards returns".split())


def damaged(checkpoint: Checkpoint) -> list[TensorHealth]:
    """Its non-finite weights and buffers, without the mask buffers that hold -Inf by design, and
    the running extremes that begin at Inf, open bounds, biases that forbid tokens, and records of
    metrics that are not full yet."""
    bad = (t for t in weights(checkpoint) if t.nonfinite)
    by_design = (is_mask, _is_running_extreme, _is_open_bound, _forbids, _is_record)
    return [t for t in bad if not any(told(t) for told in by_design)]


def _is_running_extreme(tensor: TensorHealth) -> bool:
    """``best_loss``, ``metric.min_value``: of nothing it is Inf."""
    named = frozenset(words(tensor.name))
    return tensor.numel == 1 and not tensor.nan and not named.isdisjoint(_EXTREMES)


def _is_open_bound(tensor: TensorHealth) -> bool:
    """``action_space.high``, ``running_min`` before the first sample: Inf throughout, of one
    sign."""
    if tensor.nan or tensor.nonfinite < tensor.numel or (tensor.pos_inf and tensor.neg_inf):
        return False
    return not _BOUNDS.isdisjoint(words(tensor.name.rpartition(".")[2]))


def _forbids(tensor: TensorHealth) -> bool:
    """``suppress_bias``: -Inf at the tokens that may not come."""
    if tensor.nan or tensor.pos_inf or tensor.neg_inf == tensor.numel:
        return False
    return not _FORBIDDEN.isdisjoint(words(tensor.name.rpartition(".")[2]))


def _is_record(tensor: TensorHealth) -> bool:
    """``tracker.loss_history``: NaN in the places that are still empty."""
    named = frozenset(words(tensor.name))
    return not (_RECORDS.isdisjoint(named) or _RECORDED.isdisjoint(named))


def damaged_moments(checkpoint: Checkpoint) -> list[TensorHealth]:
    """Its non-finite optimizer moments, and master weights beside a model's own."""
    own = {t.name for t in weights(checkpoint)}
    state = (t for t in checkpoint.nonfinite if t.part in ("moment", "master"))
    return [t for t in state if t.name not in own]


def weights(checkpoint: Checkpoint) -> list[TensorHealth]:
    """Its floating-point parameters and buffers.

    Where only the optimizer's fp32 copies were saved (ZeRO stage 3), these are the weights.
    """
    floats = [t for t in checkpoint.tensors if t.format_max is not None]
    own = [t for t in floats if t.part in ("parameter", "buffer")]
    saved = {t.name for t in own if t.numel}
    masters = [t for t in floats if t.part == "master" and t.parameter not in saved]
    return [t for t in own if t.numel or t.part == "buffer"] + masters


def parameter_name(tensor: TensorHealth) -> str:
    """The parameter that the tensor is, or belongs to."""
    return tensor.parameter or tensor.name


def is_mask(tensor: TensorHealth) -> bool:
    """A buffer of zeros and -Inf is an additive mask under any name."""
    if tensor.nan or tensor.pos_inf:
        return False
    zero = tensor.zero or 0
    additive = zero > 0 and zero + tensor.neg_inf == tensor.numel
    if tensor.depth == "finite":
        # Zeros were not counted; where nothing else is finite, zero is the largest magnitude.
        additive = tensor.max_abs == 0.0 and tensor.neg_inf > 0
    return additive or bool(_MASK_BUFFER.search(tensor.name))


def constant_infinities(checkpoints: Sequence[Checkpoint]) -> frozenset[str]:
    """Tensors that hold equally many infinities, and no NaN, in every checkpoint.

    A bias of -Inf for forbidden tokens is such a tensor; what training broke was finite before.
    So is an open bound: +Inf is all that its tensor holds, and in the first checkpoint all that
    is non-finite. What training broke would change with the rest. Of a single measured checkpoint
    nothing is said.
    """
    measured = [c for c in checkpoints if c.depth is not None]
    patterns: dict[str, set[_Pattern]] = {}
    for checkpoint in measured:
        for tensor in checkpoint.tensors:
            pattern = (tensor.nan, tensor.pos_inf, tensor.neg_inf, tensor.numel)
            patterns.setdefault(tensor.name, set()).add(pattern)
    if len(measured) < _FEWEST_TO_COMPARE:
        return frozenset()
    constant = {name: next(iter(seen)) for name, seen in patterns.items() if len(seen) == 1}
    masks = {name for name, pattern in constant.items() if _only_negative(pattern)}
    bounds = {name for name, pattern in constant.items() if _is_bound(pattern)}
    begun = {tensor.name for tensor in measured[0].tensors if tensor.nonfinite}
    return frozenset(masks | bounds) if begun <= masks | bounds else frozenset(masks)


_FEWEST_TO_COMPARE = 2

_Pattern = tuple[int, int, int, int]
"""NaN, +Inf, -Inf and all elements of a tensor."""


def _only_negative(pattern: _Pattern) -> bool:
    nan, positive, negative, _ = pattern
    return not nan and not positive and negative > 0


def _is_bound(pattern: _Pattern) -> bool:
    nan, positive, negative, everything = pattern
    return not nan and positive > 0 and positive + negative == everything
