"""What programs say that pick what fits out of a checkpoint by themselves.

Samples::

    restored 12/38 parameters from /models/base.pt
    Loaded 0 of 291 tensors
    Missing keys: ['head.weight', 'head.bias']
    213 keys of the checkpoint were not found in the model
    skip loading head.weight: checkpoint shape (1000, 768) vs model (10, 768)
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.load_report import KEY, REPORT_LINES, Keys

_SHARE = re.compile(
    r"\b(?:load(?:ed|ing)|restored|restoring|initiali[sz]ed|copied|matched|found)\b\W{0,3}"
    r"(?:weights? (?:for|of)\s+)?(\d{1,7})\s*(?:/|of|out of)\s*(\d{1,7})\s+(?:\w+ )?"
    r"(?:param(?:eter)?s?|tensors?|keys?|weights?|layers?|modules?|variables?|arrays?)\b",
    re.IGNORECASE,
)
_N = r"(?:(?P<n>\d{1,7})\s+)?"
_OWN_WORDS = (
    (
        "weights-newly-initialized",
        re.compile(rf"{_N}\bmissing[_ ]keys?(?: in (?:the )?\w+)?\b(?!=)", re.IGNORECASE),
    ),
    (
        "weights-not-used",
        re.compile(
            rf"{_N}\bunexpected[_ ]keys?(?: in (?:the )?\w+)?\b(?!=)"
            rf"|(?P<m>\d{{1,7}})?\s*\bkeys? (?:in|of|from) (?:the )?(?:checkpoint|state_?dict)\b"
            r".{0,20}\bnot (?:found|in|used|present|matched)\b",
            re.IGNORECASE,
        ),
    ),
)
_SKIPPED = re.compile(
    r"(?:\bskip(?:ping|ped)?\b|\bignor(?:ing|ed)\b|\bsize mismatch for\b|\bshape mismatch\b)"
    r"(?: (?:loading|key|param(?:eter)?|weight|layer|tensor|for))*[ :'\"`]+([A-Za-z_][\w.]*\.\w+)"
    r"\b.*(?:shape|size|\()",
    re.IGNORECASE,
)


def _on_share(log: Log, line: Line) -> None:
    """How many of the model's parameters a loader found."""
    share = _SHARE.search(line.text)
    if share is None:
        return
    found, total = int(share[1]), int(share[2])
    if found < total:
        log.event("weights-newly-initialized", line, count=total - found, total=total)


def _on_keys(log: Log, line: Line) -> None:
    """Keys that a program lists, or counts, by itself."""
    for kind, pattern in _OWN_WORDS:
        match = pattern.search(line.text)
        if match is None:
            continue
        keys = Keys()
        keys.extend(KEY.findall(line.raw.decode("utf-8", "replace")[match.start() :]))
        stated = match["n"] or match.groupdict().get("m")
        count = int(stated) if stated else keys.count
        if count:
            log.event(kind, line, keys=keys.names, count=max(count, keys.count))
        return


def _on_skipped(log: Log, line: Line) -> None:
    """One line for each tensor of another shape: one event for those that follow each other."""
    keys = Keys()
    origin = line

    def take(line: Line) -> Take:
        match = _SKIPPED.search(line.text)
        if match is None:
            return Take.NOT_MINE
        keys.add(match[1])
        return Take.MORE

    def end() -> None:
        log.event("weights-mismatched", origin, keys=keys.names, count=keys.count)

    take(line)
    log.follow(line, take, end, REPORT_LINES)


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if "incompatiblekeys(" in lower:
        return None
    if _SHARE.search(text) is not None:
        return _on_share
    if _SKIPPED.search(text) is not None:
        return _on_skipped
    return _on_keys if any(pattern.search(text) for _, pattern in _OWN_WORDS) else None


DIALECT = Dialect(
    name="load-words",
    triggers=(
        "missing key", "missing_key", "unexpected key", "unexpected_key", "keys in", "keys of",
        "keys from", "key in", " parameters", " params", " tensors", " keys", " weights", " layers",
        " modules", " variables", "skip", "ignor", "mismatch",
    ),
    plan=_plan,
)  # fmt: skip
