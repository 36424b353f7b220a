"""JSON values as compressed bytes. zlib: every reader has it, and a catalog outlives readers."""

from __future__ import annotations

import json
import zlib
from typing import Any

MOST_BYTES = 1 << 28
"""Of one unpacked value: a shared catalog may hold a bomb. Documents of large runs take some
megabytes."""


def pack(value: Any) -> bytes:
    """Compact JSON in UTF-8, compressed. Raises ``ValueError`` for NaN and Inf."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # A lone surrogate, of a file name that is not UTF-8, cannot be encoded; escaped it can.
    try:
        return zlib.compress(text.encode("utf-8"))
    except UnicodeEncodeError:
        return zlib.compress(json.dumps(value, separators=(",", ":")).encode("ascii"))


def unpack(packed: bytes) -> Any:
    """The value; raises ``ValueError`` where the bytes are not what :func:`pack` gave."""
    opened = zlib.decompressobj()
    try:
        text = opened.decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"not compressed by zlib: {error}") from None
    if not opened.eof:
        raise ValueError(f"cut short, or larger than {MOST_BYTES} bytes")
    return json.loads(text)
