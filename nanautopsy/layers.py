"""Forward order of layers, told from their names."""

from __future__ import annotations

import re

from nanautopsy.discover import natural_key

_INPUT = re.compile(
    r"embed|(^|[._/])(wte|wpe|patch|stem|conv_?in|img|image|vision|visual|vit)([._/\d]|$)", re.I
)
_PROJECTOR = re.compile(r"projector|connector|resampler|modality_proj|(^|[._/])mm_|merger", re.I)
_OUTPUT = re.compile(
    r"(^|[._/])(lm_head|head|classifier|score|logits|output_layer|conv_?out|final\w*|ln_f|norm_f"
    r"|fc_out|out_proj_head)([._/\d]|$)|(^|[._/])norm\.(weight|bias)$",
    re.I,
)
_DECODER = re.compile(r"(^|[._/])decoder([._/\d]|$)", re.I)


def forward_key(name: str) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    """Sort key: inputs and encoders first, projectors, blocks by number, then the head."""
    blocks = re.search(r"(^|[._/])(layers?|blocks?|h|encoderblock)[._/]?\d", name)
    if _PROJECTOR.search(name):
        stage = 1
    elif _INPUT.search(name):
        stage = 0
    elif _OUTPUT.search(name) and not blocks:
        stage = 4
    elif _DECODER.search(name):
        stage = 3
    else:
        stage = 2
    return stage, natural_key(name)


def in_forward_order(names: list[str]) -> list[str]:
    """The names without repeats, in the order in which a forward pass meets them."""
    return sorted(dict.fromkeys(names), key=forward_key)
