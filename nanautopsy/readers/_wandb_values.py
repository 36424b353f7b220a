"""What W&B logs under a key, as numbers under dotted tags. Shared by its file formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nanautopsy.readers._json_numbers import number_of

NOT_METRICS = frozenset({"_step", "_timestamp", "_wandb"})
"""Keys of a history row that say where it stands, and the summary's telemetry."""
_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_LONGEST_LIST = 64
_DEEPEST = 20


def parse_json(text: str) -> Any:
    """The value of a ``value_json`` text, NaN and Infinity included.

    Raises :class:`ValueError` when it is no JSON.
    """
    if text[:1] in "-0123456789NI":
        return _WORDS[text] if text in _WORDS else float(text) if "." in text else json.loads(text)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def points(tag: str, value: Any, depth: int = 0) -> Iterator[tuple[str, float | None]]:
    """(tag, number) for all that is numeric in a logged value.

    ``null`` gives ``None``: wandb before 0.28.1 wrote it for a NumPy NaN, but for an absent value
    too. Texts count where they spell a number: W&B's server makes ``"NaN"`` of NaN. A
    histogram gives ``<tag>#count``, its elements, and ``<tag>#max_abs``, its outermost edge:
    ``wandb.watch`` bins finite elements only, so a falling count says how many were not. Media
    give nothing.
    """
    number = number_of(value)
    if number is not None:
        yield tag, number
    elif value is None:
        yield tag, None
    elif isinstance(value, dict):
        if value.get("_type") == "histogram":
            yield from _histogram(tag, value)
        elif "_type" not in value and depth < _DEEPEST:
            for key, item in value.items():
                yield from points(f"{tag}.{key}", item, depth + 1)
    elif isinstance(value, list) and len(value) <= _LONGEST_LIST and depth < _DEEPEST:
        for position, item in enumerate(value):
            yield from points(f"{tag}.{position}", item, depth + 1)


def whole(value: Any) -> int | None:
    """A step: the integer that a JSON number is, or ``None``."""
    return int(value) if isinstance(value, (int, float)) and abs(value) < 2**62 else None


def _histogram(tag: str, value: dict[str, Any]) -> Iterator[tuple[str, float]]:
    counts = _numbers(value.get("values"))
    edges = _numbers(value.get("bins"))
    packed = value.get("packedBins")
    if not edges and isinstance(packed, dict):
        least, size, count = (_number(packed.get(name)) for name in ("min", "size", "count"))
        if least is not None and size is not None and count is not None:
            edges = [least, least + size * count]
    if counts:
        yield f"{tag}#count", sum(counts)
    if edges:
        yield f"{tag}#max_abs", max(abs(edges[0]), abs(edges[-1]))


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list):
        return []
    return [number for number in map(_number, value) if number is not None]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e308 else None
