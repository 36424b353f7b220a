"""Iteration lines of Megatron-LM and gpt-neox, where a NaN loss shows by its absence.

Samples (the timestamp in front is new since core 0.6)::

     iteration       20/     100 | consumed samples:          160 | elapsed time per iteration \
(ms): 812.3 | learning rate: 1.500E-06 | global batch size:     8 | lm loss: 9.876543E+00 | loss \
scale: 4294967296.0 | grad norm: 12.345 | number of skipped iterations:   0 | number of nan \
iterations:   0 |
     samples/sec: 1.702 | iteration        1/   55000 | elapsed time per iteration (ms): 18806.7 | \
learning rate: 1.212E-09 | lm_loss: 2.275809E+00 | number of skipped iterations:   0 |

``training_log`` prints a loss only if its mean is ``> 0.0`` (``>= 0.0`` from core 0.17), which NaN
is not: the field vanishes, while ``number of nan iterations`` counts only skipped ones and stays 0.
A window in which every iteration was skipped has no loss either, and that is no NaN.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.metric_row import value
from nanautopsy.readers.text.rows import Basis, Counter

_ITERATION = re.compile(r"(?:^|\|)\s*iteration\s+\d+\s*/\s*\d+\s*\|")
_NAME = re.compile(r"([A-Za-z_][\w /().\-]*?)\s*:\s*$")
_WITHIN_NAME = re.compile(r"\bnumber of\s+$")
_SKIPPED = "number of skipped iterations"
_NAN = "number of nan iterations"
_SCALE = "loss scale"
_MEMORY = "megatron"


@dataclass(slots=True)
class _State:
    """What the iteration lines of one log had so far."""

    losses: dict[str, None]
    """Their tags, in order."""
    iteration: int = -1
    last: int = -1


@dataclass(frozen=True, slots=True)
class _Iteration:
    """What to do with the lines of one shape."""

    n: Field
    points: tuple[tuple[str, Field], ...]

    def __call__(self, log: Log, line: Line) -> None:
        digits = line.numbers[self.n.index]
        if not digits.isdigit():
            return
        state = log.memory.get(_MEMORY)
        if not isinstance(state, _State):
            state = log.memory[_MEMORY] = _State({})
        n = int(digits[:18])
        log.step_is(n)
        row = log.rows.add_row(Counter(Basis.STEP, n), line.number, line.rank)
        values = {tag: value(field, line) for tag, field in self.points}
        log.rows.write(tuple(values), row, list(values.values()))
        _judge(log, line, state, n, row, values)
        state.last = n


def _judge(log: Log, line: Line, state: _State, n: int, row: int, values: dict[str, float]) -> None:
    """Skipped iterations, counted NaN, and losses that vanished."""
    skipped = int(values.get(_SKIPPED, 0.0))
    if skipped > 0:
        log.event(
            "overflow-skipped",
            line,
            step=n,
            exact=True,
            skipped=skipped,
            scale_after=values.get(_SCALE),
        )
    if values.get(_NAN, 0.0) > 0:
        log.event(
            "nonfinite-text",
            line,
            step=n,
            exact=True,
            value="nan",
            quantity="loss",
            iterations=int(values[_NAN]),
        )
    present = [tag for tag in values if is_loss_field(tag)]
    window = n - state.last if state.last >= 0 else 0
    may_vanish = skipped == 0 or 0 < skipped < window
    if not present and may_vanish and (state.losses or _is_bare(values)):
        for tag in state.losses:
            log.rows.add(tag, row, float("nan"))
        had = next(iter(state.losses), None)
        missing = "no loss field" if had is None else f"no {had!r} field, as earlier lines had"
        log.event(
            "nonfinite-text",
            line,
            step=n,
            exact=True,
            text=f"iteration {n} has {missing}: Megatron omits a loss that is NaN",
            value="nan",
            quantity="loss",
            vanished=tuple(state.losses),
        )
    state.losses.update(dict.fromkeys(present))


def _is_bare(values: dict[str, float]) -> bool:
    """Whether a line that never had a loss is one of ``training_log`` whose loss is NaN: a finite
    gradient norm beside it would speak for a fork that prints its loss elsewhere."""
    norm = values.get("grad norm", float("nan"))
    return "learning rate" in values and _SKIPPED in values and not math.isfinite(norm)


def is_loss_field(tag: str) -> bool:
    """``lm loss``, ``lm_loss``, ``mtp_1 loss``, ``load_balancing_loss``; not ``loss scale``."""
    return tag.lower().endswith("loss")


def _plan(line: Line, lower: str) -> Handler | None:
    if _ITERATION.search(line.text) is None:
        return None
    n: Field | None = None
    points: list[tuple[str, Field]] = []
    within = ""
    for field in fields(line.parts):
        if _WITHIN_NAME.search(field.before) and field.after.startswith(" iterations"):
            # The word in "number of nan iterations" is no value.
            within = "number of nan"
            continue
        before = within + field.before[: -1 if field.negative and field.index >= 0 else None]
        before = before.rpartition("|")[2][-120:]
        within = ""
        if n is None and before.strip() == "iteration" and field.index >= 0:
            n = field
        elif name := _NAME.search(before):
            points.append((name[1].strip(), field))
    return None if n is None else _Iteration(n, tuple(points))


DIALECT = Dialect(name="megatron", triggers=("iteration ",), plan=_plan, metrics=True)
