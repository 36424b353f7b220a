"""Numbers in running text: as whole tokens only, with every spelling of NaN and Inf.

``nan`` inside ``nanoGPT``, ``banana`` or ``finance`` is no number, nor is ``inf`` inside
``INFO``; digits inside an identifier, a version or a hash belong to that word.
"""

from __future__ import annotations

import re

SPLIT = re.compile(
    rb"([0-9](?<![\w.].)[0-9]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
    rb"(?![0-9]|[A-Za-z_]+[0-9]|\.[0-9A-Za-z]|\.?#[A-Z])"
)
"""Splits a line into text and unsigned finite numbers, alternating. A sign, and the words for NaN
and Inf, stay in the text, so lines of one shape have equal text parts. The character class comes
first because the engine then skips ahead; the look-behind covers the character before it."""

_WORD = r"nan(?:\.0|xxx)?(?:\(ind\)|\(snan\))?|inf(?:inity)?(?:\.0?)?|1\.\#(?:IND|QNAN|SNAN|INF)0*"

NONFINITE = re.compile(rf"(?<![\w.\-+])([+-]?)({_WORD})(?![\w]|[./][A-Za-z0-9])", re.IGNORECASE)
"""A NaN or Inf as a whole word: ``nan``, ``-inf``, ``NaN``, ``Infinity``, C's ``-nan(ind)``,
Visual C's ``1.#QNAN``, Lightning's padded ``nan.0`` and ``-inf.``, PaddlePaddle's ``nanxxx``"""

_VALUE = re.compile(
    rf"\s*([+-]?)\s*(?:([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?)|({_WORD}))\s*",
    re.IGNORECASE,
)


def word_value(word: str) -> float:
    """NaN or infinity for a word that :data:`NONFINITE` matched, without its sign."""
    word = word.lower()
    return float("inf") if word.startswith("inf") or word.endswith(("#inf", "#inf0")) else _NAN


def parse(text: str) -> float | None:
    """The number that the whole of ``text`` spells, or ``None``."""
    if "_" not in text:  # which Python allows between digits, and no program prints
        try:
            return float(text)
        except ValueError:
            pass
    match = _VALUE.fullmatch(text)
    if match is None:
        return None
    sign, digits, word = match.groups()
    value = float(digits) if digits else word_value(word)
    return -value if sign == "-" else value


_NAN = float("nan")
