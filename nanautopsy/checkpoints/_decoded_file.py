"""A compressed range of a file, read as a file of its own."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeAlias

from nanautopsy.checkpoints.data_file import DataFile, Handle, MemoryFile

Codec: TypeAlias = Literal["deflate", "zlib", "gzip", "zstd"]
"""``deflate``: without a header, as zip archives hold it."""

_BLOCK = 1 << 20
_WINDOW_BITS = {"deflate": -15, "zlib": 15, "gzip": 31}
_MOST_WINDOW_LOG = 27
"""The largest window, 128 MiB, that ``zstd`` itself accepts unasked (its manual, ``--long``)."""


_ALWAYS_DECODED = 16 << 30
"""Decompressed bytes of one checkpoint that are read whatever the ratio: moments that are all
zero, before the first step, shrink to nearly nothing."""
_MOST_INFLATION = 64
"""Decompressed bytes for one stored, beyond :data:`_ALWAYS_DECODED`."""


class MissingCodec(OSError):
    """The library that decompresses is not installed; the text names it."""


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """The decompressed bytes of one range; each handle decompresses anew, block by block."""

    source: DataFile
    offset: int
    """First compressed byte in ``source``."""
    stored: int
    """Compressed bytes."""
    codec: Codec
    size: int
    """Decompressed bytes; what goes beyond is not given."""

    @property
    def path(self) -> str:
        """Of the file that holds the range."""
        return self.source.path

    def open(self) -> Handle:
        """A handle that is cheap to move forward. Raises ``OSError``."""
        return _DecodedHandle(self)


class _DecodedHandle(io.RawIOBase):
    """Decompresses as it is read; going back begins anew."""

    def __init__(self, file: DecodedFile) -> None:
        self._file = file
        self._source = file.source.open()
        self._begin()

    def _begin(self) -> None:
        self._blocks = _decode(self._file, self._source)
        self._block = memoryview(b"")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as one decompressed block gives, 0 at the end."""
        target = memoryview(buffer).cast("B")
        got = self._take(min(len(target), self._file.size - self._at))
        target[: len(got)] = got
        return len(got)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: self._file.size}[whence]
        wanted = max(0, base + offset)
        if wanted < self._at:
            self._begin()
        while self._at < min(wanted, self._file.size):
            if not self._take(wanted - self._at):
                break
        return wanted

    def close(self) -> None:
        if not self.closed:
            self._source.__exit__(None, None, None)
        super().close()

    def _take(self, most: int) -> memoryview:
        """At most ``most`` of the bytes that follow."""
        if not self._block and most > 0:
            try:
                self._block = memoryview(next(self._blocks, b""))
            except MissingCodec:
                raise
            except Exception as error:  # each codec's library has its own kind
                text = f"damaged {self._file.codec} data: {error}"
                raise OSError(" ".join(text.split())) from None
        got = self._block[: max(most, 0)]
        self._block = self._block[len(got) :]
        self._at += len(got)
        return got


def is_bomb(decoded: int, stored: int) -> bool:
    """Whether so many decompressed bytes are more than a file of ``stored`` bytes should give."""
    return decoded > max(_ALWAYS_DECODED, _MOST_INFLATION * stored)


def decode(data: bytes, codec: Codec, most: int, path: str = "") -> bytes:
    """All of a small compressed text, at most ``most`` bytes. Raises ``OSError``."""
    with DecodedFile(MemoryFile(path, data), 0, len(data), codec, most).open() as handle:
        parts = []
        while part := handle.read(_BLOCK):
            parts.append(part)
    return b"".join(parts)


def _decode(file: DecodedFile, source: Handle) -> Iterator[bytes]:
    raw = _Range(source, file.offset, file.stored)
    if file.codec == "zstd":
        yield from _zstd_blocks(raw)
        return
    inflater = zlib.decompressobj(_WINDOW_BITS[file.codec])
    packed = raw.read(_BLOCK)
    while packed and not inflater.eof:
        block = inflater.decompress(packed, _BLOCK)
        packed = inflater.unconsumed_tail or raw.read(_BLOCK)
        if block:
            yield block
    if tail := inflater.flush():
        yield tail


def _zstd_blocks(raw: Any) -> Iterator[bytes]:
    with _zstd_stream(raw) as stream:
        while block := stream.read(_BLOCK):
            yield block


def _zstd_stream(raw: Any) -> Any:
    """The decompressed bytes of ``raw`` as a file."""
    try:
        import zstandard
    except ImportError:
        return _own_zstd_stream(raw)
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _MOST_WINDOW_LOG)
    return decompressor.stream_reader(raw, read_size=_BLOCK, read_across_frames=True)


def _own_zstd_stream(raw: Any) -> Any:
    """By Python's own library, from 3.14 on."""
    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        text = "its zstd compression needs the package zstandard: pip install zstandard"
        raise MissingCodec(text) from None
    limit = {zstd.DecompressionParameter.window_log_max: _MOST_WINDOW_LOG}
    return zstd.ZstdFile(raw, options=limit)


class _Range(io.RawIOBase):
    """Some bytes of an open file."""

    def __init__(self, source: Handle, offset: int, size: int) -> None:
        self._source = source
        self._left = size
        source.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        got = self._source.readinto(target[: min(len(target), self._left)]) or 0
        self._left -= got
        return got

    def read(self, size: int = -1) -> bytes:
        got = self._source.read(self._left if size < 0 else min(size, self._left)) or b""
        self._left -= len(got)
        return got
