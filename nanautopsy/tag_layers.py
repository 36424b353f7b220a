"""Which layer a metric is of, as its tag spells it."""

from __future__ import annotations

import re

from nanautopsy.tag_words import (
    ACTIVATION,
    ATTENTION,
    FAMILY,
    GRADIENT,
    LOGIT,
    OWN_NAMES,
    PARAMETER,
    STATISTIC,
    words,
)

_SEVERAL = frozenset({"grads", "gradients", "gnorms", "norms"})
"""A member of what is called so is that of a layer; of ``grad_norm`` it may be one of a group."""
_NOT_A_LAYER = frozenset(
    {"clipped", "unclipped", "clip", "before", "after", "pre", "post", "raw", "all", "total", "avg"}
    | {"overall", "local", "model", "epoch", "step", "actor", "critic", "policy", "ratio"}
    | {"reduced", "allreduced", "synced", "unscaled", "scaled"}
)
_LAYER_PART = re.compile(
    r"(?:^|[./])(?:layers?|blocks?|h|encoder|decoder|transformer|model|backbone|\w*embed\w*|head|lm_head"
    r"|conv\d*|fc\d*|linear\d*|attn|self_attn|attention|mlp|proj\w*|\w+_proj|norm\d*|ln_\w+|weight"
    r"|bias|kernel|wte|wpe|classifier|layer_?\d+|block_?\d+|dense_?\d*|stem|rnn|lstm|gru|\d+)"
    r"(?:[./\[]|\d|$)",
    re.IGNORECASE,
)


def is_extreme(have: frozenset[str]) -> bool:
    """``attn_max_l0``, ``qk_absmax``: nothing but attention and its extreme; weights of softmax
    stay below 1, so that values tell."""
    named = frozenset(word for word in have if not word.isdigit() and len(word) > 1)
    return (
        bool(have & {"max", "absmax", "amax"})
        and named
        <= ATTENTION
        | STATISTIC
        | {
            "layer",
            "block",
            "head",
        }
        | FAMILY
    )


def number_of(tag: str) -> str | None:
    """The layer that stands as a number at the end: ``max_attn_logit_2``, ``attn_max_l0``."""
    found = re.search(r"(?:^|[/._])((?:layer|block|blk|l)?_?\d+)$", tag, re.IGNORECASE)
    return found[1] if found else None


def layer_of(tag: str) -> str | None:
    """The module path in a per-layer tag: what is left when the words at its two ends that name
    the quantity are taken away. The path itself stays as the artifact spells it."""
    parts = [match.span() for match in re.finditer(r"[^/#\s:]+", tag)]
    named = 0
    if frozenset(words(tag)) & LOGIT:
        # attention/max_logit/layers.2: there attention is part of the quantity's name.
        while parts and frozenset(words(tag[slice(*parts[0])])) <= ATTENTION:
            parts.pop(0)
    while parts and _is_quantity(tag[slice(*parts[0])]):
        named += not frozenset(words(tag[slice(*parts.pop(0))])) <= FAMILY
    while parts and _is_tail(tag[slice(*parts[-1])]):
        parts.pop()
    if not parts:
        return None
    rest = tag[parts[0][0] : parts[-1][1]]
    if not any(char.isalnum() for char in rest):
        return None
    if words(rest) and frozenset(words(rest)) <= _NOT_A_LAYER:
        return None
    rest = _without_statistic(rest)
    family, dot, path = rest.partition(".")
    if dot and frozenset(words(family)) <= FAMILY and _is_quantity(path.partition(".")[0]):
        family, dot, path = path.partition(".")  # train.grads.out
    several = not _SEVERAL.isdisjoint(words(family))
    if dot and _is_quantity(family) and (_LAYER_PART.search(path) or several):
        return path  # act_norm.layers.1, grads.out, as nested objects are flattened
    if named:
        return rest
    if "." not in rest and "/" not in rest:
        rest = _without_quantity(rest)
    return rest if rest and _LAYER_PART.search(rest) else None


def _is_quantity(part: str) -> bool:
    have = frozenset(words(part))
    if have & GRADIENT:
        # Lightning's grad_2.0_norm and grad_inf_norm.
        have = frozenset(word for word in have if not word.isdigit()) - {"inf"}
    if have & ATTENTION and is_extreme(have):
        return True
    if "hidden" in have:
        have -= {"states", "state"}
    if have & STATISTIC and have <= STATISTIC | {"out"}:
        have -= {"out"}  # out_absmax/stages.1
    quantity = GRADIENT | PARAMETER | ACTIVATION | STATISTIC | LOGIT | FAMILY
    return bool(have) and have <= (quantity | ATTENTION if have & LOGIT else quantity)


def _is_tail(part: str) -> bool:
    """Whether the last part of a tag names the quantity, and is not the end of the path."""
    if part in OWN_NAMES:
        return False
    numbered = re.fullmatch(r"(mean|std|stddev|min|max|hist|histogram)_\d+", part)
    return numbered is not None or _is_quantity(part)


def _without_statistic(path: str) -> str:
    """``fc.weight`` of ``fc.weight.norm`` or ``fc.weight.grad``; a module may be called norm."""
    head, dot, tail = path.rpartition(".")
    named = frozenset(words(tail))
    quantity = GRADIENT | STATISTIC
    if named & LOGIT:
        quantity |= LOGIT
    if named & STATISTIC and not named & {"norm", "norms"}:
        # hidden_norm and out_norm are modules.
        quantity |= ACTIVATION | {"out"}
    if not dot or not named or not named <= quantity:
        return path
    module = named <= {"norm", "norms"} and head.rpartition(".")[2] not in OWN_NAMES
    return path if module else head


def _without_quantity(name: str) -> str:
    """``layer3`` of ``grad_norm_layer3``, in which one word holds both."""
    pieces = name.split("_")
    while pieces and _is_quantity(pieces[0]):
        pieces.pop(0)
    while pieces and _is_quantity(pieces[-1]):
        pieces.pop()
    return "_".join(pieces)
