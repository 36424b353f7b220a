"""What a program says of a magnitude beside float16's maximum.

Samples::

    logit max 71234.0 exceeds fp16 range
    absmax of layers.4.mlp output is 6.4e+04 (fp16 max 65504)
    [act-watch] step 310 blocks.5.ffn peak=61216 limit=65504
    headroom 1.04x to 65504 at decoder.block.2 (max |x| = 62944)

A line that gives the limit alone, advises, or clamps by design states nothing of this run.
"""

from __future__ import annotations

import re

from nanautopsy import thresholds
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.named_layer import layer
from nanautopsy.readers.text.numbers import parse

_LIMIT = re.compile(
    r"(?<![\d.])6550[04](?:\.0*)?(?![\d.]*\d)|\b(?:fp16|float16|half)(?:[- ]precision)?(?:'s)?[ _]"
    r"(?:max(?:imum)?|range|limit|ceiling)\b",
    re.IGNORECASE,
)
_MAGNITUDE = re.compile(r"(?<![\w.])-?(\d+(?:\.\d+)?(?:e[+]?\d+)?)(?![\w.%]|:\d)", re.IGNORECASE)
_NO_STATEMENT = re.compile(
    r"\b(?:if|when|unless|should|could|would|must|may|might|can(?:not|'t)?|recommend\w*|consider"
    r"|clamp\w*|clip\w*|threshold|default\w*|usage|help|please|try|instead|mask\w*|fill\w*"
    r"|loss[ _]scale\w*)\b|[?]|--\w",
    re.IGNORECASE,
)
_AT_STEP = re.compile(r"\b(?:step|iter(?:ation)?|update)s? *[:#=]? *#?(\d{1,9})\b", re.IGNORECASE)
_BEYOND = 1e9
"""More is a count, an identifier or a time."""


def _largest(text: str) -> float | None:
    """The magnitude that is named beside the limit; ``None`` where there is none near it."""
    limit = _LIMIT.search(text)
    if limit is None or _NO_STATEMENT.search(text):
        return None
    text = _AT_STEP.sub(" ", _LIMIT.sub(" ", text))
    found = [parse(match[1]) for match in _MAGNITUDE.finditer(text)]
    near = [v for v in found if v is not None and thresholds.FP16_LARGE <= v < _BEYOND]
    return max(near, default=None)


def _on_line(log: Log, line: Line) -> None:
    value, step = _largest(line.text), _AT_STEP.search(line.text)
    if value is not None:
        log.event(
            "magnitude-near-limit",
            line,
            step=int(step[1]) if step else None,
            exact=step is not None,
            value=value,
            layer=layer(line.text),
        )


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_line if len(line.text) <= 400 and _LIMIT.search(line.text) else None


DIALECT = Dialect(
    name="limit-text",
    # Digits are no part of a trigger: of the number itself nothing would be left.
    triggers=("headroom", "limit=", "limit:", "limit is", "exceeds", "fp16 max", "fp16 range",
              "fp16 limit", "fp16's", "float16 max", "float16 range", "float16 limit", "float16's",
              "half max", "half precision"),
    plan=_plan,
)  # fmt: skip
