"""Numbers of layers in rows: a row for each layer, or a list of objects in one row.

``{"step": 3, "layer": "h.2", "act_max": 3.1}`` gives ``act_max/h.2``, and
``{"step": 3, "activations": [{"name": "h.2", "absmax": 3.1}]}`` gives ``act_absmax/h.2``. What the
statistics are of, the list's name says, or the file's; where neither does, modules have
activations, and nothing is said of parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from nanautopsy.readers._json_numbers import number_of, parse_number
from nanautopsy.readers.text.named_layer import LAYER_WORD, looks_like_a_layer
from nanautopsy.readers.text.words import is_loss
from nanautopsy.roles import classify

_LAYER_KEYS = ("layer", "module", "layer_name", "module_name", "param", "param_name", "parameter")
LAYER_SET = frozenset(_LAYER_KEYS)
_ITEM_KEYS = (*_LAYER_KEYS, "name", "tensor", "path", "key")
_FAMILIES = (
    ("act", re.compile(r"act(ivation)?s?|hidden|outputs?|forward", re.IGNORECASE)),
    ("grad", re.compile(r"grad(ient)?s?|backward", re.IGNORECASE)),
    ("param", re.compile(r"param(eter)?s?|weights?", re.IGNORECASE)),
)
"""Words in the name of a list or a file of statistics by layer whose columns do not say of what
they are."""
_OF_PARAMETER = re.compile(r"(?:^|[./_])(?:weight|bias|kernel|scale|embedding|gamma|beta)$")
_STATISTIC = re.compile(
    r"(?:abs_?)?(?:max|mean|min)(?:_?abs)?|a(?:bs)?max|std|var|rms|norm|l2|l2_?norm", re.IGNORECASE
)
_PATH = re.compile(r"[A-Za-z_]\w*[./\[][\w./~\[\]-]+")
_WORD = re.compile(LAYER_WORD, re.IGNORECASE)
_MOST_ITEMS = 20_000


def family_of(name: str) -> str:
    """``act_``, ``grad_`` or ``param_``, as a name says; empty where it does not."""
    parts = re.split(r"[^A-Za-z]+", name)
    families = (family for family, known in _FAMILIES if any(map(known.fullmatch, parts)))
    return next((family + "_" for family in families), "")


@lru_cache(maxsize=8192)
def is_layer(tag: str) -> bool:
    """Whether a column is called as a layer is, and by nothing more."""
    if is_loss(re.split(r"[./]", tag)[-1]) or classify(tag)[0] not in ("other", "layer_parameter"):
        return False
    path = _PATH.fullmatch(tag) is not None and looks_like_a_layer(tag)
    return path or _WORD.fullmatch(tag) is not None


def layer_suffix(row: Mapping[str, Any]) -> str:
    """``/`` and the layer of which the whole row is; empty for any other row."""
    layer = _named(row, _LAYER_KEYS)
    return f"/{layer}" if layer else ""


def of_lists(row: Mapping[str, Any], family: str) -> Iterator[tuple[str, float]]:
    """Tags and values of the objects in a row's lists that are of a layer each; ``family``: the
    file's."""
    for key, value in row.items():
        if not isinstance(value, list) or len(value) > _MOST_ITEMS:
            continue
        for item in value:
            layer = _named(item, _ITEM_KEYS) if isinstance(item, dict) else ""
            if layer:
                yield from _of_item(item, layer, family_of(key) or family)


def _of_item(item: Mapping[str, Any], layer: str, family: str) -> Iterator[tuple[str, float]]:
    for name, value in item.items():
        number = number_of(value) if not isinstance(value, (bool, dict)) else None
        if number is None:
            continue
        own = family_of(name)
        if not own and not _STATISTIC.fullmatch(name):
            continue
        prefix = "" if own else family or ("" if _OF_PARAMETER.search(layer) else "act_")
        if own or prefix:
            yield f"{prefix}{name}/{layer}", number


def _named(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        layer = row.get(key)
        if isinstance(layer, str) and layer and parse_number(layer) is None:
            return layer
    return ""
