"""Files that hold tensors, opened alike whether they lie on a disk, in memory or far away."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

BLOCK_BYTES = 4 << 20
"""Bytes read at once."""


class Handle(Protocol):
    """An open file with a position of its own."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte."""

    def read(self, size: int = -1, /) -> bytes | None:
        """At most ``size`` bytes, fewer at the end."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer as far as the file goes."""

    def __enter__(self) -> Handle: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class DataFile(Protocol):
    """Something that can be opened many times, from any thread."""

    @property
    def path(self) -> str:
        """Relative to the run directory, with forward slashes: what a report cites."""

    @property
    def size(self) -> int:
        """Bytes. Raises ``OSError``."""

    def open(self) -> Handle:
        """A handle at byte 0. Raises ``OSError``."""


class FarPlace(Protocol):
    """Where a file lies that is on no disk of this machine."""

    def file(self, path: str) -> DataFile:
        """The file, to be cited as ``path``."""


Location: TypeAlias = "Path | FarPlace"
"""Where a file lies."""


def data_file(path: str, location: Location) -> DataFile:
    """The file at ``location``, wherever that is, to be cited as ``path``."""
    return LocalFile(path, location) if isinstance(location, Path) else location.file(path)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on a disk."""

    path: str
    location: Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.location.stat().st_size

    def open(self) -> Handle:
        """Unbuffered: readers ask for blocks."""
        return open(self.location, "rb", buffering=0)


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """Bytes that another file embeds (an array inside a pickle, a decompressed chunk)."""

    path: str
    """Of the file that embeds them."""
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def open(self) -> Handle:
        """A view of the bytes."""
        return io.BytesIO(self.data)


def read_blocks(file: Handle, offset: int, nbytes: int) -> Iterator[memoryview]:
    """``nbytes`` bytes of ``file`` from ``offset`` on, in views of one reused buffer.

    Ends early where the file does. Each view is valid until the next one is asked for.
    """
    buffer = memoryview(bytearray(min(nbytes, BLOCK_BYTES)))
    file.seek(offset)
    left = nbytes
    while left > 0:
        got = file.readinto(buffer[: min(left, BLOCK_BYTES)])
        if not got:
            return
        left -= got
        yield buffer[:got]
