"""The protobuf wire format, without a schema: field numbers and raw values.

https://protobuf.dev/programming-guides/encoding/ . For messages of which a few fields are wanted
and whose generated classes come only with the writer's package.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, I64, LEN, I32 = 0, 1, 2, 5

_DOUBLE = struct.Struct("<d")


class WireError(ValueError):
    """The bytes are no protobuf message."""


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) in order of writing.

    The value is an unsigned ``int`` for a varint, else the field's ``bytes``. Raises
    :class:`WireError` at the first broken field; what came before it was good.
    """
    for number, wire, begin, end in spans(data, 0, len(data)):
        yield number, wire, _varint(data, begin)[0] if wire == VARINT else data[begin:end]


def spans(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, begin, end) of the fields between two places of ``data``.

    Raises :class:`WireError` like :func:`fields`.
    """
    while position < end:
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise WireError("field number 0")
        if wire == LEN:
            size, position = _varint(data, position)
        elif wire == VARINT:
            size = _varint(data, position)[1] - position
        elif wire == I64 or wire == I32:
            size = 8 if wire == I64 else 4
        else:
            raise WireError(f"wire type {wire}")
        if size > end - position:
            raise WireError("a field longer than its message")
        yield number, wire, position, position + size
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    try:
        byte = data[position]
        if byte < 0x80:
            return byte, position + 1
        value, shift = byte & 0x7F, 7
        while shift < 70:
            position += 1
            byte = data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, position + 1
            shift += 7
    except IndexError:
        raise WireError("ends inside a number") from None
    raise WireError("a number of more than ten bytes")


def submessage(value: int | bytes) -> bytes:
    """The bytes of a length-delimited field; raises :class:`WireError` for a number."""
    if isinstance(value, int):
        raise WireError("a number where a message belongs")
    return value


def text(value: int | bytes) -> str:
    """A string field; bad UTF-8 is replaced."""
    return submessage(value).decode("utf-8", "replace")


def signed(value: int | bytes) -> int:
    """An ``int32`` or ``int64`` field (two's complement in 64 bits)."""
    if isinstance(value, bytes):
        raise WireError("bytes where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def zigzag(value: int | bytes) -> int:
    """A ``sint64`` field."""
    if isinstance(value, bytes):
        raise WireError("bytes where a number belongs")
    return (value >> 1) ^ -(value & 1)


def double(value: int | bytes) -> float:
    """A ``double`` field."""
    raw = submessage(value)
    if len(raw) != 8:
        raise WireError("a double that is not eight bytes")
    number: float = _DOUBLE.unpack(raw)[0]
    return number
