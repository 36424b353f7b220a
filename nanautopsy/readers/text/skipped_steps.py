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
    r"|\binf during Sharded\w+ step\b",
    re.IGNORECASE,
)
_GAVE_UP = re.compile(
    rf"\bMinimum loss scale reached \({_NUMBER}\)|\bgrad_scale is too small, exiting: {_NUMBER}"
)


def _scale(match: re.Match[str]) -> float | None:
    text = next((group for group in match.groups() if group), None)
    return None if text is None else parse(text.rstrip("."))


def _on_skipped(log: Log, line: Line) -> None:
    match = _SKIPPED.search(line.text)
    if match is None:
        return
    scale = _scale(match)
    log.event("overflow-skipped", line, scale_after=scale)
    if scale is not None:
        row = log.rows.add_row(log.latest(), line.number, line.rank)
        log.rows.add("loss_scale", row, scale)


def _on_gave_up(log: Log, line: Line) -> None:
    match = _GAVE_UP.search(line.text)
    if match is not None:
        log.event("loss-scale-minimum", line, scale=_scale(match))


def _plan(line: Line, lower: str) -> Handler | None:
    if _GAVE_UP.search(line.text):
        return _on_gave_up
    return _on_skipped if _SKIPPED.search(line.text) else None


DIALECT = Dialect(
    name="skipped-steps",
    triggers=("gradient overflow", "overflow detected", "found overflow", "overflow occurs",
              "inf during ",
              "minimum loss scale", "grad_scale is too small"),
    plan=_plan,
    statement=True,
)  # fmt: skip
