"""Statements of NaN in a log that need not be about the model that is trained.

Samples::

    FID is nan with fewer than 2 samples
    trust ratio is nan for params with zero norm, using 1.0
    timestamp column has NaN in 4 rows
    {'Train': 0.91, 'Dev': 0.80, 'Rare': nan}

Beside a training that stays sound they are no failure of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nanautopsy.model import LogEvent
from nanautopsy.tag_words import words

_STOPS = re.compile(
    r"abort|\bstop|\bexit|terminat|error|exception|fatal|diverge|!!|终止|停止"
    r"|\bskip\w* (?:\w+ )?(?:batch|step|update|iteration|sample)",
    re.IGNORECASE,
)
"""What a program does about what it says."""
_MOMENT = re.compile(
    r"\b(?:step|iter|iteration|batch|epoch|update)s?\s*[:=#]?\s*#?\d", re.IGNORECASE
)
_DEGENERATE = re.compile(
    r"\b(?:for|of|on|with|over|between|in) (?:the |a |an )?"
    r"(?:zero|empty|fixed|frozen|unused|constant|identical|missing|dead|degenerate|padded|absent"
    r"|single|first|pruned|unlabel\w*)\b|\bbecause (?:it|they|there) \w+ no\b",
    re.IGNORECASE,
)
"""Of what there is nothing to compute, or always the same."""
_BARE = re.compile(
    r"\b(?:nans?|infs?|non|finite|nonfinite|found|detected|encountered|got|has|have|had|is|are|was"
    r"|were|seen|hit|the|and|values?|warning)\b|\W|\d",
    re.IGNORECASE,
)
_SHORT = 2
"""Letters that are left of a line without a subject."""
_NAMED = ("layer", "layers", "batch", "module_class", "sound_input", "forward_sound", "node")


def is_aside(event: LogEvent) -> bool:
    """Whether the line need not be about the model: it names no quantity of it, or one of which
    there is nothing to compute, neither layer nor moment, and nothing is done about it."""
    text = event.text
    named = any(event.data.get(key) for key in _NAMED) or event.step_exact
    if named or event.rank is not None or _STOPS.search(text) or _MOMENT.search(text):
        return False
    if _DEGENERATE.search(text):
        return True
    return event.data.get("quantity") is None and len(_BARE.sub("", text)) > _SHORT


_BRACES = re.compile(r"\{([^{}]*)\}")
_NAMED_NUMBER = re.compile(
    r"['\"]([\w /.-]+)['\"]: (-?\d+\.\d+(?:e[+-]?\d+)?|nan)(?=\s*[,}]|$)", re.IGNORECASE
)
_FEWEST_TIMES = 4
_NOT_OF_THE_MODEL = frozenset("lr rate time epoch step elapsed speed sec per".split())


def has_moving_siblings(events: Sequence[LogEvent]) -> bool:
    """Whether it is a member of one dictionary that is printed again and again, in which another
    member is finite and goes on changing: a score that has no value, in a model that has others."""
    if len(events) < _FEWEST_TIMES:
        return False
    last = events[len(events) // 2 :]
    told = [dict(_NAMED_NUMBER.findall("".join(_BRACES.findall(e.text)))) for e in last]
    alike = all(t.keys() == told[0].keys() for t in told)
    return alike and any(
        len({t[name] for t in told}) == len(told)
        for name in told[0]
        if _NOT_OF_THE_MODEL.isdisjoint(words(name))
    )
