"""The LevelDB log framing of ``.wandb`` files: whole records out, whatever is broken between.

Blocks of 32 KiB count from the start of the file; chunks of ``CRC, length, type, payload`` never
cross a block, and a record is one FULL chunk or FIRST, MIDDLE, ..., LAST (LevelDB
``doc/log_format.md``). W&B puts seven bytes in front and uses the plain CRC-32 (IEEE, unmasked)
over type and payload (wandb ``sdk/internal/datastore.py``, checked on files of 0.12 to 0.31).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from nanautopsy.readers._damage import Damage

MAGIC = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32768
_CHUNK = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
LARGEST_RECORD = 64 << 20
"""Longer records are dropped: history rows are kilobytes; summaries with tables tens of MB."""


def records(file: BinaryIO, damage: Damage) -> Iterator[tuple[int, bytes]]:
    """(offset of its first chunk, payload) of each whole record, in file order.

    After a bad chunk reading goes on at the next block; a record with a piece missing is dropped.
    Each loss is one note in ``damage``.
    """
    assembly = _Assembly(damage)
    for offset, kind, payload in _chunks(file, damage):
        whole = assembly.take(offset, kind, payload)
        if whole is not None:
            yield whole
    assembly.end()


class _Assembly:
    """Puts the chunks of a record together."""

    def __init__(self, damage: Damage) -> None:
        self._damage = damage
        self._parts: list[bytes] | None = None
        self._offset = 0
        self._size = 0

    def take(self, offset: int, kind: int, payload: bytes) -> tuple[int, bytes] | None:
        """One more chunk; the record when it is complete. Kind 0 says that chunks were lost."""
        if kind in (_FULL, _FIRST, 0):
            if self._parts is not None:
                self._damage.note("a record without its end", self._offset)
                self._parts = None
            if kind == _FULL:
                return offset, payload
            if kind == _FIRST:
                self._parts, self._offset, self._size = [payload], offset, len(payload)
            return None
        if self._parts is None:
            # The rest of a record whose beginning was lost, which was noted then.
            return None
        self._size += len(payload)
        if self._size > LARGEST_RECORD:
            self._damage.note(f"a record of more than {LARGEST_RECORD} bytes", self._offset)
            self._parts = None
            return None
        self._parts.append(payload)
        if kind == _MIDDLE:
            return None
        whole, self._parts = b"".join(self._parts), None
        return self._offset, whole

    def end(self) -> None:
        """The file is over."""
        if self._parts is not None:
            self._damage.note("ends inside a record", self._offset)


def _chunks(file: BinaryIO, damage: Damage) -> Iterator[tuple[int, int, bytes]]:
    """(offset, type, payload) of each good chunk; type 0 where chunks were lost."""
    file.seek(0)
    offset = 0
    while block := file.read(_BLOCK):
        position = _FILE_HEADER if offset == 0 else 0
        while position + _CHUNK.size <= len(block):
            crc, size, kind = _CHUNK.unpack_from(block, position)
            end = position + _CHUNK.size + size
            if crc == size == kind == 0:
                _note_zeros(block, position, offset, damage)
                break
            trouble = _trouble(block, position, crc, kind, end)
            if trouble:
                damage.note(trouble, offset + position)
                yield offset + position, 0, b""
                break
            yield offset + position, kind, block[position + _CHUNK.size : end]
            position = end
        else:
            if any(block[position:]):
                damage.note("ends inside a record", offset + position)
        offset += len(block)


def _trouble(block: bytes, position: int, crc: int, kind: int, end: int) -> str | None:
    if end > len(block):
        if len(block) < _BLOCK:
            return "ends inside a record"
        return "a chunk that is longer than its block; reading goes on at the next block"
    if not _FULL <= kind <= _LAST:
        return f"a chunk of unknown type {kind}; reading goes on at the next block"
    if zlib.crc32(block[position + 6 : end]) != crc:
        return "a chunk whose checksum is wrong; reading goes on at the next block"
    return None


def _note_zeros(block: bytes, position: int, offset: int, damage: Damage) -> None:
    rest = block[position:]
    what = "bytes of zeros" if not any(rest) else "bytes that begin with zeros"
    damage.note(f"{len(rest)} {what} instead of records", offset + position)
