"""Sentences in which a program counts or lists the parameters that are not finite.

Samples::

    sanity check before fit: 1 of 4 parameter tensors have non-finite entries: ['rel_bias']
    non-finite parameters after loading: model.embed.weight, model.head.weight
    [rank 1] 2.weight finite: False
    bad params: []

An empty list, or a count of none, says that all is well.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_BAD = r"(?:non-?\s?finite|not finite|nans?|infs?|nan/inf)"
_PARAMETERS = r"(?:param(?:eter)?s?|weights?|weight tensors?|tensors?|variables?|arrays?)"
_NAME = r"[A-Za-z_0-9]\w*(?:[./]\w+)*"
_COUNTED = re.compile(
    rf"(?<![\w.])(?P<part>\d{{1,7}})\s*(?:/|of|out of)\s*(?:the )?(?P<whole>\d{{1,7}})\s+"
    rf"(?:model )?"
    rf"{_PARAMETERS}\b(?: tensors?| entries| values| arrays)?[^:;]{{0,40}}\b{_BAD}\b(?P<rest>.*)",
    re.IGNORECASE,
)
_LISTED = re.compile(
    rf"\b{_BAD}\b[\w ()]{{0,12}}\b{_PARAMETERS}\b[\w ()]{{0,40}}\s*[:=]\s*(?P<rest>.*)"
    rf"|\b{_PARAMETERS}\b[\w ()]{{0,12}}\b(?:with|having|that are|containing)\s+{_BAD}\b[\w "
    rf"()]{{0,20}}"
    r"\s*[:=]\s*(?P<more>.*)",
    re.IGNORECASE,
)
_FLAG = re.compile(
    r"(?P<name>(?:[A-Za-z_0-9]\w*[./])*\w*(?:weight|bias|kernel|embedding|scale))['\"`]?\s*"
    r"(?:(?:is|all|are)[ _])*(?:is)?finite\w*\s*[:=]?\s*(?:False|no)\b",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"grad|moment|exp_avg|activ|output|input|logit|\bloss\b|skip|ignor", re.IGNORECASE
)
_NONE = re.compile(r"\s*(?:\[\s*\]|\(\s*\)|\{\s*\}|set\(\)|none\b|no\b|0\b|-|$)", re.IGNORECASE)


def _found(text: str) -> tuple[bool, str | None]:
    """Whether parameters are said to be bad, and the first of them that is named."""
    if _OF_OTHERS.search(text):
        return False, None
    flag = _FLAG.search(text)
    if flag is not None:
        return True, flag["name"]
    counted = _COUNTED.search(text)
    if counted is not None:
        return 0 < int(counted["part"]) <= int(counted["whole"]), _first(counted["rest"])
    listed = _LISTED.search(text)
    rest = None if listed is None else listed["rest"] or listed["more"] or ""
    if rest is None or _NONE.match(rest):
        return False, None
    name = _first(rest)
    return name is not None, name


def _first(rest: str) -> str | None:
    """The first name of a list, which stands in quotes or behind a colon."""
    named = re.search(rf"['\"]({_NAME})['\"]", rest) or re.match(rf"[^:]*:[^\w]*({_NAME})", rest)
    named = named or re.match(rf"[^\w]*({_NAME})\s*(?:[,;\])]|$)", rest)
    return named[1] if named and not named[1].isdigit() else None


def _on_line(log: Log, line: Line) -> None:
    bad, name = _found(line.text)
    if bad:
        log.event("nonfinite-text", line, value="nan", quantity="parameters", layer=name)


def _plan(line: Line, lower: str) -> Handler | None:
    if len(line.text) > 2000 or _OF_OTHERS.search(line.text):
        return None
    matched = any(pattern.search(line.text) for pattern in (_FLAG, _COUNTED, _LISTED))
    return _on_line if matched else None


DIALECT = Dialect(
    name="parameter-checks",
    triggers=(
        "nan",
        "nans",
        "inf",
        "not finite",
        "non-finite",
        "nonfinite",
        "non finite",
        "finite",
    ),
    plan=_plan,
    statement=True,
)
