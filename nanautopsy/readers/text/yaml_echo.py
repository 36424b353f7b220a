"""Settings that a program prints as YAML when it starts, as users of OmegaConf and Hydra do.

Sample (``print(OmegaConf.to_yaml(config))``, or the same behind a logger's prefix)::

    [2024-01-01 10:00:00,123][__main__][INFO] - seed: 1
    optimizer:
      _target_: torch.optim.AdamW
      lr: 1.0e-04
    trainer:
      precision: 16-mixed

Every line stays available to the other dialects: what looks like a block of settings may turn out
to be none.
"""

from __future__ import annotations

import re

from nanautopsy.model import Scalar
from nanautopsy.readers import _yaml
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._json_numbers import parse_number
from nanautopsy.readers._setting_names import TRAINING_KEYS
from nanautopsy.readers.text.config_echo import emit
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.setting_lines import give_held
from nanautopsy.readers.text.words import counter_kind, is_loss, is_plural, is_setting

_LOGGER = re.compile(r"(?:\[[\w.]+\])*\[(?:INFO|DEBUG)\] - ")
"""Hydra's, behind the time."""
_FIRST = re.compile(r"([A-Za-z_][\w.-]*):(?: +\S.*)?\s*")
_MEMBER = re.compile(r"\s*(?:- +)*[\w./$-]+:(?: +.*)?|\s*- .*")
_SETTING = re.compile(r"\s+(?:- +)*([\w./$-]+): +(\S.*)")
_FEWEST = 5
"""Indented settings."""
_OWN = 2
"""Settings that only a training has, where few are indented."""
_MAX_LINES = 2000
_MAX_TEXT = 1 << 18
_MOST_BLOCKS = 64
"""Looked at in one log, by which time every rank has printed its settings."""
_MEMORY = "yaml_echo"


def _on_first(log: Log, line: Line) -> None:
    looked_at = log.memory.get(_MEMORY, 0)
    if line.rank in log.following or not isinstance(looked_at, int) or looked_at >= _MOST_BLOCKS:
        return
    log.memory[_MEMORY] = looked_at + 1
    prefix = _LOGGER.match(line.text)
    texts = [line.text[0 if prefix is None else prefix.end() :]]
    origin = line
    size = 0
    is_record = True

    def take(line: Line) -> Take:
        nonlocal size, is_record
        text = line.whole.decode("utf-8", "replace").rstrip()
        if _MEMBER.fullmatch(text) is None:
            return Take.NOT_MINE
        size += len(text)
        is_record = is_record and not _is_metric(text)
        if size > _MAX_TEXT or not is_record:
            is_record = False
            return Take.NOT_MINE
        texts.append(text)
        return Take.ASIDE

    def end() -> None:
        values = _settings(texts) if is_record else {}
        nested = sum(_SETTING.fullmatch(text) is not None for text in texts) >= _FEWEST
        names = {key.rpartition(".")[2].lower() for key in values}
        if values and (nested or len(names & TRAINING_KEYS) >= _OWN):
            give_held(log, before=origin.number)
            emit(log, origin, "log", values)
        else:
            give_held(log)

    log.follow(line, take, end, _MAX_LINES)


def _settings(texts: list[str]) -> dict[str, Scalar]:
    """The flat form of a block; empty where it is no YAML."""
    try:
        found = _yaml.load("\n".join(texts))
    except ValueError:
        return {}
    return flatten(found) if isinstance(found, dict) else {}


def _is_metric(text: str) -> bool:
    """Whether the line states a loss or where the run is, as a report of training would."""
    setting = _SETTING.fullmatch(text)
    if setting is None or parse_number(setting[2].strip()) is None:
        return False
    key = setting[1]
    if counter_kind(key) is not None:
        return not is_plural(key) and counter_kind(key) != "batch"
    return is_loss(key) and not is_setting(key) and "scale" not in key


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    prefix = _LOGGER.match(text)
    first = _FIRST.fullmatch(text, 0 if prefix is None else prefix.end())
    if first is None or counter_kind(first[1]) is not None or is_loss(first[1]):
        return None
    return _on_first


DIALECT = Dialect(
    name="yaml-echo",
    triggers=("seed:", "optimizer:", "optim:", "trainer:", "model:", "training:", "dataset:",
              "_target_:", "batch_size:", "output_dir:", "][info] - "),
    plan=_plan,
)  # fmt: skip
