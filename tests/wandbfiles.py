"""Writing ``.wandb`` files by the definition of the format, in the form of any version."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

FILE_HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32768


def run_file(records: Iterable[bytes]) -> bytes:
    """A file of these records, split over blocks where they do not fit."""
    out = bytearray(FILE_HEADER)
    for record in records:
        _append(out, record)
    return bytes(out)


def _append(out: bytearray, payload: bytes) -> None:
    first = True
    while True:
        room = BLOCK - len(out) % BLOCK
        if room < 7:
            out.extend(bytes(room))
            continue
        piece, payload = payload[: room - 7], payload[room - 7 :]
        kind = (1 if first else 4) if not payload else (2 if first else 3)
        body = bytes([kind]) + piece
        out.extend(struct.pack("<IH", zlib.crc32(body), len(piece)) + body)
        first = False
        if not payload:
            return


def field(number: int, value: bytes | str | int) -> bytes:
    """One protobuf field: a number, a text or a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def item(path: str | list[str], value_json: str) -> bytes:
    """A key-value item: under a key as the Python versions wrote it, or under a path."""
    if isinstance(path, str):
        return field(1, path) + field(16, value_json)
    return b"".join(field(2, part) for part in path) + field(16, value_json)


def history(row: Mapping[str, Any]) -> bytes:
    """A history record as the Python versions wrote it: nested values as JSON."""
    items = [field(1, item(key, json.dumps(value))) for key, value in row.items()]
    return field(2, b"".join(items))


def old_run(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A run of the Python versions: header, run, rows; ``_step`` is added."""
    config = field(1, item("lr", "0.1")) + field(1, item("_wandb", '{"python_version": "3.8.1"}'))
    start = field(17, field(1, 1_600_000_000))
    records = [field(21, b""), field(17, field(1, "abcd") + field(4, config) + start)]
    records.extend(history({"_step": i, **row}) for i, row in enumerate(rows))
    return run_file(records)
