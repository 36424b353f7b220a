"""Settings that a program prints before it trains: one a line, or several on one.

Samples, all from hand-written loops::

         learning rate: 0.01
            batch size: 32
    | optimizer   | sgd   |
    lr            0.01
    config: lr=0.01 bs=64 momentum=0.9
    peak_lr: 3e-4, warmup_steps: 200, optimizer: AdamW
    Config param learning_rate: 3e-05                                             (MaxText)

A line alone may be anything: it counts beside another one that only a training has. Behind the
first row of metrics nothing is a setting.
"""

from __future__ import annotations

import re

from nanautopsy.model import Scalar
from nanautopsy.readers._setting_names import TRAINING_KEYS
from nanautopsy.readers.text.config_echo import emit
from nanautopsy.readers.text.deepspeed import scalar
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.words import is_loss

_FRAME = " \t|\u2502\u2503\u2551*-\u2022>#"
_LINE = re.compile(
    r"([A-Za-z][\w -]{0,40}?)(?:\s*[:=|\u2502\u2503\u2551]\s*|\s{2,})([\w.+-]+(?: [\w.+-]+)?)"
)
_LOGGER = re.compile(r".{0,80}?(?:\b(?:INFO|DEBUG)\b\W*|\]\s|\s-\s|\bConfig param )")
_MAXTEXT = {"dtype": "compute_dtype", "weight_dtype": "weights_dtype"}
_PAIR = re.compile(r"(?<![\w.])([A-Za-z]\w*)(?:=|:\s?)(?!\w+=)([^\s,;|(){}\[\]]+)")
_NEAR = 3
"""Lines between two settings of one block."""
_FEWEST = 2
"""Settings that only a training has, below which a line may be anything."""
_MEMORY = "setting_lines"
_HELD = "setting_lines held"
"""Those inside of what another dialect may read as a whole."""


def _on_line(log: Log, line: Line) -> None:
    found = _setting(line.text)
    if len(log.rows) or found is None or log.context(line) is not None:
        return  # part of a report of where the run stands
    last = log.memory.get(_MEMORY)
    log.memory[_MEMORY] = (line, found)
    if isinstance(last, tuple) and line.number - last[0].number <= _NEAR:
        held = log.memory.setdefault(_HELD, [])
        assert isinstance(held, list)
        held += [last, (line, found)]
    if line.rank not in log.following:
        give_held(log)


def note(log: Log, line: Line) -> None:
    """Take a line that another dialect held for one of its own."""
    if _setting(line.text) is not None:
        _on_line(log, line)


def give_held(log: Log, before: int | None = None) -> None:
    """Report the settings that stood inside what looked like a block; where it was one, and is
    reported as a whole, only those before its first line."""
    held = log.memory.pop(_HELD, [])
    for place, (name, value) in held if isinstance(held, list) else []:
        if before is None or place.number < before:
            emit(log, place, "log", {name: value})


def _setting(text: str) -> tuple[str, Scalar] | None:
    match = _LINE.fullmatch(_LOGGER.sub("", text, count=1).strip(_FRAME))
    if match is None:
        return None
    name = re.sub(r"[ -]+", "_", match[1].strip().lower())
    name = _MAXTEXT.get(name, name) if "Config param " in text else name
    return (name, scalar(match[2])) if name in TRAINING_KEYS else None


def _on_pairs(log: Log, line: Line) -> None:
    if not len(log.rows):
        emit(log, line, "log", _pairs(line.text))


def _pairs(text: str) -> dict[str, Scalar]:
    """Several settings on a line; empty where a loss is among them, or too few are a training's."""
    found = {match[1]: scalar(match[2].strip("'\"")) for match in _PAIR.finditer(text)}
    if any(is_loss(name) for name in found):
        return {}
    return found if sum(name.lower() in TRAINING_KEYS for name in found) >= _FEWEST else {}


def _plan(line: Line, lower: str) -> Handler | None:
    if _setting(line.text) is not None:
        return _on_line
    return _on_pairs if _pairs(line.text) else None


DIALECT = Dialect(
    name="setting-lines",
    triggers=("lr", "learning", "batch", "epochs", "optim", "momentum", "warmup", "decay", "clip",
              "fp16", "bf16", "precision", "amp", "steps", "beta", "config param "),
    plan=_plan,
    leftover=True,
)  # fmt: skip
