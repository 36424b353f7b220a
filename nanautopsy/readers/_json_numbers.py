"""The numbers inside a JSON value, and the words that stand for numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from nanautopsy.readers.text.numbers import parse

_LONGEST_NUMBER = 64
_LONGEST_LIST = 64
_DEEPEST = 20


def parse_number(text: str) -> float | None:
    """The number that a text is: ``"2.5"``, ``"nan"``, ``"-Infinity"``, ``"1.#QNAN"``.

    ``None`` for anything else, such as ``"nano"``, ``"1_000"``, ``"0x10"`` or an empty text.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    if "_" not in text and text.isascii():
        try:
            return float(text)  # agrees with the parser below, and is ten times as fast
        except ValueError:
            pass
    return parse(text)


def number_of(value: Any) -> float | None:
    """The number that a JSON value is or spells; ``None`` when it is none."""
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, dict) and len(value) == 1 and "__float__" in value:
        return number_of(value["__float__"])  # transformers 5 on special floats
    return None


def leaves(value: Any, tag: str = "", depth: int = 0) -> Iterator[tuple[str, float | None]]:
    """(dotted tag, number) for every numeric leaf; ``None`` for an explicit null.

    Lists of more than 64 elements, or of objects, are data and give nothing; so does
    ``best_metric``, which starts at infinity by design.
    """
    if value is None:
        yield tag, None
        return
    number = number_of(value)
    if number is not None:
        yield tag, number
    elif isinstance(value, dict) and depth < _DEEPEST:
        for key, item in value.items():
            if key == "best_metric":
                continue
            if type(item) is float:  # the usual case, without a generator of its own
                yield (f"{tag}.{key}" if tag else str(key)), item
                continue
            yield from leaves(item, f"{tag}.{key}" if tag else str(key), depth + 1)
    elif isinstance(value, list) and len(value) <= _LONGEST_LIST and depth < _DEEPEST:
        for position, item in enumerate(value):
            if isinstance(item, dict):
                continue
            yield from leaves(item, f"{tag}.{position}" if tag else str(position), depth + 1)
