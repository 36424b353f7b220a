"""An inspection for machines: strict JSON, every measured tensor, schema version 1.

Each tensor is one line: there may be hundreds of thousands, and the encoder that indents is the
slow one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from nanautopsy.checkpoint_diff import CheckpointDiff, TensorDiff
from nanautopsy.inspection import History, Inspected, Inspection
from nanautopsy.model import TensorHealth
from nanautopsy.render._clean import clean, one_line
from nanautopsy.render._inspect_rows import in_order, rows_of
from nanautopsy.render._inspect_words import headline, verdict
from nanautopsy.render._json_values import present, source_values, strict, tensor_values
from nanautopsy.render.json import SCHEMA_VERSION


def render(inspection: Inspection, *, sort: str = "worst", top: int | None = None) -> str:
    """The document, with a line end. ``top``: tensors of one checkpoint, all by default."""
    document = dict(_parts(inspection))
    lines: list[str] = []
    if inspection.diff is None:
        for about, member in zip(document["checkpoints"], inspection.inspected, strict=True):
            rows = in_order(rows_of([member]), sort, top or None)
            about["tensors"] = _put(lines, (_tensor(row.tensor) for row in rows))
    else:
        tensors = map(_tensor_diff, inspection.diff.tensors)
        document["diff"]["tensors"] = _put(lines, tensors)
    text = json.dumps(strict(_cleaned(document)), indent=2, allow_nan=False) + "\n"
    # No cleaned string holds the character that marks the places.
    return _PLACE.sub(lambda place: lines[int(place[1])], text)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the text of a long list belongs."""

    number: int


_PLACE = re.compile(r'"\\u0000(\d+)"')


def _put(lines: list[str], values: Iterable[dict[str, Any]]) -> _Place:
    """A place for a list, whose items are encoded a line each."""
    items = (json.dumps(_plain(value), allow_nan=False) for value in values)
    body = ",\n        ".join(items)
    lines.append(f"[\n        {body}\n      ]" if body else "[]")
    return _Place(len(lines) - 1)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Harmless and strict; what most values are is not looked into."""
    simple = {}
    for key, value in values.items():
        kind = type(value)
        if kind is str:
            simple[key] = clean(value)
        elif value is None or kind is int or (kind is float and isfinite(value)):
            simple[key] = value
        else:
            simple[key] = strict(_cleaned(value))
    return simple


def _parts(inspection: Inspection) -> Iterator[tuple[str, Any]]:
    yield "schema_version", SCHEMA_VERSION
    yield "nanautopsy_version", inspection.version
    yield "command", "inspect"
    yield "paths", list(inspection.paths)
    if inspection.filters:
        yield "filters", list(inspection.filters)
    yield "depth", inspection.depth
    yield "verdict", verdict(inspection)
    yield "headline", one_line(headline(inspection))
    if inspection.diff is None:
        yield "histories", [_history(history) for history in inspection.histories]
        yield "checkpoints", [_inspected(m) for m in inspection.inspected]
    else:
        yield "against", inspection.against
        yield "diff", _diff(inspection.diff)
    problems = [{"text": p.text, "source": source_values(p.source)} for p in inspection.problems]
    yield "problems", problems
    yield "redactions", sum(inspection.hidden.values())
    yield "hidden", dict(inspection.hidden)


def _history(history: History) -> dict[str, Any]:
    named = {
        "first_bad": history.first_bad,
        "last_good": history.last_good,
        "good_again": history.good_again,
    }
    return {
        "checkpoints": [member.checkpoint.path for member in history.members],
        **{key: None if m is None else m.checkpoint.path for key, m in named.items()},
        "turned": [] if history.first_bad is None else list(history.first_bad.damage),
    }


def _inspected(member: Inspected) -> dict[str, Any]:
    checkpoint = member.checkpoint
    about = {
        "path": checkpoint.path,
        "kind": checkpoint.kind,
        "step": checkpoint.step,
        "holds": checkpoint.holds,
        "condition": member.condition,
        "depth": checkpoint.depth,
        "inferred": checkpoint.inferred or None,
        "state": dict(checkpoint.state) or None,
        "listed_tensors": member.listed,
        "bytes": member.bytes,
        "nonfinite_tensors": list(member.damage),
        "nonfinite_by_design": list(member.by_design),
        "unread_tensors": list(checkpoint.missing),
    }
    return present(about, "inferred", "state")


def _tensor(tensor: TensorHealth) -> dict[str, Any]:
    return tensor_values(tensor) | {"fp16_headroom": tensor.fp16_headroom}


def _diff(diff: CheckpointDiff) -> dict[str, Any]:
    return {
        "before": list(diff.before),
        "after": list(diff.after),
        "only_before": [tensor.name for tensor in diff.only_before],
        "only_after": [tensor.name for tensor in diff.only_after],
        "turned_nonfinite": [tensor.name for tensor in diff.turned],
        "nonfinite": list(diff.damage),
    }


def _tensor_diff(tensor: TensorDiff) -> dict[str, Any]:
    about = {
        "name": tensor.name,
        "identical": tensor.identical,
        "max_abs_ratio": tensor.growth,
        "rms_ratio": tensor.rms_growth,
        "elements": None if tensor.elements is None else asdict(tensor.elements),
        "why_elements_were_not_compared": tensor.why_not or None,
        "before": None if tensor.before is None else _tensor(tensor.before),
        "after": None if tensor.after is None else _tensor(tensor.after),
    }
    return present(about, "why_elements_were_not_compared")


def _cleaned(value: Any) -> Any:
    """Every string and key harmless to show."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, _Place):
        return f"\0{value.number}"
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value
