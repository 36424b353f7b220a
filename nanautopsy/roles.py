"""What a metric is, told from the name under which people log it.

The patterns follow the tags that the common writers use (Trainer, Lightning, Megatron, DeepSpeed,
big_vision, torchtitan, verl, fairseq) and the words that hand-written loops share. A name decides
only the role of a series, never a cause.
"""

from __future__ import annotations

import re

from nanautopsy.model import SeriesRole

_WORD = re.compile(r"[lL][12](?![a-z0-9])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_EVALUATION = frozenset({"eval", "evaluation", "val", "valid", "validation", "test", "dev"})
_LOSS = frozenset({"loss", "losses", "nll", "ce", "xent", "crossentropy", "mse", "elbo"})
_PERPLEXITY = frozenset({"ppl", "perplexity"})
_GRADIENT = frozenset({"grad", "grads", "gradient", "gradients"})
_PARAMETER = frozenset({"param", "params", "parameter", "parameters", "weight", "weights"})
_ACTIVATION = frozenset({"act", "acts", "activation", "activations", "hidden", "output", "outputs"})
_ATTENTION = frozenset({"attn", "attention"})
_LOGIT = frozenset({"logit", "logits", "score", "scores", "entropy"})
_STATISTIC = frozenset(
    {"norm", "norms", "l2", "max", "min", "abs", "absmax", "rms", "std", "mean", "amax", "total"}
    | {"global", "count", "nonfinite", "var", "hist", "histogram"}
)
_COUNTER = frozenset({"step", "steps", "epoch", "epochs", "iteration", "iter", "samples", "tokens"})
_RATE = frozenset({"per", "sec", "second", "seconds", "time", "ms", "tps", "mfu", "tflops"})
_NOT_A_LOSS = frozenset({"scale", "scaler", "scaling", "weight", "count", "spike", "coef", "ratio"})
_NOT_MINIMIZED = frozenset({"reward", "rewards", "acc", "accuracy", "bleu", "f1", "score"})

_FAMILY = frozenset({"train", "training", "debug", "stats", "monitor"})
_NOT_A_LAYER = frozenset(
    {"clipped", "unclipped", "clip", "before", "after", "pre", "post", "raw", "all", "total", "avg"}
    | {"overall", "local", "model", "epoch", "step", "actor", "critic", "policy", "ratio"}
)
_OWN_NAMES = frozenset({"weight", "kernel", "scale", "output", "hidden"})
"""Words for a quantity that also end the names of parameters and modules."""

_LAYER_PART = re.compile(
    r"(?:^|[./])(?:layers?|blocks?|h|encoder|decoder|transformer|model|backbone|embed\w*|head|lm_head"
    r"|conv\d*|fc\d*|linear\d*|attn|self_attn|attention|mlp|proj\w*|\w+_proj|norm\d*|ln_\w+|weight"
    r"|bias|kernel|wte|wpe|classifier|layer_?\d+|block_?\d+|rnn|lstm|gru|\d+)(?:[./\[]|\d|$)",
    re.IGNORECASE,
)


def words(tag: str) -> tuple[str, ...]:
    """The lower-case words of a tag: ``Train/Samples/gradNorm_2`` gives train samples grad ..."""
    return tuple(word.lower() for word in _WORD.findall(tag))


def classify(tag: str) -> tuple[SeriesRole, str | None]:
    """The role of a metric and, for a per-layer metric, its layer as the tag spells it."""
    parts = words(tag)
    have = frozenset(parts)
    if have & _ATTENTION and have & _LOGIT and not have & _LOSS:
        return "attention_logit", _layer_of(tag)
    role = _tensor_role(tag, have)
    if role is not None:
        layer = _layer_of(tag)
        if layer is not None:
            return role, layer
        if role == "layer_parameter" and have & _STATISTIC:
            return role, None
    return _global_role(parts, have), None


def _tensor_role(tag: str, have: frozenset[str]) -> SeriesRole | None:
    """Which kind of tensor the metric measures, told by the parts that name a quantity."""
    if have & _GRADIENT:
        return "layer_gradient"
    for part in re.split(r"[/#.\s]+", tag):
        named = frozenset(words(part))
        if named & _ACTIVATION:
            return "layer_activation"
        if named & _PARAMETER and named <= _PARAMETER | _STATISTIC | {"train", "layer"}:
            return "layer_parameter"
    return None


def _layer_of(tag: str) -> str | None:
    """The module path in a per-layer tag: what is left when the words at its two ends that name
    the quantity are taken away. The path itself stays as the artifact spells it."""
    parts = [part for part in re.split(r"[/#\s:]+", tag) if part]
    named = 0
    if frozenset(words(tag)) & _LOGIT:
        # attention/max_logit/layers.2: there attention is part of the quantity's name.
        while parts and frozenset(words(parts[0])) <= _ATTENTION:
            parts.pop(0)
    while parts and _is_quantity(parts[0]):
        named += not frozenset(words(parts.pop(0))) <= _FAMILY
    while parts and (_is_quantity(parts[-1]) and (not named or parts[-1] not in _OWN_NAMES)):
        parts.pop()
    rest = "/".join(parts)
    if not rest or frozenset(words(rest)) <= _NOT_A_LAYER:
        return None
    if named:
        return rest
    if "." not in rest and "/" not in rest:
        # grad_norm_layer3: the quantity stands before the layer in one word.
        rest = "_".join(word for word in rest.split("_") if not _is_quantity(word))
    head, dot, tail = rest.rpartition(".")
    if dot and words(tail) and frozenset(words(tail)) <= _GRADIENT | _STATISTIC:
        rest = head
    return rest if rest and _LAYER_PART.search(rest) else None


def _is_quantity(part: str) -> bool:
    have = frozenset(words(part))
    quantity = _GRADIENT | _PARAMETER | _ACTIVATION | _STATISTIC | _LOGIT | _FAMILY
    return bool(have) and have <= (quantity | _ATTENTION if have & _LOGIT else quantity)


def _global_role(parts: tuple[str, ...], have: frozenset[str]) -> SeriesRole:
    joined = "_".join(parts)
    if "lr" in have or "learning_rate" in joined or "global_schedule" in joined:
        return "learning_rate"
    if (
        have & {"loss", "grad", "amp", "scaler"}
        and have & {"scale", "scaler"}
        and "norm" not in have
    ):
        return "loss_scale"
    if "skipped" in have:
        return "skipped_steps"
    if have & _RATE and not have & _LOSS:
        return "counter"
    if (have & _GRADIENT and have & (_STATISTIC | {"l2"})) or have & {"gnorm", "gradnorm"}:
        return "grad_norm"
    if parts == ("total", "norm"):
        return "grad_norm"
    if have & _PERPLEXITY:
        return "eval_loss"
    if have & _LOSS and not have & (_NOT_A_LOSS | _NOT_MINIMIZED):
        return "eval_loss" if have & _EVALUATION else "loss"
    if have <= _COUNTER | {
        "global",
        "trainer",
        "train",
        "num",
        "consumed",
        "seen",
        "input",
        "total",
    }:
        return "counter"
    return "other"
