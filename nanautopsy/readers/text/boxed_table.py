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

A section's name stands before those of its rows, as in the same logger's TensorBoard tags. The same
drawn by rich, under a title that may say the step, and by tabulate (rllab, rlkit, garage)::

           Iteration 10
    ┏━━━━━━━━━━━━━┳━━━━━━━┓            ----------  ---------        +------+-------+
    ┃ Metric      ┃ Value ┃            itr         10               | itr  | 10    |
    ┡━━━━━━━━━━━━━╇━━━━━━━┩            loss/total   2.11976         +------+-------+
    │ policy loss │ 2.1   │            ----------  ---------        | loss | 2.119 |
    └─────────────┴───────┘                                         +------+-------+
"""

from __future__ import annotations

import re

from nanautopsy.readers.text import setting_lines
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import counter_kind, is_loss, is_metric, may_join

_RULE = re.compile(r"\s*[-+=|\u2500-\u257f]{10,}\s*|\s*(?:-{4,} {2,}-{2,}|={4,} {2,}={2,})\s*")
_DRAWN = re.compile(r"[-=+\u2500-\u257f]{4}")
_OPEN = re.compile(r"\s*[-=]+ +[-=]+\s*")
"""The rule of a table without vertical lines, which has two columns."""
_BARS = str.maketrans("\u2502\u2503\u2551", "|||")
_ROW = re.compile(r"\s*\|(\s{1,40})(\S[^|]{0,80}?)\s*\|\s*([^|\s]*)\s*\|\s*")
_OPEN_ROW = re.compile(r"(\s*)([A-Za-z_]\S*(?: \S+){0,5}) {2,}(\S+)\s*")
_COUNTS = ("total_timesteps", "timesteps", "total timesteps", "nupdates", "iterations", "epoch")
_METRICS = ("train/", "rollout/")
"""Sections all of whose rows are metrics."""
_MOST_ROWS = 200


def _on_rule(log: Log, line: Line) -> None:
    section = ""
    found: dict[str, float] = {}
    counts: dict[str, int] = {}
    rows: list[Line] = []
    at = line
    expression = _OPEN_ROW if _OPEN.fullmatch(line.text) else _ROW
    in_grid, after_rule = "+" in line.text, True

    def take(line: Line) -> Take:
        nonlocal section, at, after_rule
        if in_grid and not after_rule and _RULE.fullmatch(line.text):
            after_rule = True
            return Take.MORE
        row = expression.fullmatch(line.text.translate(_BARS))
        if row is None:
            return Take.NOT_MINE
        at, after_rule = line, False
        rows.append(line)
        name, text = row[2], row[3]
        if name.endswith("/") and not text:
            section = name
            return Take.MORE
        if len(row[1]) < 2 or expression is _OPEN_ROW:
            section = ""
        value = parse(text)
        lowered = name.lower().rpartition("/")[2]
        if value is not None and (lowered in _COUNTS or counter_kind(name) is not None):
            counts[lowered] = int(value) if value == value // 1 else -1
        elif value is not None and (is_metric(name) or (section in _METRICS and may_join(name))):
            found[section + name] = value
        return Take.MORE

    def end() -> None:
        key = next((name for name in (*_COUNTS, *counts) if name in counts), None)
        n = -1 if key is None else counts[key]
        if n < 0 and log.context(line) is None and not any(map(is_loss, found)):
            for row in rows:
                setting_lines.note(log, row)
        elif found:
            counter = None if n < 0 else Counter(Basis.COUNTER, n, family=f"box {key}")
            place = log.start_row(counter, at)
            log.rows.write(tuple(found), place, list(found.values()))

    log.follow(line, take, end, _MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_rule if _DRAWN.search(line.text) and _RULE.fullmatch(line.text) else None


DIALECT = Dialect(
    name="boxed-table",
    triggers=("----------", "----  --", "\u2501\u2501\u2501\u2501", "\u2500\u2500\u2500\u2500"),
    plan=_plan,
)
