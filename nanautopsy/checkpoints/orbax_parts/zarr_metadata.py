"""What a zarr array's metadata says of its chunks, versions 2 and 3."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from nanautopsy.checkpoints._array_dtypes import format_of
from nanautopsy.checkpoints._decoded_file import Codec
from nanautopsy.checkpoints.formats import FORMATS

_MOST_DIMENSIONS = 64
_CODECS: Mapping[str, Codec] = {"zstd": "zstd", "gzip": "gzip", "zlib": "zlib"}


class BadZarr(ValueError):
    """The array cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the bytes of one chunk are stored."""

    big_endian: bool = False
    codec: Codec | None = None
    checksums: int = 0
    """CRC-32C sums that follow the bytes."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How an array is cut into chunks, and a chunk that is a shard into smaller ones."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    prefix: str
    separator: str
    scalar_key: str
    inner: tuple[int, ...] | None = None
    index: Encoding | None = None
    index_at_end: bool = True

    def key(self, place: tuple[int, ...]) -> str:
        """Name of the chunk at a place of the grid."""
        if not place:
            return self.scalar_key
        return self.prefix + self.separator.join(map(str, place))


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is needed to find an array's elements."""

    dtype: str
    grid: Grid
    encoding: Encoding
    fill: bytes | None
    """One element of what stands in no chunk; ``None`` where that cannot be told."""


def parse_metadata(metadata: bytes) -> Plan:
    """Understand ``.zarray`` or ``zarr.json``. Raises :class:`BadZarr`."""
    try:
        table = json.loads(metadata)
    except (ValueError, RecursionError):
        raise BadZarr("its metadata is not JSON") from None
    if not isinstance(table, dict):
        raise BadZarr("its metadata is no object")
    try:
        return _plan_3(table) if table.get("zarr_format") == 3 else _plan_2(table)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadZarr(f"its metadata lacks what is needed: {error}") from None


def _plan_2(table: dict[str, Any]) -> Plan:
    dtype, big_endian = _dtype(table["dtype"])
    shape, chunk = _sizes(table["shape"]), _sizes(table["chunks"])
    if table.get("filters") or table.get("order", "C") != "C":
        raise BadZarr("its chunks are filtered or in Fortran order, which is not read")
    compressor = table.get("compressor")
    codec = _codec(compressor["id"]) if compressor else None
    separator = table.get("dimension_separator", ".")
    grid = _grid(shape, chunk, "", str(separator), "0")
    encoding = Encoding(big_endian, codec)
    return Plan(dtype, grid, encoding, _fill(table.get("fill_value"), dtype, big_endian))


def _plan_3(table: dict[str, Any]) -> Plan:
    dtype, _ = _dtype(table["data_type"])
    grid_table = table["chunk_grid"]
    if grid_table["name"] != "regular":
        raise BadZarr(f"a chunk grid {str(grid_table['name'])[:40]!r}")
    shape, chunk = _sizes(table["shape"]), _sizes(grid_table["configuration"]["chunk_shape"])
    keys = table.get("chunk_key_encoding", {"name": "default"})
    default = keys["name"] == "default"
    separator = str(keys.get("configuration", {}).get("separator", "/" if default else "."))
    grid = _grid(shape, chunk, "c" + separator if default else "", separator, "c"[:default] or "0")
    codecs = table["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) > 1:
            raise BadZarr("shards that are compressed whole, which is not read")
        shard = codecs[0]["configuration"]
        inner = _sizes(shard["chunk_shape"])
        if len(inner) != len(chunk) or any(c % i for c, i in zip(chunk, inner, strict=True)):
            raise BadZarr("its shards are no multiple of their chunks")
        grid = replace(
            grid,
            inner=inner,
            index=_encoding(shard["index_codecs"]),
            index_at_end=shard.get("index_location", "end") == "end",
        )
        codecs = shard["codecs"]
    encoding = _encoding(codecs)
    fill = _fill(table.get("fill_value"), dtype, encoding.big_endian)
    return Plan(dtype, grid, encoding, fill)


def _encoding(codecs: list[dict[str, Any]]) -> Encoding:
    big_endian, codec, checksums = False, None, 0
    for step in codecs:
        name = step["name"]
        configuration = step.get("configuration") or {}
        if name == "bytes":
            big_endian = configuration.get("endian") == "big"
        elif name == "crc32c":
            checksums += 1
        elif codec is None and not checksums:
            codec = _codec(name)
        else:
            raise BadZarr(f"codec {str(name)[:40]!r} after another, which is not read")
    return Encoding(big_endian, codec, checksums)


def _codec(name: Any) -> Codec:
    codec = _CODECS.get(str(name))
    if codec is None:
        raise BadZarr(f"compressed by {str(name)[:40]!r}, which is not read")
    return codec


def _dtype(spelling: Any) -> tuple[str, bool]:
    found = format_of(spelling) if isinstance(spelling, str) else None
    if found is None:
        raise BadZarr(f"dtype {str(spelling)[:40]!r} cannot be judged")
    return found


def _grid(
    shape: tuple[int, ...], chunk: tuple[int, ...], prefix: str, separator: str, scalar_key: str
) -> Grid:
    if len(shape) != len(chunk) or 0 in chunk or separator not in (".", "/"):
        raise BadZarr("its metadata states no usable shape of chunks")
    return Grid(shape, chunk, prefix, separator, scalar_key)


def _sizes(value: Any) -> tuple[int, ...]:
    if not _is_shape(value):
        raise BadZarr("its metadata states no usable shape")
    return tuple(value)


def _is_shape(value: Any) -> TypeGuard[list[int]]:
    known = isinstance(value, list) and len(value) <= _MOST_DIMENSIONS
    return known and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _fill(value: Any, dtype: str, big_endian: bool) -> bytes | None:
    """One element's bytes; nothing stated reads as zero, as TensorStore does."""
    size = FORMATS[dtype].nbytes(1)
    if not value or value == "0":
        return bytes(size)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    order = ">" if big_endian else "<"
    layout = {"F64": "d", "F32": "f", "F16": "e", "BF16": "f"}.get(dtype)
    if layout is None:
        return None
    try:
        data = struct.pack(order + layout, number)
    except (OverflowError, struct.error):
        return None
    if dtype == "BF16":
        return data[:2] if big_endian else data[2:]
    return data
