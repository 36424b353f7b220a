"""What a line says of one tensor in flags and counts, as hooks and checks print them.

Samples::

    fc1.weight grad: nan=64/64                                        a share of its elements
    [overflow] step 22 module=blocks.2 out: inf=403                   a count
    !! Dense_2 forward output has 16/256 NaNs
    encoder.block.3 output: 12 NaNs, 0 Infs out of 4096
    forward hook on layers.7.mlp: nan=True inf=False                  a flag
    isfinite(inputs).all()=False
"""

from __future__ import annotations

import re

DENIED = re.compile(
    r"(?:\b(?:has|have|any|is|contains?)\s+)?-?\b\w*(?:nan|inf)s?(?:_\w+)?"
    r"(?:\s*[\[(](?P<of>[\w., ]+)[\])])?\s*[:=]\s*(?:\w+\()?"
    r"(?:[\[(]\s*(?:(?:False|0)\s*(?:,\s*|(?=[\])])))+[\])]|(?:0|False|None|no)\b(?!\.\d))",
    re.IGNORECASE,
)
"""``has nan: False``, ``nan[q, k]=[False, False]``: leaves what else the line says."""
_ZERO = re.compile(
    r"(?<![\w.,/])0 (?:nan|inf)s?\b(?: (?:values?|entries|elements))?"
    r"|\b(?:nan|inf)s?\s?[:=]?\s?0\s?/\s?\d+",
    re.IGNORECASE,
)
UNTRUE = re.compile(
    r"\b(?P<of>[\w.]*)(?<!non)(?<!non_)(?<!not_)(?<!in)finite\w*(?:\((?P<what>[^()]*)\))?"
    r"(?:\.\w+\(\))*(?:\s*[:=]+\s*(?:False|no)\b|\s+False\b)",
    re.IGNORECASE,
)
"""``input_finite=False``, ``params_finite False``"""
_TRUE = re.compile(
    r"(?<![\w.])(?:(?:has|is|any|contains?|found|seen)[_ ]?)?(?P<of>nan|inf|non_?finite)s?"
    r"(?:[_ ]?(?:found|seen|detected))?\s*[:=]\s*(?:True|yes)\b",
    re.IGNORECASE,
)
"""``has_nan=True``; an option has another word before it: ``detect_nan=True``."""
_COUNTED = re.compile(
    r"\b(?:num_|n_)?(?P<of>nan|inf)s?(?:_(?:count|num|n|elems?|elements|values))?\s*[:=]\s*"
    r"(?P<count>\d+)(?![\d.%])"
    r"|\b(?P<sort>nan|inf)s?\s*[:=]?\s*(?P<share>\d+(?:\.\d+)?)\s?%"
    r"|\b(?P<kind>nan|inf)s?(?:_(?:frac|fraction|share|ratio)\s*[:=]\s*(?P<fraction>[01]?\.\d+)"
    r"|\s(?P<some>\d+)\s?/\s?\d+)"
    r"|(?<![\d.])(?P<part>\d+)\s?/\s?\d+ (?P<these>nan|inf)s?\b"
    r"|(?<![\w./,])(?P<number>\d+) (?P<those>nan|inf)s?\b",
    re.IGNORECASE,
)
"""``inf=403 nan=0``, ``nan: 64/64``, ``nan 12.5%``, ``16/256 NaNs``, ``12 NaNs, 0 Infs``"""

_BAD_GRADIENT = re.compile(
    r"(?<![\d.,/])[1-9]\d*(?:\s?(?:/|of|out of)\s?\d+)? (?:bad|invalid|broken) grad(?:ient)?s?"
    r" (?:entries|elements|values|components)\b",
    re.IGNORECASE,
)
"""``96/96 bad grad entries``: of a number, only what is none is called so."""


_FLAG_LIST = re.compile(
    r"\b(?:nan|inf|non_?finite)s?\s*[\[(](?P<of>[\w./]+(?:[, ]+[\w./]+)+)[\])]\s*[:=]\s*"
    r"[\[(](?P<flags>(?:True|False|\d+)(?:[, ]+(?:True|False|\d+))*)[\])]",
    re.IGNORECASE,
)


def named_flags(text: str) -> tuple[str, ...]:
    """The names that are told to be NaN or Inf by a list of flags beside a list of names:
    ``attn`` and ``head`` of ``nan[emb,attn,head]=[False, True, True]``."""
    found: list[str] = []
    for match in _FLAG_LIST.finditer(text):
        names, flags = (re.split(r"[, ]+", match[part]) for part in ("of", "flags"))
        if len(names) == len(flags):
            told = (flag.lower() not in ("false", "0") for flag in flags)
            found += [name for name, is_set in zip(names, told, strict=True) if is_set]
    return tuple(dict.fromkeys(found))


_SPEED = re.compile(
    r"\b(?:nan|inf)\s?[A-Za-z]{1,12}(?:/|\sper\s)(?:s|sec|seconds?|min|h|it|step)\b"
    r"|\b(?:l-?)?inf(?:inity)?[- ]norm\b|\bnorm[_ ]type\W{1,3}inf\b|\bp\s?=\s?inf\b"
    r"|\b(?:class|token|word|label|key|column|category|named?|has) (['\"`])(?:nan|inf)\1",
    re.IGNORECASE,
)


def without_denials(text: str) -> str:
    """The line without the flags that are false and the counts that are 0, and without what has
    the word alone: speeds of no time (``nan img/s``), kinds of norms, names."""
    return _SPEED.sub(" ", _ZERO.sub(" ", DENIED.sub(" ", text)))


def is_counted(text: str) -> bool:
    """Whether it says how many are NaN or Inf, be it none."""
    return _COUNTED.search(text) is not None


def flagged(text: str) -> frozenset[str]:
    """``nan`` and ``inf``, as far as flags and counts say that there are some."""
    found = {m["of"].lower() for m in _TRUE.finditer(text)}
    if _BAD_GRADIENT.search(text):
        found.add("nan")
    for m in _COUNTED.finditer(text):
        amounts = ("count", "share", "fraction", "some", "part", "number")
        if any(float(m[amount] or 0) for amount in amounts):
            found.update(
                m[kind].lower() for kind in ("of", "sort", "kind", "these", "those") if m[kind]
            )
    return frozenset("inf" if kind == "inf" else "nan" for kind in found)


def without_flags(text: str) -> str:
    """The line without the flags that are true, which look like settings of a program."""
    return _TRUE.sub(" ", text)
