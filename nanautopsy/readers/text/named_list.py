"""Several layers that a line names, or the lines below it.

Samples::

    step 31: non-finite gradient leaves: params/Dense_1/kernel, params/sigma/bias
    !! 3 tensors with NaN grads: ['head.bias', 'head.weight', 'blocks.2.fc.weight']
    gradient check failed: 2/13 leaves not finite
        .layers[2].weight
        .layers[2].bias
    NaN in gradients of 9 parameters: fc1.weight, fc1.bias, fc2.weight, ... (6 more)
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.named_layer import (
    KEYSTR,
    LAYER_WORD,
    PATH,
    is_path,
    looks_like_a_layer,
    spelled,
)

_NAME = re.compile(rf"{PATH}|{KEYSTR}|\[['\"]?[\w ./~-]+['\"]?\]|{LAYER_WORD}", re.IGNORECASE)
_QUOTED = re.compile(r"(['\"`])[A-Za-z_]\w*\1")
_FEWEST = 2
_SEPARATORS = re.compile(r"[,;\s]+")
_MORE = re.compile(r"^(?:\.\.\.|\u2026|\(?(?:and|\+)\s?\d+|\(?\d+ (?:more|others))")
_OPEN, _CLOSE = "([{<", ")]}>"
_PROMISES = re.compile(
    r":\s*$|\b\d+(?:\s?/\s?\d+|\s+of\s+\d+)?\s+(?:\w+\s+)?"
    r"(?:leaves|params|parameters|tensors|layers|modules|grads|gradients|arrays|weights)\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"\s*(?:\[[A-Za-z][\w .-]{0,23}\]\s+|\W{0,2}\d{1,4}[.):]\s+|[-*\u2022>|]+\s+)?"
)
_BEHIND = re.compile(r"\s*(?:(?:[:=|(\[\-,]|torch\.Size|shape|nan|inf|\d).*)?", re.IGNORECASE)
"""What a line may say more of the layer that it names: its shape, how many there are."""


def layers_of(text: str) -> tuple[tuple[str, ...], bool]:
    """The longest list of layers in a line, as it is ordered there, and whether the line says that
    it was cut."""
    best: list[str] = []
    current: list[str] = []
    cut = False
    for token in _SEPARATORS.split(text[:16_000]):
        name = _name(token)
        if name is not None:
            current.append(name)
            if len(current) > len(best):
                best, cut = current, False
            continue
        if current and current is best and _MORE.match(token):
            cut = True
        current = []
    return (tuple(dict.fromkeys(best)), cut) if len(best) >= _FEWEST else ((), False)


def promises_a_list(text: str) -> bool:
    """Whether the lines below may name the layers that it speaks of."""
    return _PROMISES.search(text) is not None


def alone(text: str) -> str | None:
    """The layer that a line of a list names; ``None`` for any other line."""
    rest = text[_BEFORE.match(text).end() :]  # type: ignore[union-attr]
    token, _, behind = rest.strip().partition(" ")
    token = token.rstrip(":,")
    if not _BEHIND.fullmatch(behind.strip()):
        return None
    return _name(token)


def _name(token: str) -> str | None:
    while token[:1] in _OPEN and token and _unbalanced(token):
        token = token[1:]
    while token[-1:] in _CLOSE and token and _unbalanced(token):
        token = token[:-1]
    quoted = _QUOTED.fullmatch(token) is not None
    token = token.strip("'\"`").rstrip(".:") if token[:2] not in ("['", '["') else token
    if quoted:
        return token
    if _NAME.fullmatch(token) is None or not is_path(token):
        return None
    name = spelled(token)
    dotted = any(mark in token for mark in "./[")
    return name if not dotted or looks_like_a_layer(name) or token[0] in ".[" else None


def _unbalanced(token: str) -> bool:
    return any(
        token.count(opened) != token.count(closed)
        for opened, closed in zip(_OPEN, _CLOSE, strict=True)
    )
