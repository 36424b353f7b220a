"""A log file as a stream of UTF-8 blocks that end at line ends, in bounded memory."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nanautopsy.readers.text.unpack import (
    MAGIC_BYTES,
    is_packed,
    unpacked,
    unpacked_beginning,
)

BLOCK_BYTES = 1 << 20
LINE_BYTES = 1 << 20
"""A longer line is read in pieces of this size: nothing that a trainer prints is longer, and a
file without line ends must not fill the memory."""
_MARKS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 4096
_FEWEST_PAIRS = 4
_MANY_NULS = 0.6
_FEW_NULS = 0.05


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
    """Stream a text file in any encoding that holds ASCII, or UTF-16 or UTF-32, compressed or not;
    a ``Damage`` for what is wrong."""
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
                at = chunk.index(b"\0")
                yield Damage(
                    "NUL bytes, as a log cut while it is written to leaves them; passed over",
                    line + carry.count(b"\n") + chunk.count(b"\n", 0, at),
                    offset - len(chunk) + at,
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


def unpacked_head(head: bytes) -> bytes | None:
    """The beginning of the text behind the first block of a file, as UTF-8; ``None`` for a packed
    file of which the first block does not tell."""
    if is_packed(head):
        try:
            beginning = unpacked_beginning(head, BLOCK_BYTES // 16)
        except ValueError:
            return b"\0"
        if beginning is None:
            return None
        head = beginning
    encoding, mark = encoding_of(head)
    if encoding is None:
        return head[mark:]
    return head[mark:].decode(encoding, "replace").encode("utf-8", "replace")


def encoding_of(head: bytes) -> tuple[str | None, int]:
    """(UTF-16 or UTF-32, or ``None`` for anything with ASCII in it; bytes of the mark in front)."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return _unmarked(head), 0


def _unmarked(head: bytes) -> str | None:
    """UTF-16 without its mark: nearly every second byte of Latin text is NUL."""
    sample = head[:_SAMPLE_BYTES]
    pairs = len(sample) // 2
    if pairs < _FEWEST_PAIRS:
        return None
    first, second = sample[: 2 * pairs : 2].count(0) / pairs, sample[1::2].count(0) / pairs
    if second > _MANY_NULS and first < _FEW_NULS:
        return "utf-16-le"
    return "utf-16-be" if first > _MANY_NULS and second < _FEW_NULS else None


def _chunks(location: Path) -> Iterator[bytes | str]:
    """UTF-8 chunks; a string says what stopped the stream."""
    with open(location, "rb") as file:
        packed = is_packed(file.read(MAGIC_BYTES))
        file.seek(0)
        yield from _decoded(unpacked(file) if packed else _plain(file))


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


def _decoded(chunks: Iterator[bytes | str]) -> Iterator[bytes | str]:
    first = next(chunks, b"")
    if isinstance(first, str):
        yield first
        return
    encoding, mark = encoding_of(first)
    if encoding is None:
        yield first[mark:]
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first[mark:]).encode("utf-8", "replace")
    for chunk in chunks:
        if isinstance(chunk, str):
            yield chunk
        else:
            yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")
