"""Nested settings to one flat mapping of dotted paths to scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanautopsy.model import Scalar

_MOST = 20_000
_DEEPEST = 40
_LONGEST_TEXT = 10_000


def flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Scalar]:
    """``{"a": {"b": [1, 2]}}`` to ``{"a.b.0": 1, "a.b.1": 2}``.

    Empty containers vanish. At most 20 000 entries and 40 levels are kept, long texts are cut at
    10 000 characters: a few lines of YAML can alias each other into billions of entries.
    """
    flat: dict[str, Scalar] = {}
    _descend(values, prefix, flat, 0)
    return flat


def _descend(value: Any, path: str, flat: dict[str, Scalar], depth: int) -> None:
    if len(flat) >= _MOST or depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            _descend(item, f"{path}.{key}" if path else str(key), flat, depth + 1)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _descend(item, f"{path}.{number}" if path else str(number), flat, depth + 1)
    elif value is None or isinstance(value, (bool, int, float)):
        flat[path] = value
    else:
        flat[path] = str(value)[:_LONGEST_TEXT]
