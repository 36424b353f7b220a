"""Nested settings to one flat mapping of dotted paths to scalars."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from nanautopsy.model import Scalar

_MOST = 20_000
_DEEPEST = 40
_LONGEST_TEXT = 10_000


def flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Scalar]:
    """``{"a": {"b": [1, 2]}}`` to ``{"a.b.0": 1, "a.b.1": 2}``.

    Empty containers vanish. At most 20 000 values are looked at, 40 levels deep, and long texts
    are cut at 10 000 characters: a few lines of YAML can alias each other into billions.
    """
    flat: dict[str, Scalar] = {}
    looked_at = 0
    pending: list[tuple[str, Any, int]] = [(prefix, values, 0)]
    while pending and looked_at < _MOST:
        path, value, depth = pending.pop()
        looked_at += 1
        if isinstance(value, (Mapping, list, tuple)):
            if depth < _DEEPEST:
                below = value.items() if isinstance(value, Mapping) else enumerate(value)
                items = [
                    (f"{path}.{key}" if path else str(key), item, depth + 1)
                    for key, item in islice(below, _MOST)
                ]
                pending.extend(reversed(items))
        else:
            _keep(flat, path, value)
    return flat


def _keep(flat: dict[str, Scalar], path: str, value: Any) -> None:
    if value is None or isinstance(value, (bool, int, float)):
        flat[path] = value
    else:
        flat[path] = str(value)[:_LONGEST_TEXT]
