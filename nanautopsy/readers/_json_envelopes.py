"""What loggers put around a row of metrics in JSON: a label before it, an object about it.

Samples::

    DLLL {"type": "LOG", "step": [1, 20], "data": {"loss": 2.3}, ...}               (DLLogger)
    DLLL {"type": "METADATA", "metric": "loss", "metadata": {"unit": null}, ...}
    :::MLLOG {"key": "train_loss", "value": 2.3, "metadata": {"epoch_num": 1}, ...}   (MLPerf)
    {"Loss/G/loss": {"num": 64, "mean": 2.3, "std": 0.1}, "Progress/tick": {...}}     (StyleGAN)
"""

from __future__ import annotations

import re
from typing import Any

from nanautopsy.readers._decode import decode_text

_LABEL = re.compile(r"[:A-Za-z]{3,12} +(?=\{)")
_LONGEST_LABEL = 64
_COUNTERS = ("epoch", "iteration")
"""What the list under ``step`` holds, as NVIDIA's examples fill it; alone it is an epoch."""


def without_label(text: str) -> str:
    """From the object on."""
    if text[:1] == "{" or (label := _LABEL.match(text)) is None:
        return text
    return text[label.end() :]


def unlabelled(head: bytes) -> bytes:
    """The first block of a file, from its first object on."""
    label = _LABEL.match(decode_text(head[:_LONGEST_LABEL]))
    return head if label is None else head[label.end() :]


def _is_average(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"num", "mean", "std"}


def opened(row: dict[str, Any]) -> dict[str, Any]:
    """The counters and metrics of an object; empty where it is about the metrics or the settings,
    itself where it has no envelope."""
    if any(_is_average(value) for value in row.values()):
        means = {
            name: value["mean"] if _is_average(value) else value for name, value in row.items()
        }
        return {"iteration": means["Progress/tick"], **means} if "Progress/tick" in means else means
    data, steps, metadata = row.get("data"), row.get("step"), row.get("metadata")
    if isinstance(data, dict) and isinstance(steps, list):
        counters = dict(zip(_COUNTERS, steps, strict=False))
        return {**counters, **{name: value for name, value in data.items() if name not in counters}}
    if isinstance(data, dict) and isinstance(steps, str) and not steps.isdigit():
        return {}  # "PARAMETER"
    if not isinstance(metadata, dict):
        return row
    if isinstance(row.get("key"), str) and "value" in row:
        return {**metadata, row["key"]: row["value"]}
    return {} if isinstance(row.get("metric"), str) else row
