"""TensorStore's OCDBT: a B+tree of keys and values in files, read without TensorStore.

Layout: https://google.github.io/tensorstore/kvstore/ocdbt/index.html#storage-format. A manifest
names the root of each version's tree; nodes and large values lie in data files, which everything
refers to by (file, offset, length). Every frame is checked against its CRC-32C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nanautopsy.checkpoints.data_file import DataFile, MemoryFile
from nanautopsy.checkpoints.orbax_parts.ocdbt_frames import (
    MANIFEST_MAGIC,
    NODE_MAGIC,
    BadTree,
    Cursor,
    read_frame,
)

_MOST_KEYS = 5_000_000
_MOST_NODES = 500_000
_MOST_HEIGHT = 64
_LONGEST_KEY = 65535


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the value of one key lies."""

    file: DataFile
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Reference:
    file: str
    """Relative to the database."""
    base: str
    """What paths inside the node that it leads to begin with."""
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Node:
    reference: _Reference
    height: int
    prefix: bytes
    """Of the keys in it, which it leaves out."""


def read_tree(files: Mapping[str, DataFile], problems: list[BadTree]) -> dict[str, Entry]:
    """Key to value of the newest version of a database.

    ``files``: its files by path relative to the database. A node that cannot be read is added to
    ``problems``. Raises :class:`BadTree` when there is no root, and ``OSError``, which is
    ``MissingCodec`` where zstd cannot be decompressed.
    """
    root = _root(files)
    found: dict[str, Entry] = {}
    if root is None:
        return found
    pending = [root]
    seen: set[tuple[str, int]] = set()
    while pending:
        node = pending.pop()
        place = (node.reference.file, node.reference.offset)
        # A tree in which a node has two parents is none; without end it might be, otherwise.
        if place in seen or len(seen) >= _MOST_NODES or len(found) > _MOST_KEYS:
            problems.append(BadTree("a node that was met before", node.reference.file, place[1]))
            continue
        seen.add(place)
        try:
            for item in _entries(node, files):
                if isinstance(item, _Node):
                    pending.append(item)
                else:
                    found[item[0]] = item[1]
        except BadTree as error:
            problems.append(error)
    return found


# --- the manifest ---------------------------------------------------------------------------------


def _root(files: Mapping[str, DataFile]) -> _Node | None:
    """The newest version's root; ``None`` for an empty database."""
    file = files.get("manifest.ocdbt")
    if file is None:
        raise BadTree("the database's manifest.ocdbt is not here", "manifest.ocdbt")
    cursor = read_frame(file, 0, file.size, MANIFEST_MAGIC)
    if _config(cursor) == 1:
        numbered = [name for name in files if _is_numbered(name)]
        if not numbered:
            raise cursor.bad("the numbered manifests that it speaks of are not here")
        newest = files[max(numbered)]
        cursor = read_frame(newest, 0, newest.size, MANIFEST_MAGIC)
        _config(cursor)
    table = _file_table(cursor, "")
    count = cursor.count()
    if not count:
        return None
    generations = cursor.varints(count)
    heights = [cursor.byte() for _ in range(count)]
    references = _references(cursor, count, table)
    last = max(range(count), key=lambda i: generations[i])
    if references[last] is None:
        return None
    return _Node(references[last], heights[last], b"")


def _is_numbered(name: str) -> bool:
    stem, _, number = name.partition(".")
    return stem == "manifest" and len(number) == 16 and set(number) <= set("0123456789abcdef")


def _config(cursor: Cursor) -> int:
    """Step over the configuration; gives the kind of manifest."""
    cursor.take(16)
    kind = cursor.varint()
    cursor.varints(2)
    cursor.byte()
    if cursor.varint() == 1:
        cursor.take(4)
    return kind


# --- tables of files and references ---------------------------------------------------------------


def _file_table(cursor: Cursor, above: str) -> list[tuple[str, str]]:
    """(path of a data file, base path of what it refers to), both relative to the database."""
    count = cursor.count()
    keys = _lengths(cursor, count)
    bases = cursor.varints(count)
    table = []
    for path, base in zip(_texts(cursor, keys), bases, strict=True):
        text = above + path.decode("utf-8", "backslashreplace")
        table.append((text, above + path[:base].decode("utf-8", "backslashreplace")))
    return table


def _lengths(cursor: Cursor, count: int) -> list[tuple[int, int]]:
    """(bytes shared with the entry before, bytes of its own) of each entry."""
    if not count:
        return []
    prefixes = [0, *cursor.varints(count - 1)]
    return list(zip(prefixes, cursor.varints(count), strict=True))


def _texts(cursor: Cursor, lengths: list[tuple[int, int]]) -> Iterator[bytes]:
    before = b""
    for shared, own in lengths:
        if shared > len(before) or shared + own > _LONGEST_KEY:
            raise cursor.bad("keys of impossible lengths")
        before = before[:shared] + cursor.take(own)
        yield before


def _references(cursor: Cursor, count: int, table: list[tuple[str, str]]) -> list[_Reference]:
    """Places of nodes; what their statistics say is stepped over."""
    numbers, offsets, sizes = (cursor.varints(count) for _ in range(3))
    cursor.varints(3 * count)
    return [
        _reference(cursor, table, number, offset, size)
        for number, offset, size in zip(numbers, offsets, sizes, strict=True)
    ]


def _reference(
    cursor: Cursor, table: list[tuple[str, str]], number: int, offset: int, size: int
) -> _Reference:
    if number >= len(table):
        raise cursor.bad("a reference to a file that is not in the table")
    return _Reference(*table[number], offset, size)


# --- nodes ----------------------------------------------------------------------------------------


def _entries(node: _Node, files: Mapping[str, DataFile]) -> Iterator[_Node | tuple[str, Entry]]:
    """The children of an inner node, the keys and values of a leaf."""
    reference = node.reference
    file = files.get(reference.file)
    if file is None:
        raise BadTree("a data file of the database is not here", reference.file)
    cursor = read_frame(file, reference.offset, reference.size, NODE_MAGIC)
    height = cursor.byte()
    if height != node.height or height > _MOST_HEIGHT:
        raise cursor.bad("a node of another height than its parent says")
    table = _file_table(cursor, reference.base)
    count = cursor.count()
    if height:
        yield from _children(cursor, node, count, table)
    else:
        yield from _values(cursor, node, count, table, files)


def _children(
    cursor: Cursor, node: _Node, count: int, table: list[tuple[str, str]]
) -> Iterator[_Node]:
    lengths = _lengths(cursor, count)
    common = cursor.varints(count)
    keys = list(_texts(cursor, lengths))
    references = _references(cursor, count, table)
    for key, shared, reference in zip(keys, common, references, strict=True):
        yield _Node(reference, node.height - 1, node.prefix + key[:shared])


def _values(
    cursor: Cursor,
    node: _Node,
    count: int,
    table: list[tuple[str, str]],
    files: Mapping[str, DataFile],
) -> Iterator[tuple[str, Entry]]:
    keys = [node.prefix + key for key in _texts(cursor, _lengths(cursor, count))]
    sizes = cursor.varints(count)
    kinds = [cursor.byte() for _ in range(count)]
    outside = [i for i in range(count) if kinds[i]]
    numbers = dict(zip(outside, cursor.varints(len(outside)), strict=True))
    offsets = dict(zip(outside, cursor.varints(len(outside)), strict=True))
    path = files[node.reference.file].path
    for i, key in enumerate(keys):
        name = key.decode("utf-8", "backslashreplace")
        if i not in numbers:
            yield name, Entry(MemoryFile(path, cursor.take(sizes[i])), 0, sizes[i])
            continue
        place = _reference(cursor, table, numbers[i], offsets[i], sizes[i])
        file = files.get(place.file) or MemoryFile(place.file, b"")
        yield name, Entry(file, place.offset, place.size)
