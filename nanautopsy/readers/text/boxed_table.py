"""Boxed tables of names and values, one a report: the loggers of reinforcement learning.

Samples (Stable-Baselines3 and its descendants; OpenAI Baselines has no sections)::

    ----------------------------------------
    | rollout/                |            |
    |    ep_rew_mean          | 9.19       |
    | time/                   |            |
    |    total_timesteps      | 4096       |
    | train/                  |            |
    |    loss                 | nan        |
    ----------------------------------------

A section's name stands before those of its rows, as in the same logger's TensorBoard tags.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import counter_kind, is_metric, may_join

_RULE = re.compile(r"\s*-{10,}\s*")
_ROW = re.compile(r"\s*\|(\s{1,40})(\S[^|]{0,80}?)\s*\|\s*([^|\s]*)\s*\|\s*")
_COUNTS = ("total_timesteps", "timesteps", "total timesteps", "nupdates", "iterations", "epoch")
_METRICS = ("train/", "rollout/")
"""Sections all of whose rows are metrics."""
_MOST_ROWS = 200


def _on_rule(log: Log, line: Line) -> None:
    section = ""
    found: dict[str, float] = {}
    counts: dict[str, int] = {}
    at = line

    def take(line: Line) -> Take:
        nonlocal section, at
        row = _ROW.fullmatch(line.text)
        if row is None:
            return Take.NOT_MINE
        at = line
        name, text = row[2], row[3]
        if name.endswith("/") and not text:
            section = name
            return Take.MORE
        if len(row[1]) < 2:
            section = ""
        value = parse(text)
        lowered = name.lower()
        if value is not None and lowered in _COUNTS:
            counts[lowered] = int(value) if value == int(value) else -1
        elif value is not None and counter_kind(name) is None:
            if is_metric(name) or (section in _METRICS and may_join(name)):
                found[section + name] = value
        return Take.MORE

    def end() -> None:
        if not found:
            return
        key = next((name for name in _COUNTS if name in counts), None)
        n = -1 if key is None else counts[key]
        counter = None if n < 0 else Counter(Basis.COUNTER, n, family=f"box {key}")
        row = log.start_row(counter, at)
        log.rows.write(tuple(found), row, list(found.values()))

    log.follow(line, take, end, _MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_rule if _RULE.fullmatch(line.text) else None


DIALECT = Dialect(name="boxed-table", triggers=("----------",), plan=_plan)
