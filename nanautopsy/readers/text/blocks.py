"""A log file as a stream of UTF-8 blocks that end at line ends, in bounded memory."""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
LINE_BYTES = 1 << 20
"""A longer line is read in pieces of this size: nothing that a trainer prints is longer, and a
file without line ends must not fill the memory."""
_GZIP_MAGIC = b"\x1f\x8b"
_UNPACKED_BYTES = 64 << 30
"""Of a compressed log, so that a bomb ends."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, or a piece of an overlong one."""

    data: bytes
    first_line: int
    """Number of the line with which it begins."""


@dataclass(frozen=True, slots=True)
class Damage:
    """The stream could not be read as it should."""

    text: str
    line: int
    offset: int
    """In the unpacked stream, bytes."""


def blocks(location: Path) -> Iterator[Block | Damage]:
    """Stream a plain, gzip-compressed or UTF-16 text file; a ``Damage`` for what is wrong."""
    carry = b""
    line = 1
    offset = 0
    overlong = holes = False
    for chunk in _chunks(location):
        if isinstance(chunk, str):
            yield Damage(chunk, line + carry.count(b"\n"), offset)
            continue
        offset += len(chunk)
        if b"\0" in chunk:
            if not holes:
                yield Damage(
                    "NUL bytes, as a log cut while it is written to leaves them; passed over",
                    line + carry.count(b"\n"),
                    offset - len(chunk) + chunk.index(b"\0"),
                )
            holes = True
            chunk = chunk.translate(None, b"\0")
        data = carry + chunk
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end == 0 and len(data) < LINE_BYTES:
            carry = data
            continue
        if end == 0:
            if not overlong:
                yield Damage(f"line {line} is longer than 1 MiB; read in pieces", line, offset)
            overlong = True
            end = len(data)
        else:
            overlong = False
        yield Block(data[:end], line)
        line += data.count(b"\n", 0, end)
        carry = data[end:]
    if carry:
        yield Block(carry, line)


def unpacked_head(head: bytes) -> bytes:
    """The beginning of the text behind the first block of a file, as UTF-8."""
    if head[:2] == _GZIP_MAGIC:
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, BLOCK_BYTES // 16)
        except zlib.error:
            return b"\0"
    encoding = _utf16(head)
    if encoding is not None:
        return head[2:].decode(encoding, "replace").encode("utf-8", "replace")
    return head.removeprefix(codecs.BOM_UTF8)


def _utf16(head: bytes) -> str | None:
    if head.startswith(codecs.BOM_UTF16_LE) and not head.startswith(codecs.BOM_UTF32_LE):
        return "utf-16-le"
    return "utf-16-be" if head.startswith(codecs.BOM_UTF16_BE) else None


def _chunks(location: Path) -> Iterator[bytes | str]:
    """UTF-8 chunks; a string says what stopped the stream."""
    with open(location, "rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        yield from _decoded(_unpacked(file) if packed else _plain(file))


def _plain(file: BinaryIO) -> Iterator[bytes | str]:
    while chunk := file.read(BLOCK_BYTES):
        yield chunk
        if not chunk.strip(b"\0"):
            _skip_hole(file)


def _skip_hole(file: BinaryIO) -> None:
    """A sparse file can be larger than any disk; its holes need not be read."""
    if not hasattr(os, "SEEK_DATA"):
        return
    try:
        file.seek(os.lseek(file.fileno(), file.tell(), os.SEEK_DATA))
    except OSError:
        file.seek(0, os.SEEK_END)


def _unpacked(file: BinaryIO) -> Iterator[bytes | str]:
    """The text behind gzip members. (``gzip.open`` loses what a truncated block still holds.)"""
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    total = 0
    data = b""
    while total < _UNPACKED_BYTES:
        if not data:
            data = file.read(BLOCK_BYTES)
            if not data:
                if not member.eof:
                    yield "the compressed data break off"
                return
        try:
            chunk = member.decompress(data, BLOCK_BYTES)
        except zlib.error as error:
            yield f"the compressed data are damaged: {error}"
            return
        data = member.unconsumed_tail
        if member.eof:
            data = member.unused_data.lstrip(b"\0")
            if data or (data := file.read(BLOCK_BYTES)):
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            elif not chunk:
                return
        total += len(chunk)
        if chunk:
            yield chunk
    yield "more than 64 GiB of text; the rest is not read"


def _decoded(chunks: Iterator[bytes | str]) -> Iterator[bytes | str]:
    first = next(chunks, b"")
    if isinstance(first, str):
        yield first
        return
    encoding = _utf16(first)
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first[2:]).encode("utf-8", "replace")
    for chunk in chunks:
        if isinstance(chunk, str):
            yield chunk
        else:
            yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
