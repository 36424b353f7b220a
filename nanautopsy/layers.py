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


_BLOCK_NUMBER = re.compile(
    r"(?:^|[._/])(?:layers?|blocks?|h|encoderblock|resblocks|stages?|block)[._/]?\d+"
)
_WITHIN_BLOCK = (
    re.compile(
        r"(input|pre_?attn|pre_?attention|pre_self|ln_?1|norm_?1|attention_norm|attn_norm)", re.I
    ),
    re.compile(r"(^|[._/])(q|k|v|qk|qkv|query|key|value|c_attn|in_proj|w[qkv]|to_[qkv])", re.I),
    re.compile(
        r"(attn|attention).*(out|o_proj|c_proj|proj|dense|vec|wo)|(^|[._/])(o_proj|wo)", re.I
    ),
    re.compile(
        r"(pre_?(ffw|mlp|feedforward)|post_?attention|ln_?2|norm_?2|ffn_norm|final_layer)", re.I
    ),
    re.compile(r"(gat|up_proj|fc_?1|c_fc|w1|w3|dense_0|wi|h_to_4h|lin1|intermediate)", re.I),
    re.compile(r"(down|fc_?2|c_proj|w2|dense_1|wo|4h_to_h|lin2|linear|output)", re.I),
)
"""Order inside a transformer block: norm, queries and keys, attention's output, norm, MLP."""

ForwardKey = tuple[int, tuple[tuple[int, int, str], ...], int, tuple[tuple[int, int, str], ...]]


def forward_key(name: str) -> ForwardKey:
    """Sort key: inputs and encoders first, projectors, blocks by number, then the head."""
    block = _BLOCK_NUMBER.search(name)
    if _PROJECTOR.search(name):
        stage = 1
    elif _INPUT.search(name):
        stage = 0
    elif _OUTPUT.search(name) and not block:
        stage = 4
    elif _DECODER.search(name):
        stage = 3
    else:
        stage = 2
    head, tail = (name[: block.end()], name[block.end() :]) if block else (name, "")
    matches = (i for i, part in enumerate(_WITHIN_BLOCK) if part.search(tail))
    place = next(matches, len(_WITHIN_BLOCK)) if tail else 0
    return stage, natural_key(head), place, natural_key(tail)


def in_forward_order(names: list[str]) -> list[str]:
    """The names without repeats, in the order in which a forward pass meets them."""
    return sorted(dict.fromkeys(names), key=forward_key)
