"""A step that the program computed again from the same state, and replicas that it compared.

Samples, all from guards that people write::

    step 70 | replay 1/3: loss 0.2245 gradient norm 0.6978
    re-ran step 412 on the identical batch: grad norm 1.93 (first attempt: nan)
    recomputed the same micro-batch: loss is finite, result differs from the first run
    the NaN is not reproducible on identical inputs
    rerunning the batch gives nan again
    ERROR replica consistency check at step 80: MISMATCH dp0=7d1f03aa dp1=7d1f03aa dp2=09c2e5b1
    param checksum of rank 2 differs from rank 0 (0x8f3a != 0x77aa)

What comes out finite the second time was computed wrongly once; what is NaN again is in the data or
in the arithmetic. Of a replay buffer, and of what might be done, nothing is said here.
"""

from __future__ import annotations

import re
from collections import Counter

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.numbers import NONFINITE

_AGAIN = re.compile(
    r"\b(?:replay(?:ed|ing|s)?(?![ _-]?(?:buffer|memory|ratio|size|capacity|experience))"
    r"|re-?(?:run|ran|running|runs|comput\w+|execut\w+|evaluat\w+)"
    r"|(?:second|third) (?:pass|attempt|evaluation|run|try)|repeat(?:ed|ing) the (?:step|batch))\b",
    re.IGNORECASE,
)
_SAME = re.compile(
    r"\b(?:same|identical|unchanged) (?:(?:micro|mini)-?)?"
    r"(?:\w+ ){0,2}(?:batch(?:es)?|micro-?batch(?:es)?|inputs?|data|weights|state|step)\b",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"\b(?:not|n't|cannot be|never) (?:be )?reproduc\w+|\b(?:ir|non-?)reproducib\w+"
    r"|\bdiffer(?:s|ed|ent)?\b|\bdisagree[sd]?\b|\bmismatch\w*|\bchanged\b"
    r"|\b(?<!not )(?<!non-)(?<!in)finite\b",
    re.IGNORECASE,
)
_LIKEWISE = re.compile(
    r"\b(?:nan|inf|non-?finite|not finite) again\b|\bagain (?:is )?(?:nan|inf|non-?finite)\b"
    r"|\bstill (?:nan|inf|non-?finite)\b|(?<!not )(?<!non-)(?<!ir)\breproduc(?:ed|ible|es)\b"
    r"|\b(?:agrees?|same (?:nan|result|value))\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\b(?:loss|norm|grad\w*|gnorm|second|now)\b[\s:=]*(?:is |was |of )?(?=[\d.]|-?\d)", re.I
)
_FIRST = re.compile(
    r"\((?:first|was|before|originally|instead of|vs)[^()]*\)|\bfirst \w+: \S+"
    r"|\bfirst[:=]?\s?-?(?:nan|inf|\d\S*)",
    re.I,
)
_VAGUE = re.compile(
    r"\b(?:might|may|could|can|would|should|will|if|whether|unless|to check|need to|please|try"
    r"|consider|set|for determinism|seed|warn\w*)\b",
    re.IGNORECASE,
)
_REPLICAS = re.compile(
    r"\b(?:checksums?|crc(?:32)?|hash(?:es)?|digests?|fingerprints?|consistency|in sync|replicas?"
    r"|bit-?wise)\b",
    re.IGNORECASE,
)
_OF_RANKS = re.compile(r"\b(?:ranks?|replicas?|workers?|dp_?\d|device|hosts?)", re.IGNORECASE)
_APART = re.compile(
    r"\bmismatch\w*|\bdiffer(?:s|ed|ent)?\b|\bdisagree[sd]?\b|\bdiverged?\b|\binconsisten\w+"
    r"|\bout of sync\b|\bnot (?:equal|identical|in sync|consistent)\b|!=",
    re.IGNORECASE,
)
_NONE_APART = re.compile(r"\b(?:no|0|zero|without) (?:\w+ )?(?:mismatch|differ|diverge)\w*", re.I)
_LABELLED = re.compile(
    r"\b(?:rank|replica|worker|dp|device|host|r)[ _#]?(\d{1,5})\s*[=:]\s*(?:0x)?([0-9a-f]{4,64})\b",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\b(?:rank|replica|worker)s? ?#?(\d{1,5})\b", re.IGNORECASE)
_STEP = re.compile(r"\b(?:step|iteration|iter|update)s?\s*[:#=]?\s*#?(\d{1,12})(?![\d.]*\w)", re.I)


def _on_again(log: Log, line: Line) -> None:
    reproducible = _said(line.text)
    if reproducible is not None:
        step = _STEP.search(line.text)
        number = int(step[1]) if step else None
        log.event(
            "step-rerun", line, step=number, exact=step is not None, reproducible=reproducible
        )


def _said(text: str) -> bool | None:
    """Whether the second time gave what the first did; ``None`` where the line does not tell."""
    if len(text) > 1000 or (_AGAIN.search(text) is None and _SAME.search(text) is None):
        return None
    if _VAGUE.search(text):
        return None
    second = _FIRST.sub(" ", text)
    if _LIKEWISE.search(second):
        return True
    if _OTHERWISE.search(second):
        return False
    again = _AGAIN.search(second)
    if again is None:
        return None
    if NONFINITE.search(second, again.end()):
        return True
    return False if _NUMBER.search(second, again.end()) else None


def _on_replicas(log: Log, line: Line) -> None:
    step = _STEP.search(line.text)
    number = int(step[1]) if step else None
    log.event(
        "replicas-differ",
        line,
        step=number,
        exact=step is not None,
        rank=_odd_one(line.text),
    )


def _odd_one(text: str) -> int | None:
    """The one rank of several whose sum is another; of two that are named, the first."""
    sums = dict(_LABELLED.findall(text))
    tally = Counter(sums.values())
    odd = [rank for rank, value in sums.items() if tally[value] == 1]
    if len(sums) > 2 and len(odd) == 1:
        return int(odd[0])
    named = [] if sums else _PAIR.findall(text)
    return int(named[0]) if named else None


def _says_apart(text: str) -> bool:
    return bool(
        len(text) <= 2000
        and _REPLICAS.search(text)
        and _OF_RANKS.search(text)
        and _APART.search(text)
        and not (_NONE_APART.search(text) or _VAGUE.search(text))
    )


def _plan(line: Line, lower: str) -> Handler | None:
    if _says_apart(line.text):
        return _on_replicas
    return _on_again if _said(line.text) is not None else None


DIALECT = Dialect(
    name="reruns",
    triggers=("replay", "rerun", "re-run", "reran", "re-ran", "recomput", "re-execut", "reproduc",
              "reevaluat", "re-evaluat", "identical ", "same micro", "second pass",
              "second attempt", "checksum", "crc", "consistency", "replica", "fingerprint"),
    plan=_plan,
)  # fmt: skip
