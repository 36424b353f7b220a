"""MessagePack as a stream of leaves with their places; payloads of arrays are stepped over.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md. The well-kept ``msgpack`` package
builds every value in memory and does not say where one lies, so it cannot serve files of gigabytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from nanautopsy.checkpoints.data_file import Handle

_DEEPEST = 200
_MOST_VALUES = 2_000_000
_LONGEST_TEXT = 1 << 20
_BUFFER_BYTES = 1 << 16


class BadMsgpack(ValueError):
    """Not MessagePack from a byte on, or cut short there."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes that were not read: binary data, or an extension's content."""

    code: int | None
    """The extension's type; ``None`` for plain binary data."""
    offset: int
    """First byte, in the file."""
    size: int


Key: TypeAlias = "str | int"
Value: TypeAlias = "str | int | float | bool | Payload | None"


@dataclass(slots=True)
class _Container:
    left: int
    is_map: bool
    index: int = 0


def leaves(handle: Handle, begin: int, end: int) -> Iterator[tuple[tuple[Key, ...], Value, int]]:
    """(path, value, byte) of each leaf of the value at ``begin``; array elements by number.

    Raises :class:`BadMsgpack` where the format is not kept or ``end`` comes too early; all that
    stood before has been given by then.
    """
    source = _Source(handle, begin, end)
    path: list[Key] = []
    above: list[_Container] = []
    for _ in range(_MOST_VALUES):
        offset = source.at
        value = source.value()
        if isinstance(value, _Container):
            if len(above) >= _DEEPEST:
                raise BadMsgpack(f"nested more than {_DEEPEST} levels deep", offset)
            above.append(value)
            path.append("")
        else:
            yield tuple(path), value, offset
        while above and not above[-1].left:
            above.pop()
            path.pop()
        if not above:
            return
        inner = above[-1]
        inner.left -= 1
        path[-1] = source.key() if inner.is_map else inner.index
        inner.index += 1
    raise BadMsgpack(f"more than {_MOST_VALUES} values", source.at)


_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS = {
    **dict.fromkeys((0xC4, 0xC7, 0xD9), 1),
    **dict.fromkeys((0xC5, 0xC8, 0xDA, 0xDC, 0xDE), 2),
    **dict.fromkeys((0xC6, 0xC9, 0xDB, 0xDD, 0xDF), 4),
}
"""First byte to the bytes of the length that follows it."""


class _Source:
    """A cursor over the encoded bytes."""

    def __init__(self, handle: Handle, begin: int, end: int) -> None:
        self._handle = handle
        self._end = end
        self._buffer = b""
        self._start = begin
        """Byte of the file at which the buffer starts."""
        self.at = begin

    def value(self) -> _Container | Value:
        """The next value, or the container that it opens."""
        offset = self.at
        first = self._take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 0x100
        if first < 0xC0:
            if first >= 0xA0:
                return self._text(first & 0x1F)
            return self._container(first & 0x0F, is_map=first < 0x90, offset=offset)
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            layout = _NUMBERS[first]
            number: int | float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
            return number
        if 0xD4 <= first <= 0xD8:
            return self._payload(1 << (first - 0xD4), is_extension=True)
        width = _LENGTHS.get(first)
        if width is None:
            raise BadMsgpack(f"byte {first:#x} begins no value", offset)
        size = int.from_bytes(self._take(width), "big")
        if first in (0xD9, 0xDA, 0xDB):
            return self._text(size)
        if first >= 0xDC:
            return self._container(size, is_map=first >= 0xDE, offset=offset)
        return self._payload(size, is_extension=first >= 0xC7)

    def key(self) -> Key:
        """The next key of a map."""
        offset = self.at
        value = self.value()
        if isinstance(value, (str, int)):
            return value
        if isinstance(value, Payload) and value.code is None and value.size <= 1000:
            self.at = value.offset
            return self._take(value.size).decode("utf-8", "backslashreplace")
        raise BadMsgpack("a key that is no text", offset)

    def _text(self, size: int) -> str:
        if size > _LONGEST_TEXT:
            self._skip(size)
            return f"(text of {size} bytes)"
        return self._take(size).decode("utf-8", "backslashreplace")

    def _container(self, count: int, *, is_map: bool, offset: int) -> _Container:
        # Each entry takes a byte at least, and its key another.
        if count * (2 if is_map else 1) > self._end - self.at:
            raise BadMsgpack(f"{count} entries do not fit into what is left of the file", offset)
        return _Container(count, is_map)

    def _payload(self, size: int, *, is_extension: bool) -> Payload:
        code = self._take(1)[0] if is_extension else None
        payload = Payload(code, self.at, size)
        self._skip(size)
        return payload

    def _skip(self, size: int) -> None:
        """Step over bytes; only the last value of a file may reach past its end."""
        self.at += size

    def _take(self, size: int) -> bytes:
        if self.at + size > self._end:
            raise BadMsgpack("cut short", min(self.at, self._end))
        begin = self.at - self._start
        if not 0 <= begin <= len(self._buffer) - size:
            self._handle.seek(self.at)
            self._buffer = _read_fully(self._handle, max(size, min(_BUFFER_BYTES, self._end)))
            self._start, begin = self.at, 0
            if len(self._buffer) < size:
                raise BadMsgpack("cut short", self.at + len(self._buffer))
        self.at += size
        return self._buffer[begin : begin + size]


def _read_fully(handle: Handle, size: int) -> bytes:
    """``size`` bytes, fewer only at the end of the file."""
    parts = io.BytesIO()
    while parts.tell() < size and (part := handle.read(size - parts.tell())):
        parts.write(part)
    return parts.getvalue()
