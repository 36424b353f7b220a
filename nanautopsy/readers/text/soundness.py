"""What a line that reports NaN says was still finite: a layer's input, or the forward pass.

Samples::

    NaN/Inf forward output: layers.0.self_attn (Attention) | input finite: True
    Gradient of encoder.2.weight is nan at step 35 (forward loss 0.0432 was finite)
"""

from __future__ import annotations

import re

_INPUT = re.compile(
    r"\bin(?:puts?)?\b(?:(?: (?:is|was|are|were|all))?[ _]|\s?[:=]\s?)(?:finite|ok|sound)\b"
    r"(?:\s*[:=]\s*(?:True|yes|(False|no))\b)?",
    re.IGNORECASE,
)
_FORWARD_SOUND = re.compile(
    r"\b(?:loss|forward)\b[^;|]{0,20}(?<!not )(?<!non )(?<!non-)(?<!\w)finite\b"
    r"(?!\s*[:=]\s*(?:False|no)\b)"
    r"|(?:\b|_)loss\b(?: (?:was|is|of|at|there|there was))? ?[(=:]? ?-?\d+\.\d+",
    re.IGNORECASE,
)
"""What is said of a gradient beside a loss that is a number."""


def sound_input(text: str) -> bool | None:
    """Whether the line says that what went into the layer was finite; ``None`` where it is
    silent."""
    said = _INPUT.search(text)
    return None if said is None else said[1] is None


def forward_sound(text: str) -> bool:
    """Whether the line says so of the loss, or gives it as a number."""
    return _FORWARD_SOUND.search(text) is not None
