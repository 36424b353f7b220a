"""What the values of a TensorBoard summary say: scalars, histograms' outline, texts, hparams."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from nanautopsy.model import Scalar

_DT_DOUBLE, _DT_STRING, _DT_BFLOAT16 = 2, 7, 14
_DT_FLOAT8_E5M2, _DT_FLOAT8_E4M3FN = 24, 25


@dataclass(frozen=True, slots=True)
class _Type:
    """How a TensorProto holds elements of one type."""

    numpy: str
    """Of an element in ``tensor_content``, or a type of its size."""
    field: str


_TYPES = {
    1: _Type("<f4", "float_val"),
    _DT_DOUBLE: _Type("<f8", "double_val"),
    3: _Type("<i4", "int_val"),
    4: _Type("u1", "int_val"),
    5: _Type("<i2", "int_val"),
    6: _Type("i1", "int_val"),
    9: _Type("<i8", "int64_val"),
    10: _Type("?", "bool_val"),
    _DT_BFLOAT16: _Type("<u2", "half_val"),
    17: _Type("<u2", "int_val"),
    19: _Type("<f2", "half_val"),
    22: _Type("<u4", "uint32_val"),
    23: _Type("<u8", "uint64_val"),
    _DT_FLOAT8_E5M2: _Type("u1", "float8_val"),
    _DT_FLOAT8_E4M3FN: _Type("u1", "float8_val"),
}

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
    """The number in a TensorProto of one element and a numeric type; ``None`` for anything else.

    Types by TensorFlow ``core/framework/types.proto``; half and bfloat16 share ``half_val``, the
    small integers ``int_val``.
    """
    kind = _TYPES.get(tensor.dtype)
    if kind is None or tensor.tensor_shape.unknown_rank:
        return None
    if any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    size = np.dtype(kind.numpy).itemsize
    if tensor.tensor_content:
        raw = tensor.tensor_content
        return _decode(kind.numpy, tensor.dtype, raw) if len(raw) == size else None
    values = getattr(tensor, kind.field)
    if not len(values):
        return None
    if kind.field in ("half_val", "float8_val"):
        bits = values[0] & (256**size - 1)
        return _decode(kind.numpy, tensor.dtype, bits.to_bytes(size, "little"))
    return float(values[0])


def scalar_in(value: Any) -> float | None:
    """The number in a Summary.Value, of either kind; ``None`` when it holds no scalar."""
    which = value.WhichOneof("value")
    if which == "simple_value":
        return float(value.simple_value)
    return scalar_of(value.tensor) if which == "tensor" else None


def _decode(kind: str, dtype: int, raw: bytes) -> float:
    if dtype == _DT_BFLOAT16:
        kind, raw = "<f4", b"\0\0" + raw
    elif dtype == _DT_FLOAT8_E5M2:
        kind, raw = "<f2", b"\0" + raw
    elif dtype == _DT_FLOAT8_E4M3FN:
        return _e4m3fn(raw[0])
    return float(np.frombuffer(raw, dtype=kind)[0])


def _e4m3fn(byte: int) -> float:
    """OCP 8-bit floating point, E4M3: no infinity, NaN with all bits set."""
    exponent, fraction = byte >> 3 & 15, byte & 7
    size = math.nan if byte & 127 == 127 else math.ldexp(fraction + 8 * (exponent > 0), -3)
    size = math.ldexp(size, max(exponent, 1) - 7)
    return -size if byte & 128 else size


def histogram_facts(histo: Any) -> Iterator[tuple[str, float]]:
    """(suffix, number) of an old-style HistogramProto.

    Torch and tensorboardX write NaN for ``max`` and ``min`` where some element is NaN, TensorFlow 1
    leaves NaN out of them. ``nonfinite`` counts what ``num`` counts and no bucket holds: torch and
    tensorboardX bin the finite values only. NaN in ``sum``, or an infinite extreme, without such
    a gap (other writers) counts as one at least; an infinite sum of finite values does not.
    """
    yield "max", histo.max
    yield "min", histo.min
    if not histo.bucket:
        return
    with np.errstate(all="ignore"):  # Counts of any size may stand in a broken file.
        binned = float(np.array(histo.bucket, dtype=np.float64).sum())
    gap = histo.num - binned if math.isfinite(histo.num) else math.nan
    shown = math.isnan(histo.sum) or not (math.isfinite(histo.max) and math.isfinite(histo.min))
    if gap < 0.5 and shown:
        gap = 1.0
    # Counts are whole, but weighted ones and those of many elements are rounded.
    least = max(0.5, 1e-9 * abs(histo.num)) if math.isfinite(histo.num) else 0.5
    yield "nonfinite", gap if gap >= least or math.isnan(gap) else 0.0


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
