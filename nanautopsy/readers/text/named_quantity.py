"""What a line says is non-finite: a gradient, the logits, a loss, what a layer gives.

Samples::

    NaN gradient in fc2.weight                      gradient
    NAN in logits!!!                                logits
    isfinite(inputs).all()=False                    input
    input[0] of layers.3.attn has infs              activations
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.named_layer import layer
from nanautopsy.readers.text.tensor_flags import UNTRUE

_QUANTITIES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("gradient", re.compile(r"grad|梯度", re.IGNORECASE)),
    ("logits", re.compile(r"logit", re.IGNORECASE)),
    ("loss", re.compile(r"loss|perplexity|\bnll\b|损失", re.IGNORECASE)),
    ("attention", re.compile(r"attn|attention", re.IGNORECASE)),
    ("parameters", re.compile(r"param|weights?\b|\bbias\b|\bkernel\b|\bembeddings?\b", re.I)),
    ("activations", re.compile(r"activation|output|\bout\b|hidden|forward", re.IGNORECASE)),
    (
        "input",
        re.compile(
            r"\binputs?\b|\bdata\b|batch|image|feature|\b(?:samples?|waveforms?|targets?|labels?"
            r"|annotations?)\b|输入|数据|样本|标签",
            re.IGNORECASE,
        ),
    ),
    ("probabilities", re.compile(r"prob", re.IGNORECASE)),
)
_OF_MODULE = re.compile(r"\binputs?\[\d+\]")
"""What a module was given, in hooks: ``input[0] has infs``."""
_OF_WRITER = "NaN or Inf found in input tensor"
"""The input is the event writer's own: any number that was to be logged."""


def is_untrue(text: str) -> bool:
    """Whether it says that something is not finite; of a layer's input, its output matters."""
    untrue = UNTRUE.search(text)
    if untrue is None:
        return False
    return layer(text) is None or "input" not in text.lower()


def quantity(text: str) -> str | None:
    """What is non-finite, as far as the line says."""
    if _OF_WRITER in text:
        return "value"
    if is_untrue(text) and (untrue := UNTRUE.search(text)):
        text = untrue["what"] or untrue["of"]
    text = _OF_MODULE.sub("output", text).replace("_", " ")
    for name, pattern in _QUANTITIES:
        if pattern.search(text):
            return name
    return "tensor" if "tensor" in text else None
