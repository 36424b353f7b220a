"""Settings that a program prints as one dictionary, one list of pairs, or JSON over lines.

Samples::

    {'_name': None, 'common': {'fp16': True, 'min_loss_scale': 0.0001}, 'lr': [0.0005]}  (fairseq)
    Config: {'lr': 0.001, 'batch_size': 32, 'optimizer': 'adam'}
    Running with args: {"optimizer": {"name": "AdamW", "lr": 0.0003}, ...}              (torchtitan)
    [DEBUG] [axolotl.utils.config.log:44] config:
    {
      "learning_rate": 0.0002,
    {'batch_size': 32,                                      (pprint, in MindSpore's model zoo)
     'lr_max': 0.1,
    hyperparameters: lr0=0.01, lrf=0.01, momentum=0.937, weight_decay=0.0005, ...           (YOLO)

What holds a loss is a row of metrics, and what names fewer than two settings of a training may be
anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from nanautopsy.model import Scalar
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._python_repr import load_repr
from nanautopsy.readers._setting_names import TRAINING_KEYS
from nanautopsy.readers.text.config_echo import emit, items
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.json_block import follow_json

_FEWEST = 2
"""Settings that only a training has, below which a dictionary is not taken for its settings."""
_HEADING = re.compile(
    r"(?:^|[\s\]])(?:\w*config\w*|\w*args|arguments|\w*params|hyper-?parameters|settings|options)"
    r"\s*[:=]?\s*(\{?)\s*$",
    re.IGNORECASE,
)
_PAIRS = re.compile(r"(?:^|\s)\w[\w/ ]{0,40}: (?=\w+=[^=])")
_MOST_TEXT = 1 << 17


def is_settings(values: Mapping[str, Scalar]) -> bool:
    """Whether flat values are those of a training's settings."""
    names = {key.rpartition(".")[2].lower().replace("-", "_") for key in values}
    names |= {key.partition(".")[0].lower() for key in values}
    if not {"loss", "grad_norm", "train_loss", "eval_loss"}.isdisjoint(names):
        return False
    return len(names & TRAINING_KEYS) >= _FEWEST


def _on_dict(log: Log, line: Line) -> None:
    values = _dict_in(line.raw[:_MOST_TEXT].decode("utf-8", "replace"))
    if values is not None and is_settings(values):
        emit(log, line, "log", values)


def _dict_in(text: str) -> dict[str, Scalar] | None:
    """The flat form of the dictionary on a line, in Python's spelling or JSON's."""
    text = text[text.index("{") : text.rindex("}") + 1] if "{" in text and "}" in text else ""
    try:
        value = load_repr(text) if "{'" in text else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return flatten(value) if isinstance(value, dict) else None


def _on_pairs(log: Log, line: Line) -> None:
    values = _pairs_in(line.text)
    if is_settings(values):
        emit(log, line, "log", values)


def _pairs_in(text: str) -> dict[str, Scalar]:
    start = _PAIRS.search(text)
    return {} if start is None else dict(items(text[start.end() :]))


def _on_heading(log: Log, line: Line) -> None:
    if line.text.rstrip().endswith("{"):
        follow_json(log, line, "log", is_settings)
        return

    def take(line: Line) -> Take:
        if line.text.strip() == "{":
            follow_json(log, line, "log", is_settings)
            return Take.MORE
        return Take.NOT_MINE

    log.follow(line, take, lines=1)


def _on_open(log: Log, line: Line) -> None:
    follow_json(log, line, "log", is_settings)


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if text.startswith("{'") and text.endswith(",") and "}" not in text:
        return _on_open  # pprint breaks a long one
    if "{'" in text or '{"' in text:
        values = _dict_in(line.raw[:_MOST_TEXT].decode("utf-8", "replace"))
        return _on_dict if values is not None and is_settings(values) else None
    if _HEADING.search(text):
        return _on_heading
    return _on_pairs if is_settings(_pairs_in(text)) else None


DIALECT = Dialect(
    name="settings-dict",
    triggers=("experts", "learning_rate",
              "'lr'", "\"lr\"", "lr=", "lr0=", "batch_size", "fp16", "bf16",
              "config:", "configs:", "config: {", "configs: {", "args: {", "args:", "arguments:",
              "hparams:", "hyperparameters:", "epochs="),
    plan=_plan,
    leftover=True,
)  # fmt: skip
