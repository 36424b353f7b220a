"""Signs of a mixture of experts: its router, its experts, and the losses that balance them."""

from __future__ import annotations

import re

from nanautopsy.model import Run
from nanautopsy.tag_words import words

_SURELY = r"router|gating|moe_gate|gate(?=[._/](?:weight|wg|kernel))"
ROUTER = re.compile(rf"(^|[._/])({_SURELY}|gate(?=[._/]?$))", re.IGNORECASE)
"""Names of routers in a model with experts: without any, a ``gate`` is that of a gated unit."""
_ROUTER = re.compile(rf"(^|[._/])({_SURELY})", re.IGNORECASE)
_EXPERTS = re.compile(
    r"(num|n)_?(local_|routed_)?experts|(^|[._/])experts?([._/\d]|$)", re.IGNORECASE
)
_ROUTERS = frozenset("router gate gating".split())
_HANDED_OUT = frozenset("token tokens expert experts capacity".split())
_EXTREME = frozenset("max absmax amax maxabs".split())
_NO_LOGIT = frozenset(
    "prob probs probability load loads grad grads gradient weight weights norm loss fraction share"
    " usage util bias entropy tokens count".split()
)
_AUXILIARY = frozenset("aux auxiliary router balance balancing load z zloss".split())


def is_auxiliary(tag: str) -> bool:
    """Whether a metric of a mixture of experts is about its router."""
    return bool(frozenset(words(tag)) & _AUXILIARY)


def is_routing(tag: str) -> bool:
    """Whether a metric of a mixture of experts is about its router or what it hands out."""
    return is_auxiliary(tag) or not _HANDED_OUT.isdisjoint(words(tag))


def has_experts(run: Run) -> bool:
    """Whether settings, metrics or weights show a mixture of experts."""
    names = [*run.config, *(s.layer or s.tag for s in run.series)]
    names += [t.name for c in run.checkpoints[:1] for t in c.tensors]
    tags = (frozenset(words(s.tag)) for s in run.series)
    return any(_EXPERTS.search(name) or _ROUTER.search(name) for name in names) or any(
        not tag.isdisjoint(("router", "moe"))
        or {"aux", "loss"} <= tag
        or {"load", "balancing"} <= tag
        for tag in tags
    )


def is_router_logit(tag: str) -> bool:
    """``router_logit_max``, ``moe/gate_logits``, ``router_abs_max``."""
    parts = frozenset(words(tag))
    if not parts & _ROUTERS:
        return False
    return bool(parts & {"logit", "logits"}) or (bool(parts & _EXTREME) and not parts & _NO_LOGIT)
