"""Names that several numbers share, and numbers of a whole.

Samples::

    step 150 | loss nan | inp min -2.32 max inf | out 0.7
    #212 xent=nan hist_len[min/mean/max]=0/6.3/12
    iter 40: loss 0.31 mel range [-inf, 1.61]
    INFO:mae:step 187 | recon nan | masked patches 0 / 36
"""

from __future__ import annotations

import re
from dataclasses import replace

from nanautopsy.readers.text.fields import Field
from nanautopsy.readers.text.words import counter_kind, is_metric

_STATISTIC = r"(?:abs_?max|max(?:imum)?|min(?:imum)?|mean|avg|average|med(?:ian)?|std|rms|sum)"
_NAME = r"(?P<name>[A-Za-z][\w.]*(?:[ /][A-Za-z][\w.]*)?)"
_LISTED = re.compile(
    rf"{_NAME}\s?[\[(]?\s?(?P<listed>{_STATISTIC}(?:[/|,]\s?{_STATISTIC})+)\s?[\])]?"
    r"\s*[:=]?\s*[\[(]?-?$",
    re.IGNORECASE,
)
_BEFORE_NAME = re.compile(
    rf"(?<![\w/])(?P<listed>{_STATISTIC}(?:[/|]{_STATISTIC})+)\s(?:of )?{_NAME}"
    r"\s*[:=]?\s*[\[(]?-?$",
    re.IGNORECASE,
)
_RANGE = re.compile(rf"{_NAME}(?:[ _]range\s*[:=]?|\s+(?:in|spans?))\s*[\[(]\s*-?$", re.IGNORECASE)
_BRACKET = re.compile(
    r"\b(?P<name>labels?|targets?|classes|y|x|inputs?|inp|pixels?|images?|img|mel|feats?)"
    r"\s*(?:[:=\u2208]|\bin\b)?\s*\[\s*-?$",
    re.IGNORECASE,
)
"""``labels [0, 9]``: the least and the largest."""
_BETWEEN = re.compile(r"\s*(?:[/|,]|\.\.|\bto\b)?\s*-?$")
_OWN = re.compile(
    rf"{_NAME}[ _:=/]*[\[({{]?\s?(?P<first>{_STATISTIC})\s*[:=]?\s*-?$", re.IGNORECASE
)
_NEXT = re.compile(rf"\s*[,/]?\s*(?P<next>{_STATISTIC})\s*[:=]?\s*-?$", re.IGNORECASE)
_OF_WHOLE = re.compile(r"\s*(?:/|\bof)\s*$")
_CELL = re.compile(r"(?:[|,;:]\s*|\s-\s+|\s{2,})[A-Za-z][\w/. ]{0,30}?\s*[:=]?\s*$")
_ENDS = re.compile(r"\s*(?:$|[|,;)\]]|\s{2,})")
_UNIT = re.compile(r"(?:s|ms|Hz|px|dB) ")
_WINDOW = 80


def shared(found: list[Field]) -> list[Field]:
    """The fields, each under its full name: ``inp min`` and ``inp max``."""
    named = [_without_unit(field) for field in found]
    at = 0
    while at < len(named):
        at += _take_list(named, at) or _take_range(named, at) or _take_chain(named, at) or 1
    return [_of_whole(named, i) for i in range(len(named))]


def _without_unit(field: Field) -> Field:
    """Without the unit of the number before it: ``dur_min 0.3s dur_max 2.5s``."""
    unit = _UNIT.match(field.key)
    if unit is None or not field.before.startswith(unit[0]):
        return field
    behind = unit.end()
    return replace(field, key=field.key[behind:], before=field.before[behind - 1 :])


def _take_list(named: list[Field], at: int) -> int:
    """Statistics that are listed at a name, and their numbers behind it; how many it took."""
    text = named[at].before[-_WINDOW:]
    if "/" not in text and "," not in text and "|" not in text:
        return 0
    match = _LISTED.search(text) or _BEFORE_NAME.search(text)
    if match is None:
        return 0
    statistics = re.split(r"[/|,]\s?", match["listed"].lower())
    members = named[at : at + len(statistics)]
    if len(members) < len(statistics):
        return 0
    if any(_BETWEEN.match(field.before) is None for field in members[1:]):
        return 0
    for i, (field, statistic) in enumerate(zip(members, statistics, strict=True)):
        named[at + i] = _renamed(field, f"{match['name']}_{statistic}")
    return len(statistics)


def _take_range(named: list[Field], at: int) -> int:
    """``[least, largest]``"""
    if "[" not in named[at].before and "(" not in named[at].before:
        return 0
    text = named[at].before[-_WINDOW:]
    match = _RANGE.search(text) or _BRACKET.search(text)
    if match is None or at + 1 == len(named) or not _BETWEEN.match(named[at + 1].before):
        return 0
    if named[at + 1].after.lstrip()[:1] not in ("]", ")"):
        return 0
    named[at] = _renamed(named[at], f"{match['name']}_min")
    named[at + 1] = _renamed(named[at + 1], f"{match['name']}_max")
    return 2


def _take_chain(named: list[Field], at: int) -> int:
    """A name with its first statistic, and bare statistics behind it."""
    own = _OWN.search(named[at].before[-_WINDOW:])
    if own is None:
        return 0
    end = at + 1
    while end < len(named) and (following := _NEXT.match(named[end].before)) is not None:
        named[end] = _renamed(named[end], f"{own['name']} {following['next'].lower()}")
        end += 1
    if end == at + 1:
        return 0
    named[at] = _renamed(named[at], f"{own['name']} {own['first'].lower()}")
    return end - at


def _renamed(field: Field, key: str) -> Field:
    after = " " if field.after[:1] == "/" else field.after
    return replace(field, key=key, explicit=True, after=after)


def _of_whole(named: list[Field], i: int) -> Field:
    """A count that stands before what it is a part of: the whole is no unit of it."""
    field = named[i]
    if i + 1 == len(named) or not field.whole or not field.key or field.negative:
        return field
    whole = named[i + 1]
    if not whole.whole or not _OF_WHOLE.match(whole.before) or not _ENDS.match(whole.after):
        return field
    if counter_kind(field.key) is not None or is_metric(field.key):
        return field
    cell = field.explicit or _CELL.search(field.before[-_WINDOW:]) is not None
    return replace(field, after=" ", explicit=cell)
