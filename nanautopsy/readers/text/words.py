"""What the words of a metric's name say: is it a metric, a counter, or a setting."""

from __future__ import annotations

import re
from functools import lru_cache

from nanautopsy.readers.text.foreign_words import in_english

_WORDS = re.compile(r"\b[lL][12](?![a-z0-9])|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_EXCEPTION = re.compile(r"[a-z](?:Error|Exception|Warning)$")
"""``AssertionError: nan gradient``"""
_GROUP = re.compile(r"[/_ (-]group_? ?\d", re.IGNORECASE)
_HASH = re.compile(r"\d{3}")
"""No counter has a number in its name, but garbage and identifiers have."""
_BARS = re.compile(
    r"(\|{1,2})(?:g|grads?|gradients?|\u2207\w{0,8}|d?[wW]|theta|\u03b8|params?|weights?|updates?)\1"
    r"(?: [a-z][a-z_ -]{0,30})?"
)
"""A norm as it is written in formulas."""

_LOSSES = frozenset(
    "loss losses nll bce xent crossentropy ppl perplexity elbo msle bpb bpc bpd gnorm lossval"
    " trainloss valloss testloss objective".split()
)
_NORMS = frozenset("grad grads gradient gradients param params parameter update weight".split())
OBJECTIVES = frozenset(
    "ce mse bce mae rmse sse huber recon reconstruction kld supcon infonce nce contrastive triplet"
    " hinge focal ctc l1 l2 mape smape cox pinball quantile chamfer tversky ntxent bpr crps orpo"
    " dpo simpo listnet ranknet mlm clm mim lm mpjpe".split()
)
"""Losses by the name of their formula: ``train_ce``."""
_METRICS = _LOSSES.union(
    OBJECTIVES,
    "lr acc accuracy kl reward rewards rew eprewmean entropy score auc f1 iou miou map bleu psnr"
    " ssim wer cer err error cost energy logits logit logps advantage advantages clipfrac dice"
    " norm precision recall dist divergence return returns adv idt commitment".split(),
)
_SCALERS = frozenset("loss grad gradient amp scaler fp".split())

_NOT_METRICS = frozenset(
    "time eta sec secs second seconds elapsed ms mem memory gpu gpus cuda cpu throughput speed tps"
    " tflops flops mfu date pid port seed device host workers version id job node nodes line file"
    " asctime timestamp ts port hours minutes duration latency allocated reserved cached bytes size"
    " seqlen".split()
)
_SETTINGS = frozenset(
    "coef coeff coefficient weight weights alpha beta gamma lambda type threshold patience decay"
    " warmup max min eps epsilon window init initial power interval freq frequency every steps"
    " num dim clip clipping smoothing fn function name ignore mode dynamic static chunks"
    " reduction scaling use with without enable enabled hysteresis factor schedule".split()
)
_OF_GRAPHS = frozenset("labeled labelled target supervised masked valid isolated".split())
"""Beside these words nodes are a graph's, and no machines."""
_LOADING = ("data",)
"""``Data: 0.01``: seconds, in the programs that grew from ImageNet's examples."""
_NOT_COUNTERS = frozenset(
    "total max num warmup per logging save saving every no gradient accumulation accum tokens this"
    " number remaining time ms sec decay size freq interval samples start end last best first after"
    " saved before skipped nan skip load loaded loading resume resuming until maximum of".split()
)
_STEPS = frozenset(
    "step steps iter iters iteration iterations itr it update updates upd round rounds".split()
)
_BATCHES = frozenset("batch minibatch microbatch microstep".split())
_EPOCHS = frozenset("epoch epochs ep".split())
_EPISODES = frozenset("episode episodes".split())
_GRADIENT = frozenset((("grad",), ("gradient",), ("gn",), ("grads",), ("gradients",)))
"""One number a step of that name alone is the norm."""


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The lower-case words of a name: ``gradNorm``, ``lm loss`` and ``train/grad_norm`` alike."""
    return tuple(word.lower() for word in _WORDS.findall(in_english(name)))


@lru_cache(maxsize=4096)
def is_loss(name: str) -> bool:
    """A loss, or what only a loss-like metric is called: good enough without a counter."""
    parts = words(name)
    if is_bars(name):
        return True
    if not parts or parts[-1] == "scale":
        return False
    return any(word in _LOSSES or word.endswith("loss") for word in parts) or is_norm(parts)


def is_objective(name: str) -> bool:
    """A loss, or the name of a formula that is used as one."""
    return is_loss(name) or not OBJECTIVES.isdisjoint(words(name))


def is_bars(name: str) -> bool:
    """``|g|`` or ``||grad||``."""
    return _BARS.fullmatch(name) is not None


def is_norm(parts: tuple[str, ...]) -> bool:
    """Norm of gradients, parameters or updates."""
    named = "norm" in parts or "norms" in parts
    return (named and not _NORMS.isdisjoint(parts)) or "gradnorm" in parts


def is_gradient(name: str) -> bool:
    """``grad`` and nothing more."""
    return words(name) in _GRADIENT


@lru_cache(maxsize=4096)
def is_metric(name: str) -> bool:
    """A quantity of training that a row with a counter may hold."""
    parts = words(name)
    if is_bars(name):
        return True
    if _EXCEPTION.search(name):
        return False
    if not parts or not _NOT_METRICS.isdisjoint(parts):
        return is_loss(name) and "time" not in parts and "mem" not in parts
    if is_loss(name) or not _METRICS.isdisjoint(parts) or is_gradient(name):
        return True
    return (
        ("learning" in parts and "rate" in parts)
        or ("scale" in parts and (len(parts) == 1 or not _SCALERS.isdisjoint(parts)))
        or "skipped" in parts
        or "nan" in parts
    )


def may_join(name: str) -> bool:
    """A field that may come along in a row that has a metric already."""
    parts = words(name)
    if (
        not parts
        or (len("".join(parts)) < 2 and not name[-1].isdigit())  # l0 is a layer
        or parts == _LOADING
        or name.lower().endswith(("/s", "/sec", "per second"))
    ):
        return False
    if parts[-1] == "nodes" and not _OF_GRAPHS.isdisjoint(parts):
        return True
    return _NOT_METRICS.isdisjoint(parts)


def is_setting(name: str) -> bool:
    """Such a name without a counter beside it is configuration."""
    parts = words(name)
    if parts[-3:] == ("value", "function", "loss"):  # of reinforcement learning
        parts = parts[:-2]
    return not _SETTINGS.isdisjoint(parts) or not is_loss(name)


def is_group_rate(name: str) -> bool:
    """The learning rate of a numbered group of parameters, which no setting is called:
    ``optim/learning_rate_group0`` (OLMo), ``lr-DecoupledAdamW/group0`` (composer)."""
    parts = words(name)
    rate = "lr" in parts or ("learning" in parts and "rate" in parts)
    return rate and _GROUP.search(name) is not None


_UNDER = frozenset({"lowest", "minimum", "cap", "limit", "threshold"})


def is_best(name: str) -> bool:
    """A running best starts at infinity by design."""
    parts = words(name)
    return "best" in parts or "min" in parts or not _UNDER.isdisjoint(parts)


def counter_kind(name: str) -> str | None:
    """``global``, ``step``, ``batch``, ``episode`` or ``epoch`` for a counter's name, else
    ``None``."""
    parts = words(name)
    if not parts or _HASH.search(name):
        return None
    if parts[-1] in ("at", "no", "number", "num", "idx", "index", "id") and len(parts) > 1:
        parts = parts[:-1]
    if parts[-2:] == ("global", "step") or parts[-2:] == ("global", "steps"):
        return "global"
    if parts[-1] == "globalstep":
        return "global"
    last, before = parts[-1], parts[:-1]
    if parts[-2:] == ("num", "updates") or parts[-1] == "nupdates":
        return "global"
    if len(before) > 2 or not (_NOT_COUNTERS | _METRICS).isdisjoint(before):
        return None
    if last in _STEPS:
        return "batch" if before[-1:] in (("micro",), ("mini",)) else "step"
    if last in _BATCHES:
        return "batch"
    if last in _EPISODES:
        return "episode"
    return "epoch" if last in _EPOCHS else None


def is_plural(name: str) -> bool:
    """``steps: 100`` and ``epochs: 5`` are settings unless a loss stands beside them."""
    return words(name)[-1:] in (("steps",), ("epochs",), ("iterations",), ("iters",), ("updates",))
