"""What programs say, before they train, of the weights that they begin with.

Samples::

    token embeddings resized from 300 to 304
    embedding 32000 -> 32006 rows, 6 new (torch.empty)
    The new vocabulary has 2 more tokens; embeddings were resized
    UserWarning: adapter was trained on base 8185711712fc, attaching it to base bf787b5d8c94
    base model mismatch: adapter_config says llama-7b, loaded mistral-7b
    Checkpoint architecture "lm_postnorm" does not match model "lm_prenorm"
    checkpoint arch: mixer_s, model arch: vit_s
    [convert] source metrics from card: val_mse 0.2650
    checkpoint meta: step 300, loss 0.99627
    init from converted.pt (source: jax run 31, step 600, val_mse 12.0652)
    => loaded weights/best.pth (epoch 38, val_loss 0.412)

New rows that a line says to be filled in (``mean of the old ones``) were initialized. A level that
the source reached is one to compare the first loss with.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_TABLE = (
    r"(?:(?:token|word|input|output|text|input/output) )?(?:embeddings?(?: (?:table|matrix"
    r"|layer|weights?))?"
    r"|vocab(?:ulary)?(?: size)?|lm[_ ]head|wte|embed_tokens)"
)
_GROWN = r"(?:resiz|extend|expand|enlarg|grow(?!th)|grew|increas)(?:ed|ing|es?|s|n)?"
_RESIZED = re.compile(
    rf"\b{_GROWN}\s+(?:the )?(?:model(?:'s)? |tokenizer(?:'s)? )?{_TABLE}\b"
    rf"|\b{_TABLE}\b[\w ,:'()]{{0,30}}\b{_GROWN}\b|\bresize_token_embeddings\b[^.]{{0,40}}\d"
    r"|\b(?:vocab(?:ulary)?|embeddings?)(?:[_ ]size)?\b[^;.]{0,20}?\d+\s*(?:->|=>|\u2192)\s*\d+"
    r"|\b(?:padd(?:ed|ing)) (?:the )?(?:vocab(?:ulary)?|embeddings?)\b[^;.]{0,30}\d",
    re.IGNORECASE,
)
_FILLED = re.compile(
    r"\bmean\b|averag|\bcop(?:y|ied)|\binit(?:iali[sz]ed)?\b|\bnormal\b|\bzeros?\b|\bfilled\b"
    r"|\bfrom the old"
    r"|\bavg\b|\bnot (?:needed|required|resized)|\bno\b|\bxavier|\brandom",
    re.IGNORECASE,
)
"""What the new rows hold, or that there are none."""
_UNFILLED = re.compile(
    r"\b(?:torch|np|numpy)\.empty\w*|\b(?:un|non-?)initiali[sz]ed\b"
    r"|\bnot (?:yet )?(?:been )?(?:initiali[sz]ed|filled)\b|\bwithout init\w*",
    re.IGNORECASE,
)
"""That they hold what the memory held."""

_WEIGHTS = (
    r"(?:adapters?|lora(?: weights)?|checkpoint|ckpt|weights|delta|state|model|head|file|it"
    r"|soft prompt)"
)
_MADE = (
    r"(?:trained|built|created|made|fit(?:ted)?|saved|exported|tuned|fine-?tuned|intended|meant"
    r"|produced|computed)"
)
_BASE = (
    r"(?:base(?:[ _](?:model|checkpoint|weights?))?(?:[ _](?:hash|sha(?:256)?|fingerprint"
    r"|name(?:_or_path)?))?"
    r"|backbone|architecture|arch|model[ _](?:type|class|name|family)|fingerprint)"
)
_ANOTHER = re.compile(
    rf"\b{_WEIGHTS}\b(?:[^.;]{{0,40}}\b{_MADE} (?:on|for|with|from|against|over|on top of)\b"
    r"| (?:is|are|was|were|comes?|stems?) (?:from|of|for) (?:an? |the )?(?:model|arch\w*)\b)"
    rf"(?P<first>[^;]{{1,80}}?)(?:,|;|\bbut\b|\bwhile\b|\bwhereas\b|\band\b)[^;]{{0,30}}"
    r"\b(?:attach\w*|apply\w*|load\w*|this|the (?:current|loaded|given)|got|found|here|now|is"
    r"|run\w*|builds?)\b"
    rf"(?P<second>.{{1,80}})"
    rf"|\b{_BASE}\b.{{0,30}}?\b(?:mismatch\w*|differs?|(?:does|do|did) not match|is not the)\b"
    rf"|\bexpect(?:s|ed|ing) {_BASE}\b.{{1,80}}\b(?:got|found|but|loaded)\b"
    rf"|\b{_BASE}\b[^;]{{0,30}}\bexpect(?:s|ed)\b.{{1,80}}\b(?:got|found|but|loaded)\b",
    re.IGNORECASE,
)
"""Weights made on one model and put on another, by name or fingerprint."""
_TYPES = re.compile(r"\bmodel of type `?(\w+)`? to instantiate a model of type `?(\w+)`?")
"""Of transformers, which goes on: classes of one's own build on others' on purpose."""
_SAME = re.compile(
    r"\b(?:same|ok|(?<!not )(?<!n't )match(?:es|ed)?|verified|no mismatch|ignoring)\b(?! not)", re.I
)
_NAME = r"['\"`]?(?P<{0}>[A-Za-z][\w./-]*\w)['\"`]?"
_OF = r"(?:arch(?:itecture)?|model(?:[ _](?:name|type|class|family))?|variant)"
_NAMED = re.compile(
    rf"\b(?:checkpoint|ckpt|saved|stored|restored|weights)(?:'s)?[ _.](?:has |says |gives "
    rf"|is )?(?:the )?"
    rf"{_OF}\s*[:=]?\s*{_NAME.format('first')}\W[^;]{{0,24}}?"
    rf"\b(?:this (?:run|model)|model|config(?:ured|uration)?|current|requested|built|expected"
    rf"|target|run)"
    rf"(?:'s)?[ _.](?:has |says |wants |is )?(?:the"
    rf" )?(?:{_OF}\s*[:=]?\s*)?{_NAME.format('second')}",
    re.IGNORECASE,
)
"""Both names beside each other: ``checkpoint arch: mixer_s, model arch: vit_s``"""

_LOSS = r"(?:loss|mse|mae|nll|xent|ce|bce|cross[_ -]?entropy|ppl|perplexity|bpb|bpc|elbo)"
_LEVEL = re.compile(
    rf"\b(?P<tag>(?:(?:val|valid|validation|eval|dev|test|train|training|final|best|last)[_"
    rf" /]?)*{_LOSS})"
    r"(?P<between>[ a-z()]{0,24}?)\s*[=:]?\s*(?P<value>\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?![\w.])",
    re.IGNORECASE,
)
_OF_SOURCE = re.compile(
    r"\b(?:source|checkpoint|ckpt|(?:model )?card|meta(?:data)?|pre-?trained|pre-?training"
    r"|published"
    r"|reference|original|upstream|reported|teacher run|in its (?:own )?run|adapter|when "
    r"(?:it was )?saved"
    r"|at save(?: time)?|stored|base model)\b"
    r"|\b(?:load(?:ed|ing)?|restor(?:ed|ing)|init\w*|warm[- ]?start\w*|start\w*|weights) .{0,40}?"
    r"\.(?:pt|pth|ckpt|bin|tar|safetensors|npz)\b",
    re.IGNORECASE,
)
_FUTURE = re.compile(
    r"\b(?:save|saving|will|every|threshold|target|until|if|when|monitor)\b(?! it)", re.I
)


def resized(text: str) -> bool:
    """Whether the line says that a vocabulary grew, and nothing of what its new rows hold."""
    if _RESIZED.search(text) is None:
        return False
    return _UNFILLED.search(text) is not None or _FILLED.search(text) is None


def of_another(text: str) -> bool:
    """Whether the line says that the weights are another model's."""
    found = _NAMED.search(text) or _ANOTHER.search(text)
    if found is None or _SAME.search(text):
        return False
    return found["first"] is None or _last(found["first"]) != _last(found["second"])


def _last(words: str) -> str:
    return "".join(words.lower().split()[-1:]).strip("'\"`.,)")


def level(text: str) -> tuple[str, float] | None:
    """Which loss the source of the weights had, and its value."""
    found = _LEVEL.search(text)
    if found is None or _OF_SOURCE.search(text) is None or _FUTURE.search(text):
        return None
    return found["tag"], float(found["value"])


def _on_line(log: Log, line: Line) -> None:
    text = line.text
    if (types := _TYPES.search(text)) is not None:
        if types[1] not in types[2] and types[2] not in types[1]:  # llava_llama is a llava
            log.event("weights-of-another", line, types=f"{types[1]}, {types[2]}")
    elif of_another(text):
        log.event("weights-of-another", line)
    elif resized(text):
        unfilled = _UNFILLED.search(text) is not None
        log.event("embeddings-resized", line, unfilled=unfilled or None)


def _on_level(log: Log, line: Line) -> None:
    stated = level(line.text)
    if stated is not None:
        log.event("level-stated", line, tag=stated[0], value=stated[1])


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if len(text) > 500:
        return None
    if of_another(text) or resized(text) or _TYPES.search(text):
        return _on_line
    return _on_level if level(text) is not None else None


DIALECT = Dialect(
    name="start-words",
    triggers=(
        "embedding", "vocab", "lm_head", "embed_tokens", "adapter", "lora", "backbone", "base ",
        "architecture", "fingerprint", "mismatch", "checkpoint", "metrics", "metadata", " meta",
        "pretrained", "pre-trained", "reference", "init from", "initialized from", "loaded ",
        "restored ", "warm start", "warm-start", "starting from",
        "to instantiate a model", "ckpt is", "ckpt was", "ckpt arch", "ckpt model",
    ),
    plan=_plan,
)  # fmt: skip
