"""A text file as blocks of whole lines, for readers that take many lines at once."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from nanautopsy.readers._damage import Damage
from nanautopsy.readers.text.unpack import is_packed, unpacked

_BLOCK_BYTES = 1 << 20


@dataclass(slots=True)
class LineBlock:
    """Lines without their ends."""

    first_line: int
    """Number of the first, from 1."""
    offset: int
    """Byte of the file, unpacked and as UTF-8, at which it begins."""
    data: bytes
    lines: list[str]
    whole: bool
    """Whether the last line has its end."""

    def offset_of(self, place: int) -> int:
        """Byte at which the line at ``place`` begins."""
        at = 0
        for _ in range(place):
            at = self.data.index(b"\n", at) + 1
        return self.offset + at


def line_blocks(location: Path, longest: int, damage: Damage | None = None) -> Iterator[LineBlock]:
    """Blocks of about 1 MiB, or of one longer line; one longer than ``longest`` comes in pieces.

    Compressed or not; UTF-8, or UTF-16 where a byte order mark says so; NUL bytes, which a crash
    leaves, are dropped. ``damage`` is told what ends a compressed file too early.
    """
    carry = b""
    line, offset = 1, 0
    with open(location, "rb") as file:
        for chunk in _chunks(file):
            if isinstance(chunk, str):
                if damage is not None:
                    damage.note(chunk, offset=offset + len(carry))
                continue
            data = carry + chunk
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) < longest:
                carry = data
                continue
            end = end or len(data)
            block = _block(data[:end], line, offset)
            yield block
            line += len(block.lines)
            offset += end
            carry = data[end:]
        if carry:
            yield _block(carry, line, offset)


class Lines:
    """The lines of a file one by one or, what is left of a block, all at once.

    The last line of a file that does not end with one is kept apart, in ``tail``, with its number:
    it may be a part of a line.
    """

    def __init__(
        self, location: Path, longest: int = _BLOCK_BYTES, damage: Damage | None = None
    ) -> None:
        self._blocks = line_blocks(location, longest, damage)
        self._block = LineBlock(1, 0, b"", [], True)
        self._at = 0
        self.tail: tuple[int, str] | None = None

    def load(self) -> bool:
        """Make sure that lines are left; False at the end."""
        while self._at >= len(self._block.lines):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._block, self._at, self.tail = block, 0, None
            if not block.whole:
                self.tail = (block.first_line + len(block.lines) - 1, block.lines.pop())
        return True

    @property
    def line(self) -> int:
        """Number of the line taken last."""
        return self._block.first_line + self._at - 1

    @property
    def left(self) -> int:
        """Lines of the block at hand that were not taken yet."""
        return len(self._block.lines) - self._at

    def rest(self) -> tuple[list[str], int]:
        """Those lines, and the number of the first."""
        return self._block.lines[self._at :] if self._at else self._block.lines, self.line + 1

    def skip(self, count: int) -> None:
        """Take lines unseen."""
        self._at += count

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.load():
            raise StopIteration
        self._at += 1
        return self._block.lines[self._at - 1]


def _block(data: bytes, line: int, offset: int) -> LineBlock:
    whole = data.endswith(b"\n")
    text = data.decode("utf-8", "replace")
    if b"\r" in data:
        text = text.replace("\r\n", "\n").removesuffix("\r")
    if b"\0" in data:
        text = text.replace("\0", "")
    lines = text.split("\n")
    if whole:
        lines.pop()
    return LineBlock(line, offset, data, lines, whole)


def _chunks(file: BinaryIO) -> Iterator[bytes | str]:
    """UTF-8 chunks; a string says what ended the stream too early."""
    raw = _raw(file)
    first = next(raw, b"")
    if isinstance(first, str):
        yield first
        return
    encoding = _utf16(first)
    if encoding is not None:
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        yield decoder.decode(first[2:]).encode("utf-8", "replace")
        for chunk in raw:
            if isinstance(chunk, str):
                yield chunk
            else:
                yield decoder.decode(chunk).encode("utf-8", "replace")
        yield decoder.decode(b"", final=True).encode("utf-8", "replace")
        return
    # The ends of lines of classic Mac OS, and of some instruments.
    only_returns = b"\r" in first and b"\n" not in first
    for chunk in chain((first.removeprefix(codecs.BOM_UTF8),), raw):
        if only_returns and isinstance(chunk, bytes):
            chunk = chunk.replace(b"\r", b"\n")
        yield chunk


def _raw(file: BinaryIO) -> Iterator[bytes | str]:
    first = file.read(_BLOCK_BYTES)
    if is_packed(first):
        file.seek(0)
        yield from unpacked(file)
        return
    while first:
        yield first
        first = file.read(_BLOCK_BYTES)


def _utf16(head: bytes) -> str | None:
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    return "utf-16-be" if head.startswith(codecs.BOM_UTF16_BE) else None
