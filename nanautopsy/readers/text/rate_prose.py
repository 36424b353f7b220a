"""A learning rate that a program tells in passing, before it trains.

Samples, all from hand-written loops::

    Training with learning rate 0.1 for 10 epochs
    sgd lr 0.04 momentum 0.9 clip off
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    starting run: adam, lr 3e-1, 2000 steps
    2024-01-01 10:00:00,123 - root - INFO - Optimizer: adam, learning rate: 0.1, weight decay: 0.01
    opt: adamw(3e-1), wd 0.1

Its own name, the number right behind it and a place before the first row of metrics are what tells
it; the optimizer, momentum, decay and clipping are read from the same line only.
"""

from __future__ import annotations

import re

from nanautopsy.model import Scalar
from nanautopsy.readers.text.config_echo import emit
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.vagueness import is_vague
from nanautopsy.readers.text.words import is_loss

_NUMBER = r"(\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)(?![\w%/]|\.\d)"
_IS = r"(?:\s*[:=@]\s*|\s+(?:(?:is|of|at)\s+)?)"
_RATE = re.compile(
    r"(?<![\w-])(?:(?:\w+\.)?(?:base|init|initial|peak|max|maximum|starting|constant)[ _-]?)?"
    rf"(?:learning[ _-]?rate|lr){_IS}{_NUMBER}",
    re.IGNORECASE,
)
_NAMES = (
    "sgd|adam|adamw|adamax|nadam|radam|rmsprop|adagrad|adadelta|adafactor"
    "|lion|lamb|lars|muon|sophia"
)
_NAME = re.compile(rf"(?<![A-Za-z0-9_-])(?:\w+\.)*({_NAMES})(?![A-Za-z0-9_-])", re.IGNORECASE)
_OF_CALL = re.compile(rf"\b({_NAMES})\(\s*{_NUMBER}\s*(?:\)|,\s*[a-z_]+=)", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:min|minimal|minimum|final|end|last|old|previous|best|suggested|recommended|default|found"
    r"|actor|critic|generator|discriminator|target|try|trying|sweep|candidates?)\b[^,;|]{0,20}$",
    re.IGNORECASE,
)
"""Words before a rate that is not the one of this training, or not the only one."""
_SAYS = re.compile(
    r"\s*(?:is|was|are|were|would|works?|worked|gives?|gave|seems?)\b", re.IGNORECASE
)
"""Behind a rate that a sentence is about."""
_BESIDE = (
    ("momentum", re.compile(rf"\bmomentum{_IS}{_NUMBER}", re.IGNORECASE)),
    ("weight_decay", re.compile(rf"\b(?:weight[ _-]?decay|wd){_IS}{_NUMBER}", re.IGNORECASE)),
    ("grad_clip", re.compile(rf"\bclip(?:ping)?{_IS}{_NUMBER}", re.IGNORECASE)),
)
_UNCLIPPED = re.compile(
    r"\b(?:no|without) (?:gradient )?clip(?:ping)?\b|\bclip(?:ping)?[:= ]\s*(?:off|none)\b",
    re.IGNORECASE,
)
_LONGEST = 400
"""Characters of a line in which a person states settings."""


def _settings(text: str) -> dict[str, Scalar]:
    """What the line states; empty where it states no rate."""
    if len(text) > _LONGEST:
        return {}
    call = _OF_CALL.search(text)
    rate = _RATE.search(text)
    of_another = rate is not None and (
        _OTHER.search(text[: rate.start()]) or _SAYS.match(text, rate.end())
    )
    if rate is not None and not of_another:
        found: dict[str, Scalar] = {"learning_rate": float(rate[1])}
    elif rate is None and call is not None:
        found = {"learning_rate": float(call[2])}
    else:
        return {}
    name = call or _NAME.search(text)
    if name is not None:
        found["optimizer"] = name[1]
    for key, pattern in _BESIDE:
        if match := pattern.search(text):
            found[key] = float(match[1])
    if _UNCLIPPED.search(text):
        found["grad_clip"] = 0.0
    return found


def _on_line(log: Log, line: Line) -> None:
    if len(log.rows) or log.context(line) is not None or line.rank in log.following:
        return  # part of a block, which another dialect reads as a whole
    emit(log, line, "log", _settings(line.text))


def _plan(line: Line, lower: str) -> Handler | None:
    if not _settings(line.text) or is_vague(line.text.replace("optimizer =", "optimizer:")):
        return None
    return None if any(map(is_loss, re.findall(r"[A-Za-z_]+", line.text))) else _on_line


DIALECT = Dialect(
    name="rate-prose",
    triggers=("learning rate", "learning_rate", "learning-rate", "lr", "optim", "adam", "sgd"),
    plan=_plan,
    leftover=True,
)
