"""Lines in which the program itself says, in words, that something is NaN or Inf.

Samples, each from a public program::

    NAN in logits!!!                                                               (EasyEdit)
    Loss is nan, stopping training                                                 (DETR, MAE)
    Loss is not finite (global_avg_loss=nan) at step 3. Stopping training.         (torchtitan)
    RuntimeError: training_loss became nan or inf somewhere within steps [0 - 50]  (big_vision)
    Batch 5: Invalid loss, terminating training                                    (Keras)
    ERROR:tensorflow:Model diverged with loss = NaN.                               (TF Estimator)
    AssertionError: Rank 3: found NaN in local grad norm in backward pass          (Megatron)
    Unexpected result nan on rank 3 at iteration #12 invocation #1 (message='...') (Megatron)
    ValueError: The loss returned in `training_step` is nan.                       (Lightning)
    NaN or Inf found in input tensor.                                              (tensorboardX)
    NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8])          (fairseq)
    [guard] step 31 first bad grad: encoder.layers.3.norm.weight (nan=64/64)
    NaN/Inf forward output: layers.0.self_attn (Attention) | input finite: True
    AssertionError: NaN gradient in backbone.0.weight at step 25 (loss 0.1318)
    epoch 3: skipping batch 212: non-finite loss (nan)                             (guards)
    isfinite(inputs).all()=False

Speculation is no evidence: ``might become NaN``, ``NaN-safe``, ``nan_to_num``, the name of an
option, a zero count, or the source line that a traceback quotes say nothing of this run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.layer_tables import is_heading
from nanautopsy.readers.text.named_layer import layer
from nanautopsy.readers.text.named_list import alone, layers_of, promises_a_list
from nanautopsy.readers.text.named_quantity import is_untrue, quantity
from nanautopsy.readers.text.numbers import NONFINITE
from nanautopsy.readers.text.skipped_steps import is_skip
from nanautopsy.readers.text.soundness import forward_sound, sound_input
from nanautopsy.readers.text.tensor_flags import (
    flagged,
    named_flags,
    without_denials,
    without_flags,
)
from nanautopsy.readers.text.vagueness import CODE, SPECULATION, is_vague

_STATE = re.compile(
    r"\b(?:is(?!\s?[:=])|are|was|were|became|become|becomes|turned|went|goes|gone|got|has|have|had|contains?"
    r"|contained|containing|detected|found|encountered|returned|returns|produced|hit|diverged|seen"
    r"|occurred|appeared|equals?|saw|result|stop(?:ping|ped)?|abort(?:ing|ed)?|skip(?:ping|ped)?"
    r"|overflow(?:s|ed)? (?:in|at|of)|terminat(?:ing|ed)|during|appears?|arises?"
    r"|reach(?:es|ed)|flow(?:s|ed|ing)|bad|receiv(?:es?|ed|ing)"
    r"|holds?|held|carr(?:y|ies|ied)|shows?|showed|yield(?:s|ed)?|gave|gives?|hav(?:e|ing))\b|!!"
    r"|\b(?:param(?:eter)?|weight)s? (?:\w+ )?(?:norm|max|mean|sum)\b"
    r"|\bfirst (?:\w+ ){0,3}(?:nan|inf)s?\b"
    r"|\b(?:bad|invalid|broken|corrupt(?:ed)?|exploded) (?:grad\w*|loss\w*|updates?|weights?)\b"
    r"|包含|含有|出现|存在|发现|检测到|变为|\b(?:nan|inf)s? (?:in|after|at) \w",
    re.IGNORECASE,
)
_NOT_FINITE = re.compile(
    r"\b(?:not finite|non-?\s?finite|isn't finite|not all finite|infinite loss)\b", re.IGNORECASE
)
_OF = re.compile(
    r"\b(?:nan|inf|nan/inf|non-?finite)s? (?:forward |backward )?"
    r"(?:grad\w*|loss\w*|outputs?|activations?|weights?|param\w*|logits?|values?)\b\s*(?:in|at|of|for|:)",
    re.IGNORECASE,
)
"""A heading before the name of the place: ``NaN gradient in fc2.weight``."""
_AMOUNT = re.compile(r"\b[1-9]\d* (?:nan|inf)s?(?: (?:values?|entries|elements))?\b", re.IGNORECASE)
"""How many there are in what is named: ``head.weight: 32 NaN values``."""
_ASSIGNED = re.compile(
    r"\b(?:out(?:put)?s?|grad(?:ient)?s?|act(?:ivation)?s?|values?|result|status)\s*[:=]\s*\W?(?:nan|inf)\b"
    r"(?!\s*[:=]?\s*\d)",
    re.IGNORECASE,
)
"""What a check found: ``layers.2.mlp: in=ok out=NaN``."""
_BESIDE = re.compile(
    r"\b(?:output|gradient|grad|activation|weight)s? (?:nan|inf)\b"
    r"|\b(?:nan|inf) (?:output|gradient|grad|activation|weight)s?(?=$|[\s!.,;:(])",
    re.IGNORECASE,
)
"""Of a layer that the line names: ``bn3: NaN output``."""
_SPEAKER = re.compile(r"^\W*\[[\w .-]{1,24}\]\s+")
"""Who speaks, which is often a guard or a check."""
_LEFT_OUT = re.compile(
    r"\b(?:update|step|iteration|gradient|(?:mini-?)?batch|sample)s?(?: #?\d+)? "
    r"(?:(?:is|was|were) )?(?:dropped|ignored|discarded)\b"
    r"|\b(?:dropping|ignoring|discarding) (?:this |the )?"
    r"(?:update|step|iteration|gradient|(?:mini-?)?batch|sample)",
    re.IGNORECASE,
)
"""What a program does about it."""
_MESSAGE = re.compile(r"\(message='([^']*)'\)")
_EITHER = re.compile(r"\b(?:nans?/infs?|infs?/nans?)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z])")
_KERAS = "Invalid loss, terminating training"
_BEST = re.compile(
    r"\b(?:masks?|masked|(?:ratio|snr|condition number)(?:\W+|\W+is\W+)inf|best|decreased|improved"
    r"|max_(?:grad_)?norm|not clipped|no clipping|from inf to|\w*clip\w*\W{1,3}inf|minimum"
    r"|(?:invalid|illegal|impossible|forbidden) (?:actions?|moves?|tokens?|transitions?|states?)"
    r"|lowest|patience|min(?!\s*=\s*-?\d))\b",
    re.IGNORECASE,
)
_OF_SCORE = re.compile(
    r"\b(?:metrics?|scores?|au(?:ro)?c|auprc|m?ap\d*|f1|r2|psnr|ssim|bleu|rouge\w*|[wc]er|m?iou|dice"
    r"|ndcg|mrr|pearson\w*|spearman\w*|corr\w*|accuracy|precision|recall|perplexity)(?:[ _]\S+)?"
    r"\s+(?:is|are|was|were|has|have|contains?|became)\s+(?:a\s+)?(?:nan|inf)s?\b",
    re.IGNORECASE,
)
"""Of a measure of success, which has no value where there is nothing to measure."""
_AT_STEP = re.compile(
    r"(?<!\w[:.])\b(?:step|iteration|iter|update)s?\s*[:#=]?\s*#?(\d+)(?![\d.]*\w)", re.IGNORECASE
)
_WITHIN = re.compile(r"within steps \[(\d+) - (\d+)\]")
_BATCH = re.compile(r"\b(?:batch|batch[_ ](?:idx|index|no))\s*[:#=]?\s*#?(\d{1,12})\b", re.I)
_EPOCH = re.compile(r"\bepoch\s*[:#=]?\s*(\d{1,6})\b", re.IGNORECASE)
_MODULE = re.compile(r"\((?:type )?([A-Z][A-Za-z]+\d?[dD]?)\)|\btype[=: ]+([A-Z][A-Za-z]+)\b")
"""The class of a module behind its name: ``layers.3.attn.softmax (Softmax)``."""
_MOST_LISTED = 5000
_RANK = re.compile(r"\brank[ :#=]*(\d+)", re.IGNORECASE)
_NODE = re.compile(r"\bnode[ :=]+([\w.-]+)", re.IGNORECASE)
_REPRODUCIBLE = re.compile(
    r"(First|Second) rerun: unexpected result is (not )?reproducible", re.IGNORECASE
)


def _on_line(log: Log, line: Line) -> None:
    text = line.text[:2000]
    text = text[max(0, text.rfind("Batch ", 0, text.find(_KERAS) + 1)) :]  # behind Keras' own bar
    said = said_value(text)
    if said is None or is_heading(text):
        return
    # Of a row of metrics the counter is understood better: its step may be one of an epoch.
    # A sentence that gives the loss in passing states its step as any other does.
    in_row = log.row >= 0 and log.rows.of_line(line.number) and not forward_sound(text)
    step = None if in_row else _AT_STEP.search(text)
    if step is not None:
        log.go_on_to(int(step[1]), line)
    rank = _RANK.search(text)
    node = _NODE.search(text)
    within = _WITHIN.search(text)
    batch = _BATCH.search(text)
    if step is None and batch and (epoch := _EPOCH.search(text)) and int(epoch[1]) == 0:
        step = batch  # of the first epoch
    whole_epoch = _EPOCH.search(text) if step is None and batch is None and not in_row else None
    module = _MODULE.search(text)
    flags = named_flags(text)
    listed, cut = (flags, False) if flags else layers_of(text)

    def tell(below: Sequence[str] = ()) -> None:
        log.event(
            "nonfinite-text",
            line,
            step=int(within[2]) if within else int(step[1]) if step else None,
            exact=within is None,
            rank=int(rank[1]) if rank else None,
            value=said,
            quantity=quantity(text),
            layer=layer(text),
            layers=tuple(below) or listed or None,
            layers_cut=cut or None,
            sound_input=sound_input(text),
            forward_sound=forward_sound(text) or None,
            node=node[1] if node else None,
            after_step=int(within[1]) if within else None,
            batch=int(batch[1]) if batch else None,
            epoch=int(whole_epoch[1]) if whole_epoch else None,
            module_class=module[1] if module else None,
        )

    if listed or layer(text) or not promises_a_list(text) or line.rank in log.following:
        tell()
    else:
        _follow_list(log, line, tell)


def _follow_list(log: Log, line: Line, tell: Callable[[Sequence[str]], None]) -> None:
    """Tell it when the lines below have been read that name its layers, a layer each."""
    below: list[str] = []

    def take(line: Line) -> Take:
        name = alone(line.text)
        if name is None:
            return Take.NOT_MINE
        below.append(name)
        return Take.MORE

    log.follow(line, take, lambda: tell(below), _MOST_LISTED)


def said_value(text: str) -> str | None:
    """``nan`` or ``inf`` when the line states that something is, ``None`` otherwise."""
    text = without_denials(_MESSAGE.sub(r"(\1)", text[:2000]))
    if _KERAS in text or is_untrue(text) or named_flags(text):
        return "nan"
    text = _LEFT_OUT.sub("", _SPEAKER.sub("", text))
    # Advice may follow, or stand before: "... is nan. Check your data."
    said = [value for sentence in _SENTENCE.split(text) if (value := _said_in(sentence))]
    if not said and (counted := _counted_in(text)):
        return counted
    return None if not said else "nan" if "nan" in said else "inf"


def _counted_in(text: str) -> str | None:
    """What flags and counts say of one named tensor of a forward or backward pass; masks hold
    Inf."""
    found = flagged(text)
    if not found or layer(text) is None:
        return None
    told = without_flags(_unnamed(text))
    if SPECULATION.search(told) or CODE.search(told):
        return None
    if "nan" in found:
        return "nan"
    return "inf" if quantity(text) in ("gradient", "activations", "loss", "logits") else None


def _said_in(text: str) -> str | None:
    words = [m[2].lower()[:3] for m in NONFINITE.finditer(_EITHER.sub("nan", text))]
    vague = is_vague(_unnamed(text))
    if _NOT_FINITE.search(text) is not None:
        if vague:
            return None
        return "inf" if "nan" not in words and re.search(r"\binf", text, re.I) else "nan"
    if not words and re.search(r"\bNaNs\b|\binfs\b|\bnans\b", text):
        words = ["nan" if re.search(r"\bnans\b", text, re.I) else "inf"]
    named = layer(text) is not None
    headed = (_OF.search(text) or _AMOUNT.search(text)) is not None
    beside = (_ASSIGNED.search(text) or _BESIDE.search(text)) is not None
    placed = (named and (headed or beside)) or (headed and _AT_STEP.search(text) is not None)
    if not words or vague or not (placed or _STATE.search(text)):
        return None
    if _OF_SCORE.search(text) and quantity(text) in (None, "loss"):
        return None
    if "nan" in words:
        return "nan"
    # Bounds, masks and running minima are infinite by design: only a known quantity counts.
    return None if _BEST.search(text) or quantity(text) is None else "inf"


def _unnamed(text: str) -> str:
    """The line without the layer's name, whose words say nothing: ``layers.3.dropout``."""
    name = layer(text)
    if name is None:
        return text
    return re.sub(re.escape(name) + r"(?::\d+)?", "it", text)  # Keras numbers its variables


def _on_rerun(log: Log, line: Line) -> None:
    """Megatron's rerun machine: did the same computation give the same NaN again?"""
    match = _REPRODUCIBLE.search(line.text)
    if match is None:
        return
    rank = _RANK.search(line.text)
    step = _AT_STEP.search(line.text)
    transient = match[2] is not None
    log.event(
        "hardware-error" if transient else "nonfinite-text",
        line,
        step=int(step[1]) if step else None,
        exact=True,
        rank=int(rank[1]) if rank else None,
        rerun=match[1].lower(),
        reproducible=not transient,
    )


def _plan(line: Line, lower: str) -> Handler | None:
    if " rerun: unexpected" in lower:
        return _on_rerun
    if "detected overflow" in lower or is_skip(line.text):
        return None  # DeepSpeed's, and other scalers'
    return _on_line if said_value(line.text) is not None else None


DIALECT = Dialect(
    name="nonfinite-text",
    triggers=("nan", "nans", "inf", "infs", "not finite", "non-finite", "nonfinite", "non finite",
              "infinity", "infinite", "finite=false", "finite: false", "finite:false",
              "finite = false", ")=false", "): false", "invalid loss",
              "bad grad", "invalid grad", "broken grad", " rerun: unexpected"),
    plan=_plan,
    statement=True,
)  # fmt: skip
