"""The arrays inside flax's MessagePack extensions: [shape, dtype's name, bytes]."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanautopsy.checkpoints._array_dtypes import format_of
from nanautopsy.checkpoints._msgpack import BadMsgpack, Payload, leaves
from nanautopsy.checkpoints.data_file import Handle, MemoryFile
from nanautopsy.checkpoints.formats import FORMATS

ARRAY_CODES = (1, 3)
"""Extension types of an array and of a NumPy scalar."""
_MOST_HEADER_BYTES = 2048
"""Of an array: its shape and dtype; NumPy allows 64 dimensions of at most 9 bytes each."""
_MOST_DIMENSIONS = 64


class BadExtension(ValueError):
    """An array's extension does not hold what it should."""


@dataclass(frozen=True, slots=True)
class FlaxArray:
    """Where an array's elements lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    big_endian: bool


def read_extension(handle: Handle, payload: Payload, within: int) -> FlaxArray:
    """The array inside an extension. Raises :class:`BadExtension`, ``OSError``."""
    end = payload.offset + payload.size
    handle.seek(payload.offset)
    head = handle.read(min(within, _MOST_HEADER_BYTES)) or b""
    memory = MemoryFile("", head)
    shape: list[int] = []
    dtype: str | None = None
    with memory.open() as inner:
        try:
            for path, value, _ in leaves(inner, 0, end - payload.offset):
                if len(path) == 2 and path[0] == 0 and type(value) is int and value >= 0:
                    shape.append(value)
                elif path == (1,) and isinstance(value, (str, Payload)):
                    dtype = _text(value, head)
                elif path == (2,) and isinstance(value, Payload) and dtype is not None:
                    return _checked(payload.offset, shape, dtype, value)
                else:
                    break
        except BadMsgpack:
            pass
    raise BadExtension("an array without shape, dtype and bytes")


def _text(value: str | Payload, head: bytes) -> str:
    if isinstance(value, str):
        return value
    return head[value.offset : value.offset + value.size].decode("ascii", "replace")


def _checked(start: int, shape: list[int], dtype: str, data: Payload) -> FlaxArray:
    known = format_of(dtype)
    if known is None:
        raise BadExtension(f"dtype {dtype[:40]!r} cannot be judged")
    if len(shape) > _MOST_DIMENSIONS:
        raise BadExtension(f"{len(shape)} dimensions")
    wanted = FORMATS[known[0]].nbytes(math.prod(shape))
    if data.size != wanted:
        dimensions = "x".join(map(str, shape)) or "scalar"
        raise BadExtension(
            f"{known[0]} of shape {dimensions} takes {wanted} bytes, not the {data.size} there"
        )
    return FlaxArray(known[0], tuple(shape), start + data.offset, known[1])
