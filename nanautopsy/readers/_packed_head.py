"""What a compressed file of metrics shows of itself before it is read."""

from __future__ import annotations

import re
from pathlib import Path

from nanautopsy.model import FileHead
from nanautopsy.readers.text.blocks import unpacked_head
from nanautopsy.readers.text.unpack import is_packed

_BYTES = 65536
_SUFFIX = re.compile(r"\.(?:gz|bz2|xz|zst|zstd)$", re.IGNORECASE)


def plain_name(path: str) -> str:
    """Without the suffix of the compression."""
    return _SUFFIX.sub("", path)


def plain_head(file: FileHead) -> FileHead | None:
    """The file as if it were not compressed; ``None`` where its first block does not tell what is
    in it. Its ``size`` says no more than whether there is more than ``head``."""
    if not is_packed(file.head):
        return file
    head = unpacked_head(file.head)
    if not head or head == b"\0":
        return None
    is_whole = file.size <= len(file.head) and len(head) < _BYTES
    return FileHead(plain_name(file.path), len(head) + (not is_whole), head)


def first_block(path: str, location: Path, size: int) -> FileHead | None:
    """The same of a file on disk."""
    with open(location, "rb") as file:
        return plain_head(FileHead(path, size, file.read(_BYTES)))
