"""JSON as people write it: comments, trailing commas, a missing end."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any

_TOKEN = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)|'
    r'[{}\[\],]|[^"/#{}\[\],]+|.',
    re.DOTALL,
)
_CLOSER = {"{": "}", "[": "]"}
_DEEPEST = 200
_LONGEST_REPAIR = 1 << 20
"""Characters; longer texts are strict JSON or nothing."""
_TRIED_CUTS = 50


def load_loose_json(text: str) -> tuple[Any, str | None]:
    """The value of ``text``, and what was wrong with it when something was lost.

    Strict JSON (with Python's NaN and Infinity) is taken as it is; else comments (``//``, ``#``,
    ``/* */``) and trailing commas go; else the text is cut after its last complete member and
    closed. Raises :class:`ValueError` when nothing helps.
    """
    try:
        return _loads(text), None
    except ValueError as error:
        first = str(error)
    if len(text) > _LONGEST_REPAIR:
        raise ValueError(f"not JSON: {first}")
    cleaned, ends = _clean(text)
    try:
        return _loads(cleaned), None
    except ValueError:
        pass
    for length, closers in reversed(ends):
        try:
            return _loads(cleaned[:length] + closers), f"incomplete: {first}"
        except ValueError:
            continue
    raise ValueError(f"not JSON: {first}")


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_hook=_special_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _special_float(value: dict[str, Any]) -> Any:
    """transformers 5 writes ``{"__float__": "Infinity"}``."""
    if len(value) == 1 and isinstance(value.get("__float__"), str):
        try:
            return float(value["__float__"])
        except ValueError:
            return value
    return value


def _clean(text: str) -> tuple[str, deque[tuple[int, str]]]:
    """The text without comments and trailing commas, and where it could be cut and closed.

    Each cut is (length of the cleaned text to keep, what closes it), in order; the last ones.
    """
    out: list[str] = []
    length = 0
    stack: list[str] = []
    cuts: deque[tuple[int, str]] = deque(maxlen=_TRIED_CUTS)
    comma: int | None = None
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token[:2] in ("//", "/*") or token[0] == "#":
            continue
        if token in ("{", "["):
            stack.append(_CLOSER[token])
        elif token in ("}", "]"):
            if comma is not None:
                out[comma] = " "
            if stack:
                stack.pop()
        if token == ",":
            comma = len(out)
            cuts.append((length, "".join(reversed(stack))))
        elif not token.isspace():
            comma = None
        out.append(token)
        length += len(token)
        if len(stack) > _DEEPEST:
            raise ValueError("nested too deeply")
        if token in ("}", "]"):
            cuts.append((length, "".join(reversed(stack))))
    return "".join(out), cuts
