"""Checked frames of an OCDBT database, and the columns of numbers inside them."""

from __future__ import annotations

import struct

import numpy as np

from nanautopsy.checkpoints._decoded_file import MissingCodec, decode
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.readers._crc32c import crc32c

MANIFEST_MAGIC = b"\x0c\xdb\x3a\x2a"
NODE_MAGIC = b"\x0c\xdb\x20\xde"
_MOST_FRAME_BYTES = 64 << 20
_MOST_DECODED_BYTES = 128 << 20
"""Orbax lets a node grow to 100 000 000 bytes (``max_decoded_node_bytes``)."""
_MOST_CHECKED_BYTES = 16 << 20
"""Of a frame whose checksum is computed: that takes several times its memory."""
_MOST_COLUMN = 1 << 20
"""Entries of one node: the format's own limit (``kMaxNodeArity``)."""


class BadTree(ValueError):
    """A manifest or node that cannot be read; the text says why."""

    def __init__(self, text: str, path: str, offset: int | None = None) -> None:
        super().__init__(text)
        self.path = path
        self.offset = offset


def read_frame(file: DataFile, offset: int, size: int, magic: bytes) -> Cursor:
    """The decompressed body of a manifest or node. Raises :class:`BadTree`."""

    def bad(text: str) -> BadTree:
        return BadTree(text, file.path, offset)

    if not 18 <= size <= _MOST_FRAME_BYTES:
        raise bad(f"a node of {size} bytes")
    with file.open() as handle:
        handle.seek(offset)
        data = handle.read(size) or b""
    if len(data) < size:
        raise bad(f"cut short: {len(data)} of {size} bytes of a node")
    if data[:4] != magic or struct.unpack_from("<Q", data, 4)[0] != size:
        raise bad("no node of the database begins here")
    if size <= _MOST_CHECKED_BYTES and _checksum(data) != data[-4:]:
        raise bad("a node of the database fails its checksum")
    cursor = Cursor(data[12 : size - 4], file.path, offset)
    version, compression = cursor.varint(), cursor.varint()
    if version != 0 or compression > 1:
        raise bad(f"version {version}, compression {compression} of the format are not known")
    if not compression:
        return cursor
    packed = cursor.rest()
    try:
        body = decode(packed, "zstd", _MOST_DECODED_BYTES, file.path)
    except MissingCodec:
        raise
    except OSError as error:
        raise bad(str(error)) from None
    return Cursor(body, file.path, offset)


def _checksum(frame: bytes) -> bytes:
    """The CRC-32C of all but the last four bytes, as it is stored."""
    words = np.frombuffer(frame, dtype=np.uint8)
    computed = crc32c(words, np.array([0]), np.array([len(frame) - 4]))[0]
    return struct.pack("<I", int(computed))


class Cursor:
    """Columns of numbers and bytes, one behind the other."""

    def __init__(self, data: bytes, path: str, offset: int) -> None:
        self._data = data
        self._path = path
        self._offset = offset
        self._at = 0

    def bad(self, text: str) -> BadTree:
        """An error that tells the node's place."""
        return BadTree(text, self._path, self._offset)

    def take(self, size: int) -> bytes:
        """So many bytes."""
        if size > len(self._data) - self._at:
            raise self.bad("a node of the database ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    def byte(self) -> int:
        """One byte as a number."""
        return self.take(1)[0]

    def varint(self) -> int:
        """An unsigned LEB128 number of at most 64 bits."""
        value = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise self.bad("a number of more than 64 bits")

    def varints(self, count: int) -> list[int]:
        """A column."""
        return [self.varint() for _ in range(count)]

    def count(self) -> int:
        """The number of entries of the columns that follow."""
        count = self.varint()
        if count > min(_MOST_COLUMN, len(self._data)):
            raise self.bad(f"a node of the database claims {count} entries")
        return count
