"""What a metric is, told from the name under which people log it.

The patterns follow the tags that the common writers use (Trainer, Lightning, Megatron, DeepSpeed,
big_vision, torchtitan, verl, fairseq) and the words that hand-written loops share. A name decides
only the role of a series, never a cause. In order, by the words of a tag (``gradNorm_2`` has
*grad*, *norm* and *2*), the first that fits:

================  ==================================================================================
role              words
================  ==================================================================================
attention_logit   *attention*, *attn* or *qk* beside *logit*, *score* or *entropy*
layer_gradient    *grad(ient)* with a layer's path left when the words for the quantity are gone
layer_activation  *activation*, *hidden*, *output* beside a statistic, with a path left
layer_parameter   *param(eter)*, *weight* beside a statistic, with or without a path left
learning_rate     *lr*, *learning rate*; ``step_size`` alone
loss_scale        *scale* or *scaler* beside *loss*, *grad*, *amp*, *fp16* or *dynamic* (flax)
skipped_steps     *skipped*
counter           rates and times; *step*, *epoch*, *samples*, *tokens* and their kin alone
grad_norm         *grad* alone or beside a statistic; *gnorm*, ``g_norm``, ``|g|``, ``||grad||``
eval_loss         *perplexity*; a loss beside *eval*, *val*, *valid*, *test*, *dev*, *holdout*
loss              ends in *loss*; *loss*, *nll*, *xent*, *mse*, *elbo*, *cost*, bits per character
other             everything else
================  ==================================================================================

The words of other languages for them count alike
(:mod:`nanautopsy.readers.text.foreign_words`). Users name what this table misses
(:mod:`nanautopsy.role_patterns`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from nanautopsy.model import SeriesRole
from nanautopsy.readers.text.foreign_words import in_english

_WORD = re.compile(r"[lL][12](?![a-z0-9])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

EVALUATION = frozenset(
    {"eval", "evaluation", "val", "valid", "validation", "test", "dev", "predict", "holdout"}
    | {"heldout", "va", "tst"}
)
"""Words that tell what is measured on data apart from what is trained on."""
_LOSS = frozenset(
    {
        "loss",
        "losses",
        "nll",
        "ce",
        "xent",
        "crossentropy",
        "mse",
        "elbo",
        "msle",
        "bce",
        "bpc",
        "bpb",
        "bpd",
    }
)
_COST = frozenset({"cost", "train", "training", "total", "mean", "avg"})
_PERPLEXITY = frozenset({"ppl", "perplexity"})
_GRADIENT = frozenset(
    {"grad", "grads", "gradient", "gradients", "gnorm", "gnorms", "gradnorm", "gradnorms"}
)
_SEVERAL = frozenset({"grads", "gradients", "gnorms", "norms"})
"""A member of what is called so is that of a layer; of ``grad_norm`` it may be one of a group."""
_PARAMETER = frozenset({"param", "params", "parameter", "parameters", "weight", "weights"})
_ACTIVATION = frozenset({"act", "acts", "activation", "activations", "hidden", "output", "outputs"})
_AMBIGUOUS = frozenset({"hidden", "output", "outputs"})
"""Words for an activation that stand in other names too: only beside a statistic."""
_ATTENTION = frozenset({"attn", "attention", "qk"})
_LOGIT = frozenset({"logit", "logits", "score", "scores", "entropy"})
_STATISTIC = frozenset(
    {"norm", "norms", "l2", "max", "min", "abs", "absmax", "rms", "std", "mean", "amax", "total"}
    | {"global", "count", "nonfinite", "var", "hist", "histogram", "stddev", "summaries"}
)
_MAGNITUDE = frozenset({"norm", "norms", "l2", "max", "abs", "absmax", "amax", "rms", "mean"})
_COUNTER = frozenset(
    {"step", "steps", "epoch", "epochs", "iteration", "iterations", "iter", "samples", "tokens"}
    | {"updates", "batch", "batches", "examples"}
)
_COUNTED = frozenset(
    {"global", "trainer", "train", "training", "num", "consumed", "seen", "input", "total"}
)
_RATE = frozenset({"per", "sec", "second", "seconds", "time", "ms", "tps", "mfu", "tflops"})
_NOT_A_LOSS = frozenset(
    {
        "scores",
        "signs",
        "scale",
        "scaler",
        "scaling",
        "weight",
        "weights",
        "count",
        "spike",
        "coef",
        "ratio",
        "std",
    }
    | {"var", "frac", "fraction", "num", "nan", "finite", "best", "tokens", "toks", "mask", "masks"}
    | {"packet", "packets", "stop", "hits", "pct", "percent"}
)
"""Words beside *loss* that make it a property of a loss; the best one starts at Inf by custom."""
_LEARNING_RATE = ("learning_rate", "learn_rate", "learnrate", "global_schedule")
_STEP_SIZE = frozenset({"step_size", "stepsize", "train_step_size", "optim_step_size"})
_CLIPPING = frozenset({"max_grad_norm", "clip_grad_norm", "grad_clip_norm", "max_gradient_norm"})
"""Settings that some programs log beside the norm that they clip."""
_BARS = re.compile(
    r"\|+\s*(?:g|grads?|gradients?|dw|\u2207|\u2207L)\s*\|+_?\d?(?: [a-z][a-z_ -]{0,30})?",
    re.IGNORECASE,
)
_WEIGHT_BARS = re.compile(r"\|+\s*(?:w|theta|\u03b8|params?|weights?)\s*\|+_?\d?", re.IGNORECASE)
_WEIGHT_NORMS = frozenset({("theta", "norm"), ("model", "norm"), ("w", "norm"), ("wnorm",)})
_GRADIENT_NORMS = frozenset(
    {("total", "norm"), ("global", "norm"), ("g", "norm"), ("norm", "g"), ("grad", "mag")}
    | {("gradient", "magnitude"), ("grad", "magnitude"), ("gradient", "mag")}
)
_NOT_A_RATE = frozenset({"momentum", "decay", "beta", "betas"})
_NOT_MINIMIZED = frozenset(
    {"reward", "rewards", "acc", "accuracy", "bleu", "f1", "score", "explained", "clipfrac"}
)

_FAMILY = frozenset(
    {"train", "training", "debug", "stats", "monitor", "diag", "diagnostics", "watch"}
)
_NOT_A_LAYER = frozenset(
    {"clipped", "unclipped", "clip", "before", "after", "pre", "post", "raw", "all", "total", "avg"}
    | {"overall", "local", "model", "epoch", "step", "actor", "critic", "policy", "ratio"}
    | {"reduced", "allreduced", "synced", "unscaled", "scaled"}
)
_OWN_NAMES = frozenset(
    {"weight", "weights", "bias", "biases", "kernel", "scale", "output", "hidden"}
)
"""Words for a quantity that also end the names of parameters and modules."""

_LAYER_PART = re.compile(
    r"(?:^|[./])(?:layers?|blocks?|h|encoder|decoder|transformer|model|backbone|\w*embed\w*|head|lm_head"
    r"|conv\d*|fc\d*|linear\d*|attn|self_attn|attention|mlp|proj\w*|\w+_proj|norm\d*|ln_\w+|weight"
    r"|bias|kernel|wte|wpe|classifier|layer_?\d+|block_?\d+|dense_?\d*|stem|rnn|lstm|gru|\d+)"
    r"(?:[./\[]|\d|$)",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def words(tag: str) -> tuple[str, ...]:
    """The lower-case words of a tag: ``Train/Samples/gradNorm_2`` gives train samples grad ..."""
    return tuple(word.lower() for word in _WORD.findall(in_english(tag)))


_OF_HISTOGRAM = re.compile(r"#(?:count|max|max_abs|min|nonfinite)\Z")
"""What readers append to the tag of a histogram for the numbers that they take from it."""


_KERAS = re.compile(
    r"(?P<variable>.+/(?:\w*kernel|bias|gamma|beta|embeddings|moving_mean|moving_variance)"
    r"(?:[_:]\d+)?)(?:/histogram)?" + _OF_HISTOGRAM.pattern
)
"""Histograms of Keras' callback: ``dense_1/kernel_0``, ``dense_1/kernel_0/histogram``."""


def classify(tag: str) -> tuple[SeriesRole, str | None]:
    """The role of a metric and, for a per-layer metric, its layer as the tag spells it."""
    _, separator, metric = tag.rpartition(" - ")
    if separator:
        # W&B's plots put the name of the run before that of the metric.
        told = classify(metric)
        if told[0] != "other":
            return told
    tag = _NORM_BARS.sub(_spelled, in_english(tag.removesuffix(" vs samples")))
    if _BARS.fullmatch(tag.rpartition("/")[2].strip()):
        return "grad_norm", None
    if _WEIGHT_BARS.fullmatch(tag.rpartition("/")[2].strip()) or words(tag) in _WEIGHT_NORMS:
        return "layer_parameter", None
    if (keras := _KERAS.fullmatch(tag)) is not None and not _GRADIENT & frozenset(words(tag)):
        return "layer_parameter", keras["variable"]
    parts = words(tag)
    have = frozenset(parts)
    if have & _ATTENTION and (have & _LOGIT or _is_extreme(have)) and not have & _LOSS:
        return "attention_logit", _layer_of(tag) or _number_of(tag)
    role = _tensor_role(tag, have)
    if role is not None:
        layer = _layer_of(tag)
        if layer is not None:
            return role, layer
        if role == "layer_parameter" and have & _MAGNITUDE and have & _PARAMETER:
            return role, None
    if _OF_HISTOGRAM.search(tag):
        return "other", None  # The extremes and counts of many losses are no loss.
    if "losses" in have and _only_filed(tag):
        return "other", None
    return _global_role(parts, have), None


_NORM_BARS = re.compile(r"(?<!\w)\|{1,2}(g|w)\|{1,2}(?=[\s/._:-]*[A-Za-z])", re.IGNORECASE)
"""The norm of a gradient or a weight as formulas write it, before the name of its layer."""


def _spelled(bars: re.Match[str]) -> str:
    return "grad_norm" if bars[1].lower() == "g" else "weight_norm"


def _is_extreme(have: frozenset[str]) -> bool:
    """``attn_max_l0``, ``qk_absmax``: nothing but attention and its extreme; weights of softmax
    stay below 1, so that values tell."""
    named = frozenset(word for word in have if not word.isdigit() and len(word) > 1)
    return (
        bool(have & {"max", "absmax", "amax"})
        and named
        <= _ATTENTION
        | _STATISTIC
        | {
            "layer",
            "block",
            "head",
        }
        | _FAMILY
    )


def _number_of(tag: str) -> str | None:
    """The layer that stands as a number at the end: ``max_attn_logit_2``, ``attn_max_l0``."""
    found = re.search(r"(?:^|[/._])((?:layer|block|blk|l)?_?\d+)$", tag, re.IGNORECASE)
    return found[1] if found else None


def _tensor_role(tag: str, have: frozenset[str]) -> SeriesRole | None:
    """Which kind of tensor the metric measures, told by the parts that name a quantity."""
    if have & _GRADIENT:
        return "layer_gradient"
    if have & {"loss", "losses"}:
        return None
    measured = bool(have & _STATISTIC)
    split = [(part, frozenset(words(part))) for part in re.split(r"[/#.\s]+", tag)]
    # The norm of output_proj.weight is that of a parameter.
    owned = any(named and named <= _OWN_NAMES - _AMBIGUOUS for _, named in split)
    activation = _ACTIVATION if measured and not owned else _ACTIVATION - _AMBIGUOUS
    for part, named in split:
        if named & activation or (not owned and _is_output(named)):
            return "layer_activation"
        if named & _PARAMETER and named <= _PARAMETER | _STATISTIC | {"train", "layer"}:
            return "layer_parameter"
        if measured and part != tag and named and named <= _OWN_NAMES - _AMBIGUOUS:
            return "layer_parameter"
    return None


def _is_output(named: frozenset[str]) -> bool:
    """``out_absmax``: a statistic of what a layer gives; *out* alone is a module's name."""
    return "out" in named and bool(named & _STATISTIC) and named <= _STATISTIC | {"out"}


def _layer_of(tag: str) -> str | None:
    """The module path in a per-layer tag: what is left when the words at its two ends that name
    the quantity are taken away. The path itself stays as the artifact spells it."""
    parts = [match.span() for match in re.finditer(r"[^/#\s:]+", tag)]
    named = 0
    if frozenset(words(tag)) & _LOGIT:
        # attention/max_logit/layers.2: there attention is part of the quantity's name.
        while parts and frozenset(words(tag[slice(*parts[0])])) <= _ATTENTION:
            parts.pop(0)
    while parts and _is_quantity(tag[slice(*parts[0])]):
        named += not frozenset(words(tag[slice(*parts.pop(0))])) <= _FAMILY
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
    if dot and frozenset(words(family)) <= _FAMILY and _is_quantity(path.partition(".")[0]):
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
    if have & _GRADIENT:
        # Lightning's grad_2.0_norm and grad_inf_norm.
        have = frozenset(word for word in have if not word.isdigit()) - {"inf"}
    if have & _ATTENTION and _is_extreme(have):
        return True
    if "hidden" in have:
        have -= {"states", "state"}
    if have & _STATISTIC and have <= _STATISTIC | {"out"}:
        have -= {"out"}  # out_absmax/stages.1
    quantity = _GRADIENT | _PARAMETER | _ACTIVATION | _STATISTIC | _LOGIT | _FAMILY
    return bool(have) and have <= (quantity | _ATTENTION if have & _LOGIT else quantity)


def _is_tail(part: str) -> bool:
    """Whether the last part of a tag names the quantity, and is not the end of the path."""
    if part in _OWN_NAMES:
        return False
    numbered = re.fullmatch(r"(mean|std|stddev|min|max|hist|histogram)_\d+", part)
    return numbered is not None or _is_quantity(part)


def _without_statistic(path: str) -> str:
    """``fc.weight`` of ``fc.weight.norm`` or ``fc.weight.grad``; a module may be called norm."""
    head, dot, tail = path.rpartition(".")
    named = frozenset(words(tail))
    quantity = _GRADIENT | _STATISTIC
    if named & _LOGIT:
        quantity |= _LOGIT
    if named & _STATISTIC and not named & {"norm", "norms"}:
        # hidden_norm and out_norm are modules.
        quantity |= _ACTIVATION | {"out"}
    if not dot or not named or not named <= quantity:
        return path
    module = named <= {"norm", "norms"} and head.rpartition(".")[2] not in _OWN_NAMES
    return path if module else head


def _without_quantity(name: str) -> str:
    """``layer3`` of ``grad_norm_layer3``, in which one word holds both."""
    pieces = name.split("_")
    while pieces and _is_quantity(pieces[0]):
        pieces.pop(0)
    while pieces and _is_quantity(pieces[-1]):
        pieces.pop()
    return "_".join(pieces)


def _global_role(parts: tuple[str, ...], have: frozenset[str]) -> SeriesRole:
    joined = "_".join(parts)
    if "lr" in have or any(name in joined for name in _LEARNING_RATE) or joined in _STEP_SIZE:
        return "other" if have & _NOT_A_RATE else "learning_rate"
    if (
        have & {"loss", "grad", "amp", "fp", "scaler", "gradscaler", "dynamic"}
        and have & {"scale", "scaler", "gradscaler"}
        and not have & {"norm", "tracker"}
    ):
        return "loss_scale"
    if "skipped" in have:
        return "skipped_steps"
    if have & _RATE and not have & _LOSS:
        return "counter"
    if joined in _CLIPPING:
        return "other"
    if (have & _GRADIENT and have & (_STATISTIC | {"l2"})) or have & {"gnorm", "gradnorm"}:
        return "grad_norm"
    if parts in _GRADIENT_NORMS or _is_gradient(parts):
        return "grad_norm"
    if "norm" in have and have & {"unclipped", "preclip"} and not have & _PARAMETER:
        return "grad_norm"  # What is clipped is a gradient.
    if have & _PERPLEXITY:
        return "eval_loss"
    if _is_loss(parts, have, joined):
        return "eval_loss" if have & EVALUATION else "loss"
    if have & _COUNTER and have <= _COUNTER | _COUNTED:
        return "counter"
    return "other"


_GROUPS = frozenset({"losses"})
_BESIDE_LOSSES = frozenset(
    "values approx entropy variance explained alpha clipfrac clip logprobs rewards returns"
    " advantages ratio".split()
)
"""What programs file under ``losses/`` beside the losses (CleanRL's ``losses/qf1_values`` and
``losses/approx_kl``)."""


def own_words(tag: str) -> frozenset[str]:
    """The words of a metric, without those of a group of losses that it is filed under."""
    group, _, name = tag.rpartition("/")
    grouped = _GROUPS.issuperset(words(group)) and name
    return frozenset(words(name if grouped else tag))


def _only_filed(tag: str) -> bool:
    """Whether nothing but its group calls the metric a loss, and its own name something else."""
    own = own_words(tag)
    return "losses" not in own and bool(own & _BESIDE_LOSSES) and not own & _LOSS


FORMULAS = frozenset(
    "mae mape smape rmse rmsle sse huber hinge l1err l2err objective criterion energy recon"
    " reconstruction kld supcon infonce nce contrastive triplet focal ctc l1 l2 cox pinball"
    " quantile chamfer tversky ntxent bpr crps orpo dpo simpo listnet ranknet mlm clm mim lm"
    " mpjpe".split()
)
"""Objectives by the name of their formula, which are measures of success beside another loss."""


def _is_gradient(parts: tuple[str, ...]) -> bool:
    """One number a step that is called ``grad`` and nothing more."""
    named = [word for word in parts if word not in _FAMILY]
    return len(named) == 1 and named[0] in ("grad", "gradient", "gn")


def _is_loss(parts: tuple[str, ...], have: frozenset[str], joined: str) -> bool:
    if have & _NOT_A_LOSS:
        return False
    if (
        len(parts) > 1
        and parts[-2] == "l"
        and not have & (_MAGNITUDE | _RATE | {"rate", "len", "min"})
    ):
        return True  # l_kl
    if "cost" in have:
        return have <= _COST | EVALUATION
    named = [word for word in parts if not word.isdigit()]
    if named and re.fullmatch(r"(?!gloss|floss|blosser).*loss(?:es)?", named[-1]):
        return True
    return bool(have & _LOSS or "cross_entropy" in joined) and not have & _NOT_MINIMIZED
