"""The options with which NVIDIA's apex starts mixed precision.

Sample::

    After processing overrides, optimization options are:
    enabled                : True
    opt_level              : O2
    cast_model_type        : torch.float16
    loss_scale             : dynamic

The table above it, "Defaults for this optimization level", is what the overrides replace.
"""

from __future__ import annotations

import re

from nanautopsy.model import Scalar
from nanautopsy.readers.text.config_echo import emit
from nanautopsy.readers.text.deepspeed import scalar
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take

_ROW = re.compile(r"(\w+)\s*: (\S+)\s*")
_MOST_ROWS = 20


def _on_heading(log: Log, line: Line) -> None:
    values: dict[str, Scalar] = {}
    origin = line

    def take(line: Line) -> Take:
        row = _ROW.fullmatch(line.text)
        if row is None:
            return Take.NOT_MINE
        values[f"amp.{row[1]}"] = scalar(row[2])
        return Take.MORE

    log.follow(line, take, lambda: emit(log, origin, "log", values), _MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if "optimization options are:" in lower else None


DIALECT = Dialect(name="amp-options", triggers=("optimization options are:",), plan=_plan)
