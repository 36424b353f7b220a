"""What the values of a TensorBoard summary say: scalars, histograms' outline, texts, hparams."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from nanautopsy.model import Scalar

_DT_FLOAT, _DT_DOUBLE, _DT_STRING, _DT_BFLOAT16, _DT_HALF = 1, 2, 7, 14, 19
_ITEM_BYTES = {_DT_FLOAT: 4, _DT_DOUBLE: 8, _DT_BFLOAT16: 2, _DT_HALF: 2}

_JSON_TEXT = re.compile(r"\A\s*(?:```(?:json)?|<pre>)?\s*(\{.*\})\s*(?:```|</pre>)?\s*\Z", re.S)


@cache
def _message(module: str, name: str) -> Callable[[bytes], Any]:
    """The parser of one message type; the import waits until an event file is read."""
    parse: Callable[[bytes], Any] = getattr(import_module(module), name).FromString
    return parse


def event_of(payload: bytes) -> Any | None:
    """The Event message in a record; ``None`` when the bytes are none."""
    parse = _message("tensorboard.compat.proto.event_pb2", "Event")
    try:
        return parse(payload)
    except _decode_error():
        return None


@cache
def _decode_error() -> type[Exception]:
    error: type[Exception] = import_module("google.protobuf.message").DecodeError
    return error


def scalar_of(tensor: Any) -> float | None:
    """The number in a rank-0 TensorProto of a floating type; ``None`` for anything else."""
    dtype = tensor.dtype
    if dtype not in _ITEM_BYTES or tensor.tensor_shape.dim or tensor.tensor_shape.unknown_rank:
        return None
    if tensor.tensor_content:
        if len(tensor.tensor_content) != _ITEM_BYTES[dtype]:
            return None
        return _decode(dtype, tensor.tensor_content)
    if dtype == _DT_FLOAT and tensor.float_val:
        return float(tensor.float_val[0])
    if dtype == _DT_DOUBLE and tensor.double_val:
        return float(tensor.double_val[0])
    if dtype in (_DT_HALF, _DT_BFLOAT16) and tensor.half_val:
        return _decode(dtype, (tensor.half_val[0] & 0xFFFF).to_bytes(2, "little"))
    return None


def scalar_in(value: Any) -> float | None:
    """The number in a Summary.Value, of either kind; ``None`` when it holds no scalar."""
    which = value.WhichOneof("value")
    if which == "simple_value":
        return float(value.simple_value)
    return scalar_of(value.tensor) if which == "tensor" else None


def _decode(dtype: int, raw: bytes) -> float:
    if dtype == _DT_BFLOAT16:
        return float(np.frombuffer(b"\0\0" + raw, dtype="<f4")[0])
    kind = {_DT_FLOAT: "<f4", _DT_DOUBLE: "<f8", _DT_HALF: "<f2"}[dtype]
    return float(np.frombuffer(raw, dtype=kind)[0])


def histogram_facts(histo: Any) -> Iterator[tuple[str, float]]:
    """(suffix, number) of an old-style HistogramProto.

    ``max`` and ``min`` as written: NaN there is the writer's statement that some element is NaN.
    ``nonfinite`` counts what ``num`` counts and no bucket holds: torch and tensorboardX bin the
    finite values only. NaN in ``sum`` without such a gap (other writers) counts as one at least.
    """
    yield "max", histo.max
    yield "min", histo.min
    if not histo.bucket:
        return
    gap = histo.num - math.fsum(histo.bucket) if math.isfinite(histo.num) else math.nan
    if gap < 0.5 and not math.isfinite(histo.sum):
        gap = 1.0
    yield "nonfinite", gap if gap >= 0.5 or math.isnan(gap) else 0.0


def tensor_histogram_facts(tensor: Any) -> Iterator[tuple[str, float]]:
    """(suffix, number) of a new-style histogram: double rows (left edge, right edge, count).

    One NaN element makes every edge NaN and leaves the counts meaningless, so ``nonfinite`` is
    only 0 or 1 here.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype != _DT_DOUBLE or len(shape) != 2 or shape[1] != 3:
        return
    content = tensor.tensor_content
    usable = len(content) // 24 * 24
    rows = np.frombuffer(content[:usable], dtype="<f8") if usable else np.array(tensor.double_val)
    rows = rows[: len(rows) // 3 * 3].reshape(-1, 3)
    if len(rows):
        yield "max", float(rows[:, 1].max())
        yield "min", float(rows[:, 0].min())
        edges_are_finite = bool(np.isfinite(rows[:, :2]).all())
        yield "nonfinite", 0.0 if edges_are_finite else 1.0


def text_of(tensor: Any) -> str | None:
    """The text in a string TensorProto, its lines joined; ``None`` when it holds none."""
    if tensor.dtype != _DT_STRING or not tensor.string_val:
        return None
    return "\n".join(part.decode("utf-8", "replace") for part in tensor.string_val)


def json_settings(text: str) -> dict[str, Any] | None:
    """The JSON object that a text summary consists of, in a Markdown fence or bare."""
    match = _JSON_TEXT.match(text)
    if match is None:
        return None
    try:
        settings = json.loads(match[1])
    except (ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def hparams_of(content: bytes) -> dict[str, Scalar] | None:
    """The hyperparameters in the hparams plugin's session start; ``None`` if it is none."""
    parse = _message("tensorboard.plugins.hparams.plugin_data_pb2", "HParamsPluginData")
    try:
        data = parse(content)
    except _decode_error():
        return None
    if data.WhichOneof("data") != "session_start_info":
        return None
    hparams: Mapping[str, Any] = data.session_start_info.hparams
    return {name: _plain(value) for name, value in hparams.items()}


def _plain(value: Any) -> Scalar:
    kind = value.WhichOneof("kind")
    if kind in ("number_value", "string_value", "bool_value"):
        plain: Scalar = getattr(value, kind)
        return plain
    return None if kind in (None, "null_value") else str(value)
