"""What W&B prints when a run ends: the last value of each metric.

Sample::

    wandb: Run summary:
    wandb:      train/epoch 1.0
    wandb:  train/grad_norm nan
    wandb:       train/loss 0.0
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.words import is_best, is_metric

_ROW = re.compile(r"wandb:\s+(\S.*?)\s+(\S+)\s*")
_MOST_ROWS = 2000


def _on_heading(log: Log, line: Line) -> None:
    found: list[tuple[Line, str, float]] = []

    def take(line: Line) -> Take:
        row = _ROW.fullmatch(line.text)
        if row is None or row[1].endswith(":"):
            return Take.MORE if line.text.strip() == "wandb:" and not found else Take.NOT_MINE
        value = parse(row[2])
        if value is not None and is_metric(row[1]) and not is_best(row[1]):
            found.append((line, row[1], value))
        return Take.MORE

    def end() -> None:
        for line, tag, value in found:
            row = log.rows.add_row(log.latest(), line.number, line.rank)
            log.rows.add(tag, row, value)

    log.follow(line, take, end, _MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if lower.strip() == "wandb: run summary:" else None


DIALECT = Dialect(name="wandb-summary", triggers=("wandb: run summary:",), plan=_plan)
