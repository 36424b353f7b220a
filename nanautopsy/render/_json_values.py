"""Values as every JSON document of ours holds them."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

from nanautopsy.model import Source, TensorHealth
from nanautopsy.render._facts import tensor_note

_TENSOR_FIELDS = tuple(field.name for field in fields(TensorHealth))


def source_values(source: Source) -> dict[str, Any]:
    """Only what is known of the place."""
    known = {key: value for key, value in asdict(source).items() if value is not None}
    return known | ({"index": list(known["index"])} if "index" in known else {})


def tensor_values(tensor: TensorHealth) -> dict[str, Any]:
    """Everything measured, and the note."""
    known = {name: getattr(tensor, name) for name in _TENSOR_FIELDS}  # asdict() takes ten times it
    if tensor.bad_rows is not None:
        known["bad_rows"] = asdict(tensor.bad_rows)
    known |= {"headroom": tensor.headroom, "note": tensor_note(tensor)}
    optional = ("subnormal", "min_abs", "bad_rows", "parameter", "moment", "rank")
    return present(known | {"shape": list(tensor.shape)}, *optional)


def present(known: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Without those of the ``optional`` names that have no value."""
    return {k: v for k, v in known.items() if v is not None or k not in optional}


def strict(value: Any) -> Any:
    """The same with NaN and Inf as words, tuples as lists, and phrases as what they say."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return str(value) if isinstance(value, str) else value
