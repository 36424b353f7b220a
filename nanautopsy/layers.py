"""Forward order of layers, told from their names.

Only the order of names within one model is claimed, by the habits of the common families
(transformers, timm, torchvision, Megatron, flax); where a name tells nothing, natural order stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from nanautopsy.discover import natural_key

_LONGEST = 500
"""Characters of a name that are looked at; none that a program gives is longer."""


def _part(words: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """One of the words, standing at the beginning of a part of the path."""
    return re.compile(rf"(?:^|[._/])(?:{words})", flags)


_TOWER = _part(r"(?:img|image|vision|visual|vit|audio|speech)(?:[._/\d]|$)")
_PROJECTOR = re.compile(r"projector|connector|resampler|modality_proj|(?:^|[._/])mm_|merger", re.I)
_DECODER = _part(r"decoder(?:[._/\d]|$)")
_HEAD = _part(
    r"(?:\w*head|classifier|score|logits\w*|output_layer|embed_out|conv_out|conv_norm_out|fc_out|fc"
    r"|cls)(?:[./\d]|$)"
)
_EMBEDDING = re.compile(r"embed|(?:^|[._/])(?:wte|wpe|shared|patch|stem|conv_?in)", re.I)
_LAST_NORM = _part(
    r"(?:(?:final|post)_?\w*|ln_f|norm_f|(?:en|de)coder_norm|pooler|(?:head|norm|ln|layer_?norm)(?=[./]"
    r"(?:weight|bias|scale|kernel)$|$))"
)
_CONTAINER = _part(
    r"(?:layers?|\w*blocks?|h|stages?|groups?|resnets)[._/]?\d{1,9}(?:[._/]\d{1,9})*"
)
_CONVOLUTION = _part(r"(conv|bn|batch_?norm)_?(\d{1,6})")

_CROSS = re.compile(r"cross|encoder_?attn|encoder_?attention|encdec|attn_?2", re.I)
_CROSS_PLACE = 25
_WITHIN_BLOCK = (
    (
        0,
        r"input_?(?:layer)?norm|pre_?(?:attn|attention|self)|(?:^|[._/])ln_?1|(?<!layer)norm_?1(?!\d)"
        r"|layernorm1|layernorm_(?:0|before)|attention_norm|attn_norm|self_attn_layer_norm"
        r"|^[._/](?:layer_?norm|norm|ln)[./]",
    ),
    (
        10,
        r"(?:^|[._/])(?:q|k|v|qk|kv|qkv|query|key|value|c_attn|in_proj|wq|wk|wv|wqkv|to_[qkv])"
        r"(?:[._/]|$)",
    ),
    (
        20,
        r"(?:attn|attention).*(?:out|o_proj|c_proj|proj|dense|vec|wo|[._/]o[._/])"
        r"|(?:^|[._/])o_proj",
    ),
    (
        30,
        r"pre_?(?:ffw|mlp|feedforward)|post_?attention|ln_?2|norm_?2(?!\d)|layernorm_(?:1|after)"
        r"|ffn_norm|final_layer",
    ),
    (35, r"(?:^|[._/])(?:router|gate)(?:[./]|$)"),
    (60, r"post_?(?:ffw|mlp|feedforward)|downsample|shortcut"),
    (40, r"gat|up_proj|fc_?1|c_fc|w1|w3|dense_0|wi|h_to_4h|lin1|intermediate"),
    (50, r"down|fc_?2|c_proj|w2|dense_1|wo|4h_to_h|lin2|linear|output"),
)
"""Places inside a transformer block: norm, queries and keys, attention's output, norm, router,
MLP."""
_PLACES = tuple((place, re.compile(words, re.I)) for place, words in _WITHIN_BLOCK)
_LAST_PLACE = 70

_Natural = tuple[tuple[int, int, str], ...]
ForwardKey = tuple[int, int, _Natural, int, _Natural]


def forward_key(name: str) -> ForwardKey:
    """Sort key: towers of other modalities, their projector, the model's own embeddings and
    blocks by number, its decoder, the head."""
    seen = name[:_LONGEST]
    blocks = list(_CONTAINER.finditer(seen))
    tower, zone = _tower(seen, bool(blocks)), 1
    if not blocks and _LAST_NORM.search(seen):
        zone = 2
    elif not blocks and (_EMBEDDING.search(seen) or _CONVOLUTION.search(seen)):
        zone = 0
    end = blocks[-1].end() if blocks else 0
    if blocks:
        return tower, zone, natural_key(name[:end]), _place(seen[end:]), natural_key(name[end:])
    convolution = _CONVOLUTION.search(seen)
    if convolution is not None:
        return tower, zone, (), _place(seen), natural_key(name)
    return tower, zone, natural_key(name), 0, ()


def _tower(name: str, in_block: bool) -> int:
    if _PROJECTOR.search(name):
        return 1
    if _TOWER.search(name):
        return 0
    if not in_block and _HEAD.search(name):
        return 4
    return 3 if _DECODER.search(name) else 2


def _place(tail: str) -> int:
    """Order inside a block, by the part of the name after the block's number."""
    convolution = _CONVOLUTION.search(tail)
    if convolution is not None:
        # A batch norm follows the convolution of its number.
        return 2 * int(convolution[2]) + (convolution[1].lower() != "conv")
    place = next((place for place, part in _PLACES if part.search(tail)), _LAST_PLACE)
    return _CROSS_PLACE + place // 10 if place in (10, 20) and _CROSS.search(tail) else place


def in_forward_order(names: list[str]) -> list[str]:
    """The names without repeats, in the order in which a forward pass meets them."""
    return sorted(dict.fromkeys(names), key=forward_key)


def as_met(listed: Sequence[str]) -> list[str]:
    """The names without repeats, in forward order, where they were listed in the order in which a
    program goes through them: it decides where names tell nothing (``mid``, ``dec``), and what
    they tell of towers, embeddings and heads goes before it."""
    names = list(dict.fromkeys(listed))
    if names == sorted(names) or all(map(_tells_its_place, names)):
        return in_forward_order(names)
    return sorted(names, key=lambda name: forward_key(name)[:2])


def _tells_its_place(name: str) -> bool:
    return re.search(r"\d", name) is not None or forward_key(name)[:2] != _ANYWHERE


_ANYWHERE = (2, 1)
"""Tower and zone of a name that tells neither."""


def from_the_loss(listed: Sequence[str]) -> list[str]:
    """The names without repeats, in the order in which a backward pass meets them.

    A program lists parameters in the order in which they were defined, or in which autograd
    reached them: block numbers and the places of weight and bias tell which. Where the list is
    sorted, as JAX sorts its trees, or tells nothing, the habits of names decide.
    """
    names = list(dict.fromkeys(listed))
    direction = 0 if names == sorted(names) else _direction(names)
    if direction == 0:
        return as_met(names)[::-1]
    return names[::-1] if direction > 0 else names


def _direction(names: Sequence[str]) -> int:
    """Above 0 for a list in forward order, below 0 for one in backward order."""
    votes = 0
    for one, other in pairwise(names):
        numbers = [re.findall(r"\d+", name) for name in (one, other)]
        same = re.sub(r"\d+", "0", _module(one)) == re.sub(r"\d+", "0", _module(other))
        if _module(one) == _module(other):
            votes += _PARTS.get(_last(other), 0) - _PARTS.get(_last(one), 0)
        elif same and len(numbers[0]) == len(numbers[1]):
            votes += 1 if list(map(int, numbers[0])) < list(map(int, numbers[1])) else -1
    return votes


_PARTS = {"weight": 0, "kernel": 0, "scale": 0, "bias": 1}
"""Autograd reaches a bias before its weight, and modules define the weight first."""


def _module(name: str) -> str:
    return re.split(r"[./](?=[^./]*$)", name)[0]


def _last(name: str) -> str:
    return re.split(r"[./]", name)[-1]
