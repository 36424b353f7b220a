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

from nanautopsy.model import SeriesRole
from nanautopsy.readers.text.foreign_words import in_english
from nanautopsy.tag_layers import is_extreme, layer_of, number_of
from nanautopsy.tag_words import (
    ACTIVATION,
    AMBIGUOUS,
    ATTENTION,
    FAMILY,
    GRADIENT,
    LOGIT,
    OWN_NAMES,
    PARAMETER,
    STATISTIC,
    words,
)

EVALUATION = frozenset(
    {"eval", "evaluation", "val", "valid", "validation", "test", "dev", "predict", "holdout"}
    | {"heldout", "va", "tst"}
)
"""Words that tell what is measured on data apart from what is trained on."""
_LOSS = frozenset("loss losses nll ce xent crossentropy mse elbo msle bce bpc bpb bpd".split())
_COST = frozenset({"cost", "train", "training", "total", "mean", "avg"})
_PERPLEXITY = frozenset({"ppl", "perplexity"})
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
    "scores signs scale scaler scaling weight weights count spike coef ratio std var "
    "frac fraction num nan finite best tokens toks mask masks packet packets stop "
    "hits pct percent".split()
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
    if (keras := _KERAS.fullmatch(tag)) is not None and not GRADIENT & frozenset(words(tag)):
        return "layer_parameter", keras["variable"]
    parts = words(tag)
    have = frozenset(parts)
    if have & ATTENTION and (have & LOGIT or is_extreme(have)) and not have & _LOSS:
        return "attention_logit", layer_of(tag) or number_of(tag)
    role = _tensor_role(tag, have)
    if role is not None:
        layer = layer_of(tag)
        if layer is not None:
            return role, layer
        if role == "layer_parameter" and have & _MAGNITUDE and have & PARAMETER:
            return role, None
    if _OF_HISTOGRAM.search(tag):
        return "other", None  # The extremes and counts of many losses are no loss.
    if "losses" in have and _only_filed(tag):
        return "other", None
    return _global_role(parts, have), None


_NORM_BARS = re.compile(
    r"(?<!\w)\|{1,2}(g|w)\|{1,2}(?=[\s/._:-]*(?!(?:before|after|pre|post|total|global|all)\b)[A-Za-z])",
    re.IGNORECASE,
)
"""The norm of a gradient or a weight as formulas write it, before the name of its layer."""


def _spelled(bars: re.Match[str]) -> str:
    return "grad_norm" if bars[1].lower() == "g" else "weight_norm"


def _tensor_role(tag: str, have: frozenset[str]) -> SeriesRole | None:
    """Which kind of tensor the metric measures, told by the parts that name a quantity."""
    if have & GRADIENT:
        return "layer_gradient"
    if have & {"loss", "losses"}:
        return None
    measured = bool(have & STATISTIC)
    split = [(part, frozenset(words(part))) for part in re.split(r"[/#.\s]+", tag)]
    # The norm of output_proj.weight is that of a parameter.
    owned = any(named and named <= OWN_NAMES - AMBIGUOUS for _, named in split)
    activation = ACTIVATION if measured and not owned else ACTIVATION - AMBIGUOUS
    for part, named in split:
        if named & activation or (not owned and _is_output(named)):
            return "layer_activation"
        if named & PARAMETER and named <= PARAMETER | STATISTIC | {"train", "layer"}:
            return "layer_parameter"
        if measured and part != tag and named and named <= OWN_NAMES - AMBIGUOUS:
            return "layer_parameter"
    return None


def _is_output(named: frozenset[str]) -> bool:
    """``out_absmax``: a statistic of what a layer gives; *out* alone is a module's name."""
    return "out" in named and bool(named & STATISTIC) and named <= STATISTIC | {"out"}


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
    if (have & GRADIENT and have & (STATISTIC | {"l2"})) or have & {"gnorm", "gradnorm"}:
        return "grad_norm"
    if parts in _GRADIENT_NORMS or _is_gradient(parts):
        return "grad_norm"
    if "norm" in have and have & {"unclipped", "preclip"} and not have & PARAMETER:
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
    named = [word for word in parts if word not in FAMILY]
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
