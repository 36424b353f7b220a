"""The module, parameter or tensor that a line of prose names.

Samples::

    NaN detected in output of encoder.layers.3, shape: torch.Size([2, 8])      encoder.layers.3
    [hook] decoder.layers.2.mlp output contains NaN                            decoder.layers.2.mlp
    non-finite gradient in 'params/Dense_1/kernel'                             params/Dense_1/kernel
    NaN at params['blocks'][2]['mlp']['w1']                                    blocks/2/mlp/w1
    Gradients are NaN in layer fc2                                             fc2
    !! Dense_2 forward output has 16/256 NaNs                                  Dense_2
    found inf in layer 3                                                       layer 3
    first NaN in layer 7 (mlp.down)                                            layer 7 (mlp.down)
    [hook] to_scale (Exp): output has 1 Inf                                    to_scale
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.words import is_loss

PATH = r"[A-Za-z_]\w*(?:[./](?:\w+|\[\d+\]))+|[A-Za-z_]\w*(?:\[\d+\](?:[./]\w+)*)+"
KEYSTR = r"(?:\[['\"][\w ./-]+['\"]\]|\.[A-Za-z_]\w*)(?:\[['\"][\w ./-]+['\"]\]|\.\w+|\[\d+\])*"
"""``['params']['Dense_0']['kernel']``, ``.layers[0].weight``"""
SEQUENTIAL = r"\d+(?:\.\w+)*\.(?:weight|bias|kernel|running_mean|running_var|\w+_(?:weight|bias))\b"
"""A tensor of a ``torch.nn.Sequential``, whose modules have numbers: ``0.weight``."""
LAYER_WORD = (
    r"(?:[a-z]\w*_)?(?:layer|block|stage|conv\w*|fc|linear|dense\w*|norm|ln|bn|layer_?norm|batch_?norm"
    r"|attn|attention|mlp|lstm|gru|rnn|cell|embed\w*|encoder|decoder|experts?|proj|down|up|res\w*)"
    r"_?\d+|(?:[a-z]+_)+(?:head|embed\w*|proj|projector|attn|mlp|conv|fc)"
)
"""One word that is a layer's: ``Dense_2``, ``conv1``, ``lm_head``."""
_AT = r"in|into|inside|of|at|after|for|from|by|reached|reaches|through"
_INTRODUCED = re.compile(
    rf"\b(?:{_AT}|layer|module|submodule|block|param|parameter|tensor|name|weight)\b"
    rf"\s*(?:[:=#]|is\b|named\b)?\s*[\"'`(<]*(?P<path>{PATH}|{SEQUENTIAL})",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"(?<![\w./:@-])(?P<path>{PATH}|{SEQUENTIAL})(?![\w/@:-]*/)")
_KEYS = re.compile(r"(?P<path>\[['\"][\w./~-]+['\"]\](?:\[['\"]?[\w./~-]+['\"]?\])+)")
"""A path of keys, as JAX prints it, behind the name of its tree."""
_ONE_WORD = re.compile(
    r"\b(?:layer|module|submodule|block|param|parameter)\b\s*(?:[:=]|named\b)?\s*"
    r"(?:[\"'`](?P<quoted>\w+)[\"'`]|(?P<numbered>[A-Za-z_]\w*\d\w*)\b)"
    rf"|(?:^\W*|\b(?:{_AT})\s+)(?P<word>{LAYER_WORD})(?![\w./-])"
    r"|\b(?P<counted>(?:layer|block)\s#?\d+)\b",
    re.IGNORECASE,
)
_WITH_CLASS = re.compile(r"(?<![\w./:-])(?P<path>[A-Za-z_][\w.]*) \((?!N[aA]N|I[nN][fF])[A-Z]\w+\)")
"""A module with its class behind it, as ``named_modules`` gives them: ``to_scale (Exp)``."""
_NUMBER_AND_PART = re.compile(
    rf"\b(?:layer|block)\s#?\d+ \((?:{PATH}|{LAYER_WORD}|[a-z_]+)\)", re.IGNORECASE
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
    r"|\.(?:step|backward|forward|update|zero_grad|item|apply_gradients|unscale_)$"
    r"|^(?:nan|inf)s?/|/(?:nan|inf)s?$|^(?:train|val|valid|eval|test|loss|grad|metrics?)[./]",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:\w*(?:layers?|blocks?|stages?|convs?|encoder|decoder|mlp|attn|attention|head|experts?|net))\.(?:\d+|out)",
    re.IGNORECASE,
)
"""``blocks.2`` is no version, and ``decoder.out`` no file."""
_GRADIENT = re.compile(r"\.grad(?:\.(?:norm|max|abs|mean))?$")


def layer(text: str) -> str | None:
    """The path that the line names, as it spells it; ``None`` where it names none."""
    both = _NUMBER_AND_PART.search(text)
    if both is not None:
        return both[0]
    for pattern in (_INTRODUCED, _ALONE):
        for match in pattern.finditer(text):
            path = match["path"].rstrip("./")
            if is_path(path) and (pattern is _INTRODUCED or looks_like_a_layer(path)):
                return _GRADIENT.sub("", path)
    keys = _KEYS.search(text)
    if keys is not None:
        return spelled(keys["path"])
    word = _ONE_WORD.search(text)
    if word is not None:
        return word["quoted"] or word["numbered"] or word["word"] or str(word["counted"])
    classed = _WITH_CLASS.search(text)
    return None if classed is None or is_loss(classed["path"]) else classed["path"]


def is_path(path: str) -> bool:
    """Whether it is no file, version or metric."""
    return not _NO_LAYER.search(path) or _NUMBERED.fullmatch(path) is not None


def looks_like_a_layer(path: str) -> bool:
    """Whether some part of it is what parts of models are called."""
    return _LIKE_A_LAYER.search(path) is not None


def spelled(path: str) -> str:
    """A path of keys as the names of their places: ``params/Dense_0/kernel``."""
    keys = re.findall(r"\[['\"]?([^'\"\]]+)['\"]?\]", path) if path[:1] == "[" else []
    return "/".join(keys) if keys else _GRADIENT.sub("", path.lstrip("."))
