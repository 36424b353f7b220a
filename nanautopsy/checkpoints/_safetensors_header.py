"""The header of a safetensors file, every number in it distrusted.

Layout: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes; offsets
count from byte 8 + N (https://github.com/huggingface/safetensors, section "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from nanautopsy.checkpoints.data_file import Handle
from nanautopsy.checkpoints.formats import FORMATS

MAX_HEADER_BYTES = 100_000_000
"""The library's own limit."""
_MAX_TENSORS = 1_000_000
_MAX_ITEMS = 8_000_000
"""Commas in a header that is still parsed: parsed, one costs some hundred bytes of memory."""
_MAX_DIMENSIONS = 64
_MAX_NAME = 300
_METADATA = "__metadata__"


class BadHeader(ValueError):
    """No tensor of this file can be found; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor as the header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte, in the file."""
    end: int
    """Byte past the last one, in the file; possibly past the end of the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says that it holds."""

    entries: tuple[Entry, ...]
    """In order of their place in the file."""
    unusable: tuple[str, ...]
    """Names of tensors whose description cannot be right."""
    metadata: Mapping[str, str]
    problems: tuple[str, ...]


def read_header(file: Handle, size: int) -> Header:
    """Parse the header of a file of ``size`` bytes. Raises :class:`BadHeader`."""
    prefix = file.read(8) or b""
    if len(prefix) < 8:
        raise BadHeader(f"holds {len(prefix)} bytes, less than a header's length field")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise BadHeader(f"header length {length} is above the format's limit {MAX_HEADER_BYTES}")
    if length > size - 8:
        raise BadHeader(f"cut short inside the header: {size - 8} of {length} header bytes")
    table, duplicates = _parse(file.read(length) or b"")
    problems = [f"the header names tensor {quote(name)} more than once" for name in duplicates]
    entries: list[Entry] = []
    unusable: list[str] = []
    for name, description in table.items():
        if name == _METADATA:
            continue
        found = _entry(name, description, 8 + length)
        if isinstance(found, Entry):
            entries.append(found)
        else:
            unusable.append(name)
            problems.append(f"tensor {quote(name)}: {found}")
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    # Beside an unusable tensor, bytes that no usable one covers are no second finding.
    problems += _tiling(entries, 8 + length, size, report_holes=not unusable)
    metadata = table.get(_METADATA)
    strings = metadata.items() if isinstance(metadata, dict) else ()
    return Header(
        entries=tuple(entries),
        unusable=tuple(unusable),
        metadata={key: value for key, value in strings if isinstance(value, str)},
        problems=tuple(problems),
    )


def quote(name: str) -> str:
    """A tensor's name for a message: printable, and short even when a file lies."""
    return repr(name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 3] + "...")


def _parse(text: bytes) -> tuple[dict[str, Any], list[str]]:
    """The header's object and the names that it holds twice (the first one counts)."""
    if text.count(b"{") > _MAX_TENSORS or text.count(b",") > _MAX_ITEMS:
        raise BadHeader(f"the header lists more than {_MAX_TENSORS} tensors; not parsed")
    duplicates: list[str] = []

    def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table: dict[str, Any] = dict(pairs)
        if len(table) == len(pairs) and all(map(str.isascii, table)):
            return table
        table = {}
        for key, value in pairs:
            # A lone surrogate could never be printed.
            key = key.encode("utf-8", "backslashreplace").decode("utf-8")
            if key in table:
                duplicates.append(key)
            else:
                table[key] = value
        return table

    try:
        table = json.loads(text, object_pairs_hook=first_wins)
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"the header is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise BadHeader("the header is not a JSON object")
    return table, duplicates


def _entry(name: str, description: Any, base: int) -> Entry | str:
    """A checked entry, or what is wrong with it."""
    if not isinstance(description, dict):
        return "its description is not an object"
    if len(name) > _MAX_NAME:
        return f"a name of {len(name)} characters"
    dtype, shape = description.get("dtype"), description.get("shape")
    offsets = description.get("data_offsets")
    if not isinstance(dtype, str) or not _sizes(shape) or not _sizes(offsets):
        return "its description lacks a usable dtype, shape or data_offsets"
    if len(shape) > _MAX_DIMENSIONS:
        return f"{len(shape)} dimensions"
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        return f"impossible data_offsets {offsets!r}"
    if dtype not in FORMATS:
        return f"unknown dtype {quote(dtype)}"
    begin, end = offsets
    wanted = FORMATS[dtype].nbytes(math.prod(shape))
    if end - begin != wanted:
        dimensions = "x".join(map(str, shape)) or "scalar"
        return f"{dtype} of shape {dimensions} takes {wanted} bytes, its offsets span {end - begin}"
    return Entry(name, dtype, tuple(shape), base + begin, base + end)


def _sizes(value: Any) -> TypeGuard[list[int]]:
    """A list of non-negative 64-bit integers."""
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 64 for n in value)


def _tiling(entries: list[Entry], base: int, size: int, report_holes: bool) -> Iterator[str]:
    """What of the data two tensors cover, or none does."""
    reached, last = base, ""
    for entry in entries:
        if entry.begin < reached and entry.end > entry.begin:
            yield f"tensors {quote(last)} and {quote(entry.name)} overlap at byte {entry.begin}"
        elif entry.begin > reached and report_holes:
            yield f"{entry.begin - reached} bytes at byte {reached} belong to no tensor"
        if entry.end > reached:
            reached, last = entry.end, entry.name
    if reached < size and report_holes:
        yield f"{size - reached} bytes at byte {reached} follow the last tensor"
