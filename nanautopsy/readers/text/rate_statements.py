"""Lines in which the program says that it sets the learning rate.

Samples::

    Adjusting learning rate of group 0 to 1.0000e-02.                       (torch's schedulers)
    Epoch 00020: reducing learning rate of group 0 to 1.0000e-03.           (ReduceLROnPlateau)
    Epoch 3: LearningRateScheduler setting learning rate to 0.01.           (Keras)
    Learning rate changed from 0.001 to 0.1                                 (hand-written loops)
    lr: 0.01 -> 0.001
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.vagueness import is_vague

_NUMBER = r"(\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)(?![\w%])"
_SET = re.compile(
    r"(?<![\w.-])(?:learning[ _-]?rate|lr)\b(?: (?:of|for) (?:(?:param\w* )?group )?\w+)?"
    r"(?: (?:is|was|has been|now|changed|set|reset|adjusted|reduced|decayed|increased|raised"
    r"|updated|dropped|multiplied)){0,3}"
    rf"(?:(?::| from)? *{_NUMBER})? *(?:\bto\b|->|=>|\u2192|\bnow\b) *{_NUMBER}",
    re.IGNORECASE,
)


def _on_rate(log: Log, line: Line) -> None:
    match = _SET.search(line.text)
    if match is not None:
        before = None if match[1] is None else float(match[1])
        log.event("rate-set", line, value=float(match[2]), before=before)


def _plan(line: Line, lower: str) -> Handler | None:
    match = _SET.search(line.text)
    return None if match is None or is_vague(line.text) else _on_rate


DIALECT = Dialect(
    name="rate-statements",
    triggers=("learning rate", "learning_rate", "learning-rate", "lr"),
    plan=_plan,
)
