"""Steps that a loss scaler skipped, and scalers that gave up, as everybody but DeepSpeed says it.

Samples::

    Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0        (apex)
    NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0    (fairseq)
    | WARNING: overflow detected, setting loss scale to: 64.0             (fairseq up to 0.9)
    Found overflow. Skip step                                                      (ColossalAI)
    WARNING: found inf during ShardedOptimV2 step                        (its ZeRO, over two lines)
    Overflow occurs, please check it.                                              (InternEvo)
    FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.
    RuntimeError: grad_scale is too small, exiting: 5.960464477539063e-08              (icefall)
    non-finite gradients at step 7, reducing loss scale to 512                    (loops by hand)
    inf/nan in grads -> skip, scale 32768 -> 16384
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.numbers import parse

_NUMBER = r"(\d[\d.]*(?:e[+-]?\d+)?)"
_SKIPPED = re.compile(
    rf"Gradient overflow\.\s+Skipping step(?:, loss scaler \d+ reducing loss scale to {_NUMBER})?"
    rf"|\boverflow detected,(?: ignoring gradient,)? setting loss scale to:? {_NUMBER}"
    r"|\bFound overflow\. Skip step|\bOverflow occurs, please check it"
    r"|\bfound_inf\b[^;]{0,30}\bskipp(?:ed|ing)\b"
    r"|\binf during Sharded\w+ step\b",
    re.IGNORECASE,
)
_ARROW = r"(?: ?(?:->|=>|\u2192|to|,? ?now)) ?"
_OVERFLOW = re.compile(r"non-?\s?finite|not finite|overflow\w*|\b(?:nan|inf)s?\b", re.IGNORECASE)
_LOWERED = re.compile(
    r"\b(?:reduc|halv|lower|decreas|shrink|cut|drop|back|adjust|sett?|scal|new|now)\w*\b[^.;:\d]{0,40}?"
    rf"\bscal(?:e|er|ing)\b[^.;\d]{{0,24}}?(?:{_NUMBER}{_ARROW})?{_NUMBER}"
    rf"|\bscal(?:e|er|ing)\b[^.;\d]{{0,24}}?{_NUMBER}{_ARROW}{_NUMBER}"
    rf"|\bscal(?:e|er|ing)\b[^.;\d]{{0,12}}\b(?:reduc|halv|lower|decreas|shr[iu]nk|cut|dropp)\w*"
    rf"[^.;\d]{{0,16}}{_NUMBER}",
    re.IGNORECASE,
)
"""What a loop by hand says of it, in any words: that something overflowed, and the scale from then
on, which is the last number."""
_AT_STEP = re.compile(
    r"\b(?:step|iter(?:ation)?|update)s? *[:#=]? *#?(\d+)(?![\d.]*\w)", re.IGNORECASE
)
_GAVE_UP = re.compile(
    r"\b(?:(?:loss|grad(?:ient)?|amp|fp16)[ _-]?scaler?|gradscaler)\b[^.;:\d]{0,40}\bmin(?:imum)?\b"
    rf"(?:[^;\d]{{0,12}}{_NUMBER})?[^;]{{0,24}}"
    r"\b(?:giv(?:e|es|ing) up|exit\w*|abort\w*|stopp\w*|rais(?:e|es|ing))"
    r"|"
    rf"\bMinimum loss scale reached \({_NUMBER}\)|\bgrad_scale is too small, exiting: {_NUMBER}"
)


def is_skip(text: str) -> bool:
    """Whether the line says that a scaler skipped a step."""
    return _match(text) is not None


def _match(text: str) -> re.Match[str] | None:
    told = "ttempted loss scale" not in text and _OVERFLOW.search(text)  # DeepSpeed's
    lowered = _LOWERED.search(text) if told else None
    return _SKIPPED.search(text) or lowered


def _scale(match: re.Match[str]) -> float | None:
    text = next((group for group in reversed(match.groups()) if group), None)
    return None if text is None else parse(text.rstrip("."))


def _on_skipped(log: Log, line: Line) -> None:
    match = _match(line.text)
    if match is None:
        return
    scale, step = _scale(match), _AT_STEP.search(line.text)
    at = int(step[1]) if step else None
    log.event("overflow-skipped", line, step=at, exact=at is not None, scale_after=scale)
    if scale is not None and at is None:
        row = log.rows.add_row(log.latest(), line.number, line.rank)
        log.rows.add("loss_scale", row, scale)


def _on_gave_up(log: Log, line: Line) -> None:
    match = _GAVE_UP.search(line.text)
    if match is not None:
        log.event("loss-scale-minimum", line, scale=_scale(match))


def _plan(line: Line, lower: str) -> Handler | None:
    if _GAVE_UP.search(line.text):
        return _on_gave_up
    return _on_skipped if is_skip(line.text) else None


DIALECT = Dialect(
    name="skipped-steps",
    triggers=("gradient overflow", "overflow detected", "found overflow", "overflow occurs",
              "inf during ", "overflow", "loss scale", "loss_scale", "nan", "nans", "inf", "infs",
              "not finite", "non-finite", "nonfinite", "non finite",
              "minimum loss scale", "grad_scale is too small"),
    plan=_plan,
    statement=True,
)  # fmt: skip
