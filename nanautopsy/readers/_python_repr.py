"""Values that a program printed with ``repr``, NaN and infinity included; nothing is run."""

from __future__ import annotations

import ast
import math
from typing import Any

LONGEST_TEXT = 1 << 18
"""Characters; the parser takes some hundred bytes for each."""

_NAMES = {"nan": math.nan, "inf": math.inf}


def load_repr(text: str) -> Any:
    """The dict, list, text or number in ``text``.

    What is no plain value, such as ``device(type='cuda')``, stands as its source text. Raises
    :class:`ValueError` when ``text`` is no Python expression, or longer than 2**18.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError("too long")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no printed value: {error}") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_value(key)): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, (int, float)):
            return -number
    return ast.unparse(node)
