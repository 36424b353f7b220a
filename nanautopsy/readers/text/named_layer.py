"""The module, parameter or tensor that a line of prose names.

Samples::

    NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8])      encoder.layers.3
    [hook] decoder.layers.2.mlp output contains NaN                            decoder.layers.2.mlp
    non-finite gradient in 'params/Dense_1/kernel'                             params/Dense_1/kernel
    Gradients are NaN in layer fc2                                             fc2
    !! Dense_2 forward output has 16/256 NaNs                                  Dense_2
    found inf in layer 3                                                       layer 3
"""

from __future__ import annotations

import re

PATH = r"[A-Za-z_]\w*(?:[./](?:\w+|\[\d+\]))+|[A-Za-z_]\w*(?:\[\d+\](?:[./]\w+)*)+"
LAYER_WORD = (
    r"(?:[a-z]\w*_)?(?:layer|block|stage|conv\w*|fc|linear|dense\w*|norm|ln|bn|layer_?norm|batch_?norm"
    r"|attn|attention|mlp|lstm|gru|rnn|cell|embed\w*|encoder|decoder|experts?|proj|down|up|res\w*)"
    r"_?\d+|(?:[a-z]+_)+(?:head|embed\w*|proj|projector|attn|mlp|conv|fc)"
)
"""One word that is a layer's: ``Dense_2``, ``conv1``, ``lm_head``."""
_INTRODUCED = re.compile(
    r"\b(?:in|of|at|after|for|from|layer|module|submodule|block|param|parameter|tensor|name|weight)\b"
    rf"\s*(?:[:=#]|is\b|named\b)?\s*[\"'`(<]*(?P<path>{PATH})",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"(?<![\w./:@-])(?P<path>{PATH})(?![\w/@:-]*/)")
_ONE_WORD = re.compile(
    r"\b(?:layer|module|submodule|block|param|parameter)\b\s*(?:[:=]|named\b)?\s*"
    r"(?:[\"'`](?P<quoted>\w+)[\"'`]|(?P<numbered>[A-Za-z_]\w*\d\w*)\b)"
    r"|(?:^\W*|\b(?:in|of|at|after|for|from)\s+)(?P<word>" + LAYER_WORD + r")(?![\w./-])"
    r"|\b(?P<counted>(?:layer|block)\s#?\d+)\b",
    re.IGNORECASE,
)
_LIKE_A_LAYER = re.compile(
    r"(?:^|[./])(?:\d+|\[\d+\]|\w*(?:layers?|blocks?|attn|attention|mlp|embed\w*|encoder|decoder|head"
    r"|proj|norm|conv|dense|linear|weight|bias|kernel|params)\w*)(?:[./\[]|$)",
    re.IGNORECASE,
)
"""Without a word that introduces it, a path must look like one of modules."""
_NO_LAYER = re.compile(
    r"\.(?:py|cu|cuh|cpp|cc|c|h|so|pt|pth|ckpt|bin|safetensors|log|txt|json|jsonl|ya?ml|csv|npz?|sh"
    r"|out)(?:$|:)"
    r"|^(?:torch|np|numpy|jax|jnp|tf|nn|math|self|https?|www|cuda|e\.g|i\.e)\.|^\w+\.\d+$"
    r"|^(?:nan|inf)s?/|/(?:nan|inf)s?$|^(?:train|val|valid|eval|test|loss|grad|metrics?)[./]",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:\w*(?:layers?|blocks?|stages?|convs?|encoder|decoder|mlp|attn|attention|head|experts?|net))\.(?:\d+|out)",
    re.IGNORECASE,
)
"""``blocks.2`` is no version, and ``decoder.out`` no file."""
_GRADIENT = re.compile(r"\.grad$")


def layer(text: str) -> str | None:
    """The path that the line names, as it spells it; ``None`` where it names none."""
    for pattern in (_INTRODUCED, _ALONE):
        for match in pattern.finditer(text):
            path = match["path"].rstrip("./")
            if _NO_LAYER.search(path) and not _NUMBERED.fullmatch(path):
                continue
            if pattern is _INTRODUCED or _LIKE_A_LAYER.search(path):
                return _GRADIENT.sub("", path)
    word = _ONE_WORD.search(text)
    return None if word is None else next(filter(None, word.groups()))
