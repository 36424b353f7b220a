"""Making text that came out of artifacts harmless to show.

A log may hold terminal escapes, right-to-left overrides and invisible characters, by accident
or by intent. Every renderer passes what it shows through :func:`cleaned` first.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from nanautopsy.escapes import without_escapes
from nanautopsy.rewrite import Place, T, rewrite
from nanautopsy.wording import rephrased

_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that show nothing, or that change how their neighbors show."""
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that show nothing; the other categories hold few."""


def cleaned(value: T, longest: int | None = None) -> T:
    """The same result, an Autopsy or an overview, with every string passed through :func:`clean`.

    With ``longest``, of a string with more characters than that the end is left out.
    """

    def harmless(text: str) -> str:
        if longest is None or len(text) <= longest:
            return clean(text)
        return clean(text[:longest]) + "…"

    def visit(leaf: Any, place: Place) -> Any:
        return rephrased(leaf, harmless) if isinstance(leaf, str) else leaf

    return rewrite(value, visit)


@lru_cache(maxsize=65536)
def clean(text: str) -> str:
    """``text`` without terminal escapes; other hidden characters become visible ``\\xNN``.

    Line ends become ``\\n`` and tabs a space. Lone surrogates, which no encoding can write,
    become visible too.
    """
    if text.isascii() and text.isprintable():
        return text
    text = without_escapes(_NEWLINES.sub("\n", text)).replace("\t", " ")
    return "".join(_visible(char) for char in text)


def one_line(text: str) -> str:
    """``text`` with every run of white space made one space."""
    return " ".join(text.split())


def _visible(char: str) -> str:
    if char == "\n" or " " <= char <= "~":
        return char
    if unicodedata.category(char) not in _HIDDEN and char not in _INVISIBLE:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
