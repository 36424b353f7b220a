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
from itertools import islice

from nanautopsy.checkpoints.data_file import BLOCK_BYTES, Handle

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
LOCAL = b"PK\x03\x04"
_LONGEST_NAME = 4096
_FIRST_BLOCK = 4096
"""Most members are small; the blocks searched double from here."""
_AHEAD = 512
"""Bytes from a signature on that tell what it is."""
_BEYOND = 64 << 20
"""How far past a doubtful header a certain one is looked for."""
_PATIENT_DOUBTS = 16
_MOST_DOUBTS = 256
"""Doubtful ends after which what follows is no archive of torch's any more."""
_MOST_CANDIDATES = 200_000
"""Descriptors of other sizes that one member may hold by chance."""
STREAMED = 0x8
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
        if local is None or doubts > _MOST_DOUBTS:
            return
        stop, following = local.data + local.stored, local.data + local.stored
        if local.streamed:
            stop, next_header, sure = _find_end(handle, local, end, doubts < _PATIENT_DOUBTS)
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
    streamed = bool(flags & STREAMED) and not stored
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
    top = re.escape(local.name.split(b"/", 1)[0] + b"/")
    pattern = re.compile(rb"PK\x07\x08|PK\x03\x04.{26}" + top, re.DOTALL)
    doubtful: int | None = None
    found = islice(_matches(handle, pattern, local.data, end), _MOST_CANDIDATES)
    for at, ahead in found:
        if ahead.startswith(LOCAL):
            doubtful = at if doubtful is None else doubtful
        else:
            length = _descriptor_length(ahead, at - local.data)
            if length is not None:
                return at, at + length, True
        if doubtful is not None and (not patient or at - doubtful > _BEYOND):
            break
    return (end, None, True) if doubtful is None else (doubtful, doubtful, False)


def _matches(
    handle: Handle, pattern: re.Pattern[bytes], start: int, end: int
) -> Iterator[tuple[int, bytes]]:
    """(byte, what stands from it on) of each match in [start, end)."""
    handle.seek(start)
    block, wanted = b"", _FIRST_BLOCK
    while True:
        more = handle.read(max(0, min(wanted, end - start - len(block)))) or b""
        block += more
        # What a match needs must lie in the block, unless nothing comes any more.
        limit = max(0, len(block) - (_AHEAD if more else 0))
        for match in pattern.finditer(block):
            if match.start() >= limit:
                break
            yield start + match.start(), block[match.start() : match.start() + _AHEAD]
        if not more:
            return
        start, block = start + limit, block[limit:]
        wanted = min(2 * wanted, BLOCK_BYTES)


def _descriptor_length(ahead: bytes, distance: int) -> int | None:
    """Bytes of the data descriptor that ``ahead`` begins with, if it states ``distance``.

    Its sizes have four bytes each, or eight (zip64); what follows it tells, as far as there is
    something.
    """
    if len(ahead) >= 24 and struct.unpack_from("<Q", ahead, 8)[0] == distance:
        if ahead[24:26] == b"PK" or ahead[16:18] != b"PK":
            return 24
    if len(ahead) >= 16 and struct.unpack_from("<I", ahead, 8)[0] == distance:
        return 16
    return None
