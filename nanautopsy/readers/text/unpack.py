"""Compressed logs as a stream of what is in them: gzip, bzip2, xz and zstd, in bounded memory.

A stream that breaks off gives all that could be read before. Formats are told by their first
bytes: RFC 1952, bzip2's ``BZh``, the .xz file format 1.2, RFC 8878.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

_CHUNK = 1 << 20
_MAX_BYTES = 64 << 30
"""Unpacked, so that a bomb ends."""
_XZ_MEMORY = 256 << 20
"""What an .xz file may ask for; its strongest preset asks for 65 MB."""
_ZSTD_WINDOW = 128 << 20
"""``zstd -d`` itself refuses larger windows."""
_PIECE = 1024
"""Bytes given to a decompressor at a time. Of zstd's, no more than 32 MB can come of them."""
_SALVAGE = 256


class _Member(Protocol):
    """One compressed stream, of which a file may hold several."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface that the others share."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        data = self._inner.unconsumed_tail + data
        spare = self._inner.copy()
        try:
            return self._inner.decompress(data, max_length)
        except zlib.error:
            # It keeps to itself what it had unpacked before the damage.
            return _until_error(spare.decompress, data, max_length)


def _until_error(unpack: Callable[[bytes], bytes], data: bytes, size: int) -> bytes:
    found = bytearray()
    for begin in range(0, len(data), _SALVAGE):
        try:
            found += unpack(data[begin : begin + _SALVAGE])
        except zlib.error:
            if not found:
                raise
            break
        if len(found) >= size:
            break
    return bytes(found)


class _Zstandard:
    """The package's decompressor with that interface, but for the largest length."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._inner = decompressor.decompressobj()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(data)


class _ByPieces:
    """Gives what is unpacked before the data turn out to be damaged, and then fails."""

    def __init__(self, inner: _Member) -> None:
        self._inner = inner
        self._data = b""
        self._at = 0
        self._error: Exception | None = None

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._data) and self._inner.needs_input and self._error is None

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._data[self._at :]

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if self._error is not None:
            raise self._error
        self._data, self._at = self._data[self._at :] + data, 0
        found = bytearray()
        inner = self._inner
        while len(found) < max_length and not inner.eof and not self.needs_input:
            piece = b""
            if inner.needs_input:
                piece = self._data[self._at : self._at + _PIECE]
                self._at += len(piece)
            try:
                found += inner.decompress(piece, max_length - len(found))
            except Exception as error:  # each library raises its own
                if not found:
                    raise
                self._error = error
                break
        return bytes(found)


def _zstd() -> _Member:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return _ByPieces(zstd.ZstdDecompressor())
    return _ByPieces(_Zstandard())


def _xz() -> _Member:
    return _ByPieces(lzma.LZMADecompressor(memlimit=_XZ_MEMORY))


def _bz2() -> _Member:
    return _ByPieces(bz2.BZ2Decompressor())


_FORMATS: dict[bytes, Callable[[], _Member]] = {
    b"\x1f\x8b": _Gzip,
    b"BZh": _bz2,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
}
MAGIC_BYTES = max(map(len, _FORMATS))


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is compressed."""
    return head.startswith(tuple(_FORMATS))


def unpacked(file: BinaryIO) -> Iterator[bytes | str]:
    """What a compressed file holds, in pieces; a string says what ended it too early."""
    data = file.read(_CHUNK)
    make = _format(data)
    total = 0
    while data and make is not None:
        try:
            member = make()
        except ImportError:
            yield "compressed by zstd; to read it, install the package zstandard"
            return
        for chunk in _member(member, data, file):
            if isinstance(chunk, str):
                yield chunk
                return
            total += len(chunk)
            yield chunk
            if total > _MAX_BYTES:
                yield f"more than {_MAX_BYTES >> 30} GiB of text; the rest is not read"
                return
        rest = member.unused_data.lstrip(b"\0")
        data = rest if len(rest) >= MAGIC_BYTES else rest + file.read(_CHUNK)
        make = _format(data)
        if data.strip(b"\0") and make is None:
            yield "behind the compressed data stands something else; it is not read"


def unpacked_beginning(head: bytes, size: int) -> bytes | None:
    """The first bytes behind the first block of a file; ``None`` where that block is too short to
    tell, and raises ``ValueError`` where it is none of the formats."""
    make = _format(head)
    try:
        found = None if make is None else make().decompress(head, size)
    except ImportError:
        return None
    except Exception as error:
        raise ValueError("damaged") from error
    return found or None


def _format(data: bytes) -> Callable[[], _Member] | None:
    return next((make for magic, make in _FORMATS.items() if data.startswith(magic)), None)


def _member(member: _Member, data: bytes, file: BinaryIO) -> Iterator[bytes | str]:
    """The pieces of one compressed stream."""
    while True:
        try:
            chunk = member.decompress(data, _CHUNK)
        except Exception as error:  # each library raises its own
            yield f"the compressed data are damaged: {' '.join(str(error).split())}"
            return
        if chunk:
            yield chunk
        if member.eof:
            return
        data = b""
        if member.needs_input:
            data = file.read(_CHUNK)
            if not data:
                yield "the compressed data break off"
                return
