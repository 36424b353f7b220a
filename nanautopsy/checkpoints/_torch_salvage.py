"""Members of an archive whose central directory is missing, found one behind the other.

``torch.save`` states no sizes in its local headers; a data descriptor behind each member does. So
a member ends where a descriptor states just the size that lies before it (APPNOTE 6.3, 4.3.9).
Where the descriptor itself is damaged, the next header with the same top directory has to do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nanautopsy.checkpoints.data_file import BLOCK_BYTES, Handle

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
LOCAL = b"PK\x03\x04"
_DESCRIPTOR = b"PK\x07\x08"
_SIGNATURE = re.compile(rb"PK(?:\x03\x04|\x01\x02|\x05\x06)")
_LONGEST_NAME = 4096
_BEFORE = 24
"""Bytes before a signature that may be a data descriptor."""
_AHEAD = 512
"""Bytes behind a signature that tell whether it is a header."""
_BEYOND = 64 << 20
"""How far past a doubtful header a certain one is looked for."""
_MOST_DOUBTS = 16
_STREAMED = 0x8
"""General purpose flag, bit 3: the sizes stand behind the content."""


@dataclass(frozen=True, slots=True)
class Found:
    """A member as its local header, and what follows it, describe it."""

    name: str
    header: int
    data: int
    stored: int
    size: int
    method: int


@dataclass(frozen=True, slots=True)
class _Local:
    name: bytes
    data: int
    stored: int
    size: int
    method: int
    streamed: bool


def walk(handle: Handle, begin: int, end: int, most: int) -> Iterator[Found]:
    """At most ``most`` members of the archive at ``begin``; the last one may be cut at ``end``."""
    at, doubts = begin, 0
    for _ in range(most):
        local = _read_local(handle, at, end)
        if local is None:
            return
        stop, following = local.data + local.stored, local.data + local.stored
        if local.streamed:
            stop, next_header, sure = _find_end(handle, local, end, doubts < _MOST_DOUBTS)
            doubts += not sure
            following = end if next_header is None else next_header
        name = local.name.decode("utf-8", "backslashreplace")
        stored = min(stop, end) - local.data
        size = local.size if not local.streamed or local.method else stored
        yield Found(name, at, local.data, stored, size, local.method)
        at = following


def _read_local(handle: Handle, at: int, end: int) -> _Local | None:
    handle.seek(at)
    head = handle.read(LOCAL_HEADER.size) or b""
    if at + LOCAL_HEADER.size > end or len(head) < LOCAL_HEADER.size or head[:4] != LOCAL:
        return None
    _, _, flags, method, _, _, _, stored, size, name_size, extra_size = LOCAL_HEADER.unpack(head)
    name = handle.read(min(name_size, _LONGEST_NAME)) or b""
    data = at + LOCAL_HEADER.size + name_size + extra_size
    if data > end:
        return None
    if 0xFFFFFFFF in (size, stored):  # NumPy writes every member so
        handle.seek(data - extra_size)
        size, stored = zip64_numbers(handle.read(extra_size) or b"", [size, stored])
    streamed = bool(flags & _STREAMED) and not stored
    return _Local(name, data, stored, size, method, streamed)


def zip64_numbers(extra: bytes, numbers: list[int]) -> list[int]:
    """The numbers with those that did not fit into 32 bits, in the order in which they are kept."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if tag == 1:
            large = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
            return [next(large, n) if n == 0xFFFFFFFF else n for n in numbers]
        at += 4 + length
    return numbers


def _find_end(
    handle: Handle, local: _Local, end: int, patient: bool
) -> tuple[int, int | None, bool]:
    """(byte after the content, byte of the next header, whether a descriptor confirms it)."""
    top = local.name.split(b"/", 1)[0] + b"/"
    doubtful: int | None = None
    for at, before, ahead in _signatures(handle, local.data, end):
        size = _described(before, at - local.data)
        if size is not None:
            return local.data + size, at, True
        if doubtful is None and _is_header(ahead, top):
            doubtful = at
        if doubtful is not None and (not patient or at - doubtful > _BEYOND):
            break
    return (end, None, True) if doubtful is None else (doubtful, doubtful, False)


def _signatures(handle: Handle, data: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
    """(byte, what stands before it, what stands from it on), and the end of the file at last."""
    start = max(0, data - _BEFORE)
    searched = data
    handle.seek(start)
    block = b""
    while True:
        more = handle.read(max(0, min(BLOCK_BYTES, end - start - len(block)))) or b""
        block += more
        # What a header says must lie in the block, unless nothing comes any more.
        limit = len(block) - (_AHEAD if more else 0)
        for match in _SIGNATURE.finditer(block, searched - start, max(limit, 0)):
            at = match.start()
            yield start + at, block[max(0, at - _BEFORE) : at], block[at : at + _AHEAD]
        if not more:
            yield end, block[-_BEFORE:], b""
            return
        searched = max(searched, start + limit - 3)
        keep = max(0, min(searched - start, len(block)) - _BEFORE)
        block, start = block[keep:], start + keep


def _described(before: bytes, distance: int) -> int | None:
    """The size that a descriptor right before states, if it is what lies there."""
    for length, size_format in ((16, "<I"), (24, "<Q")):
        descriptor = before[-length:]
        if len(descriptor) == length and descriptor[:4] == _DESCRIPTOR:
            size = struct.unpack_from(size_format, descriptor, 8)[0]
            if size == distance - length:
                return int(size)
    return None


def _is_header(ahead: bytes, top: bytes) -> bool:
    if len(ahead) < LOCAL_HEADER.size or ahead[:4] != LOCAL:
        return False
    name_size = LOCAL_HEADER.unpack_from(ahead)[9]
    name = ahead[LOCAL_HEADER.size : LOCAL_HEADER.size + name_size]
    return len(name) > len(top) and name.startswith(top)
