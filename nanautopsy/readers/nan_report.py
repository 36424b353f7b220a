"""Reports that a program's own check writes when it meets NaN: a JSON object with lists of names.

Sample, ``nan_report_step_44.json``::

    {"step": 44, "loss": null, "bad_grads": ["layers.2.attention.wo.weight"], "bad_params": []}

A list counts whose key says that its members are bad, and whose members are layers; an object of
names and counts is a list of its names. Every list is a statement of the run at the step that the
object, or else the name of the file, tells.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from nanautopsy.model import Artifact, Claim, FileHead, LogEvent, Record, Skipped, Source
from nanautopsy.readers._decode import decode_text
from nanautopsy.readers._json_numbers import number_of
from nanautopsy.readers._step_keys import step_key, step_number
from nanautopsy.readers.text.named_layer import LAYER_WORD, is_path, looks_like_a_layer, spelled
from nanautopsy.readers.text.named_quantity import quantity
from nanautopsy.wording import phrase

_LARGEST = 4 << 20
"""Bytes; a report names the tensors of one model."""
_BAD = re.compile(
    r"(?:^|[_\W])(?:nans?|infs?|non_?-?finite|not_finite|bad|offending|overflow\w*)"
    r"(?:$|[_\W])",
    re.IGNORECASE,
)
_STEP = re.compile(r"(?:step|iter|iteration|it|update)[-_=]?(\d{1,9})(?!\d)", re.IGNORECASE)
_WORD = re.compile(LAYER_WORD, re.IGNORECASE)
_MOST_SHOWN = 3


class NanReportReader:
    """Claims JSON objects that list bad layers; an empty list is none."""

    name = "nan-report"

    def claim(self, file: FileHead) -> Claim | None:
        whole = file.size <= min(len(file.head), _LARGEST)
        if not whole or not file.name.lower().endswith(".json"):
            return None
        return Claim(self.name, 88) if any(_lists(_parsed(file.head))) else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """A statement for each list."""
        found = _parsed(artifact.location.read_bytes()[:_LARGEST])
        lists = list(_lists(found))
        if not lists:
            yield Skipped(phrase("no list of bad layers in it"))
        for key, names in lists:
            yield _event(artifact.path, key, names, _step(found, artifact.path))


READER = NanReportReader()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(decode_text(data))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _lists(report: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Key and names of every list of bad layers."""
    for key, value in report.items():
        if not _BAD.search(key):
            continue
        if isinstance(value, dict):
            members = [name for name, count in value.items() if number_of(count) != 0]
        else:
            members = value if isinstance(value, list) else [value]
        names = [_name(member) for member in members]
        if names and all(names):
            yield key, tuple(dict.fromkeys(filter(None, names)))


def _name(member: Any) -> str | None:
    """The layer that a member of a list is, or an object in it names."""
    if isinstance(member, dict):
        named = (member.get(key) for key in ("name", "layer", "module", "param", "parameter"))
        member = next((name for name in named if isinstance(name, str)), None)
    if not isinstance(member, str) or len(member) > 500:
        return None
    layer = spelled(member)
    path = is_path(layer) and looks_like_a_layer(layer) and " " not in layer
    return layer if path or _WORD.fullmatch(layer) else None


def _step(report: dict[str, Any], path: str) -> int | None:
    key = step_key(report)
    if key is not None:
        return step_number(report.get(key))
    named = _STEP.search(path.rpartition("/")[2])
    return int(named[1]) if named else None


def _event(path: str, key: str, names: tuple[str, ...], step: int | None) -> LogEvent:
    shown = ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
    text = f"{key}: {shown}"
    infinite = re.search(r"inf|overflow", key, re.IGNORECASE) and "nan" not in key.lower()
    return LogEvent(
        kind="nonfinite-text",
        text=text,
        source=Source(path, excerpt=text),
        step=step,
        step_exact=step is not None,
        data={
            "value": "inf" if infinite else "nan",
            "quantity": quantity(key) or "tensor",
            "layers": names,
        },
    )
