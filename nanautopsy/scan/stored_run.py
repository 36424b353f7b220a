"""A :class:`~nanautopsy.model.Run` in bytes, so that new rules can judge it without its artifacts.

One zlib stream: a line that names the format and the fields that the classes had, the run as JSON
(a dataclass is the list of its fields), then the arrays as they lie in memory, little-endian.
Nothing in it is executed, and what it unpacks to is bounded.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from nanautopsy import model
from nanautopsy.checkpoints.stored import Holds, Part
from nanautopsy.model import Autopsy, Quote, Run, Series

FORMAT = "nanautopsy run 1"
MOST_POINTS = 50_000
"""Points of a series that are kept; of a longer one the ends, what is not finite with its
neighbors, the extremes and every so-manieth point."""
MOST_BYTES = 256 << 20
"""Unpacked: a record that claims more is damage or malice."""
_LEVEL = 6


class StaleRecords(Exception):
    """The records are damaged, or of a version whose classes had other fields."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """What was packed."""

    run: Run
    quotes: tuple[Quote, ...]
    """Lines of its logs: those that the rules of then cited."""
    hidden: Mapping[str, int]
    """What was hidden before, by its kind."""
    complete: bool
    """No series was thinned: rules see what they would see in the artifacts."""


def pack(autopsy: Autopsy) -> bytes:
    """What was read, in bytes; empty when even thinned it is too large to be kept."""
    run = autopsy.run
    thinned = [_thinned(one) for one in run.series]
    complete = all(a is b for a, b in zip(thinned, run.series, strict=True))
    arrays: list[np.ndarray[Any, Any]] = []
    values = _encoded(dataclasses.replace(run, series=tuple(thinned)), arrays)
    about = {
        "hidden": dict(autopsy.hidden),
        "quotes": _encoded(autopsy.quotes, arrays),
        "complete": complete,
        "arrays": [[array.dtype.str, len(array)] for array in arrays],
        "run": values,
    }
    text = json.dumps(about, separators=(",", ":")).encode("utf-8", "surrogatepass")
    head = f"{FORMAT} {_fields()} {len(text)}\n".encode()
    blocks = [head, text, *(array.tobytes() for array in arrays)]
    if sum(map(len, blocks)) > MOST_BYTES:
        return b""
    return zlib.compress(b"".join(blocks), _LEVEL)


def unpack(records: bytes) -> StoredRun:
    """The run again. Raises :class:`StaleRecords`."""
    try:
        about, blob = _opened(records)
        arrays, start = [], 0
        for dtype, length in about["arrays"]:
            kind = np.dtype(dtype)
            if kind.kind not in "fib":
                raise StaleRecords(f"an array of {dtype}")
            arrays.append(np.frombuffer(blob, kind, length, start))
            start += kind.itemsize * length
        run = _decoder(Run)(about["run"], arrays)
        quotes = tuple(_decoder(Quote)(quote, arrays) for quote in about["quotes"])
        return StoredRun(run, quotes, dict(about["hidden"]), bool(about["complete"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error) as error:
        raise StaleRecords(f"{type(error).__name__}: {error}") from None
    except RecursionError:
        raise StaleRecords("nested too deep") from None


def _opened(records: bytes) -> tuple[dict[str, Any], bytes]:
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(records, MOST_BYTES)
    if not unpacker.eof:
        raise StaleRecords("cut short or too large")
    head, _, rest = plain.partition(b"\n")
    known, _, length = head.decode().rpartition(" ")
    if known != f"{FORMAT} {_fields()}":
        raise StaleRecords("of another version")
    size = int(length)
    return json.loads(rest[:size].decode("utf-8", "surrogatepass")), rest[size:]


# --- thinning -------------------------------------------------------------------------------------


def _thinned(series: Series) -> Series:
    """At most some more than :data:`MOST_POINTS` of its points."""
    if len(series) <= MOST_POINTS:
        return series
    kept = np.zeros(len(series), bool)
    kept[:: -(-len(series) // MOST_POINTS)] = True
    finite = np.isfinite(series.values)
    turns = np.flatnonzero(finite[1:] != finite[:-1])[:MOST_POINTS]
    kept[turns] = kept[turns + 1] = True
    kept[[0, -1]] = True
    if finite.any():
        shown = np.where(finite, series.values, 0.0)
        kept[[shown.argmax(), shown.argmin()]] = True
    return _taken(series, np.flatnonzero(kept))


def _taken(series: Series, places: np.ndarray[Any, Any]) -> Series:
    from nanautopsy.attempts import take

    return take(series, places)


# --- dataclasses as lists -------------------------------------------------------------------------


def _encoded(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value.astype(value.dtype.newbyteorder("<"), copy=False))
        return len(arrays) - 1
    if dataclasses.is_dataclass(value):
        kind: Any = type(value)
        return [_encoded(getattr(value, name), arrays) for name in _names(kind)]
    if isinstance(value, (tuple, list)):
        return [_encoded(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {key: _encoded(item, arrays) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


@lru_cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


_Decode = Callable[[Any, "list[np.ndarray[Any, Any]]"], Any]


@cache
def _decoder(kind: Any) -> _Decode:
    """What makes a value of this type of its JSON."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is np.ndarray:
        return lambda value, arrays: arrays[value]
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    if origin is tuple and inside[-1:] == (...,):
        item = _decoder(inside[0])
        return lambda value, arrays: tuple(item(one, arrays) for one in value)
    if origin is tuple:
        items = [_decoder(one) for one in inside]
        return lambda value, arrays: tuple(
            decode(one, arrays) for decode, one in zip(items, value, strict=True)
        )
    if origin in (Mapping, dict):
        entry = _decoder(inside[1])
        return lambda value, arrays: {key: entry(one, arrays) for key, one in value.items()}
    if origin in (typing.Union, types.UnionType):
        return _union_decoder(inside)
    return lambda value, arrays: value


def _dataclass_decoder(kind: Any) -> _Decode:
    hints = _hints(kind)
    fields = [_decoder(hints[name]) for name in _names(kind)]

    def decode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
        return kind(*(field(one, arrays) for field, one in zip(fields, value, strict=True)))

    return decode


def _union_decoder(kinds: tuple[Any, ...]) -> _Decode:
    """``None``, a plain value, or the one kind among them that is not plain."""
    rich = [kind for kind in kinds if typing.get_origin(kind) or dataclasses.is_dataclass(kind)]
    rich = [kind for kind in rich if typing.get_origin(kind) is not typing.Literal]
    if not rich:
        return lambda value, arrays: value
    inner = _decoder(rich[0])
    plain_too = any(kind in kinds for kind in (str, int, float))

    def decode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
        if value is None or (plain_too and not isinstance(value, list)):
            return value
        return inner(value, arrays)

    return decode


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(model) | {"Holds": Holds, "Part": Part})


@cache
def _fields() -> str:
    """Checksum of the names and types of all fields of the classes that are packed."""
    seen: dict[str, str] = {}
    pending: list[Any] = [Run, Quote]
    while pending:
        one: Any = pending.pop()
        name = getattr(one, "__name__", "")
        if dataclasses.is_dataclass(one) and name not in seen:
            fields = dataclasses.fields(one)
            seen[name] = ",".join(f"{field.name}:{field.type}" for field in fields)
            pending.extend(_hints(one).values())
        pending.extend(arg for arg in typing.get_args(one) if not isinstance(arg, str))
    text = ";".join(f"{name}={seen[name]}" for name in sorted(seen))
    return f"{zlib.crc32(text.encode()):08x}"
