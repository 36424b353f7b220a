"""The ``.metadata`` of torch.distributed.checkpoint, every number in it distrusted.

A pickle of ``torch.distributed.checkpoint.metadata.Metadata``: for each name a shape, a dtype and
the boxes (chunks) that the ranks saved, and for each chunk the file and the bytes that hold it,
which are a torch file of their own (``torch/distributed/checkpoint/filesystem.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nanautopsy.checkpoints.pickle_data import Call

_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 60
_LONGEST_NAME = 1000


@dataclass(frozen=True, slots=True)
class Chunk:
    """One saved box of a tensor, or one saved object."""

    path: str
    """The file's name, as the metadata has it: compared with files, never followed."""
    offset: int
    """First byte in that file."""
    length: int
    corner: tuple[int, ...] | None
    """Where the box begins in the tensor; ``None`` for an object."""
    transforms: tuple[str, ...]
    """What was done to the bytes after torch wrote them: ``stream.zstd/1``."""


@dataclass(slots=True)
class Entry:
    """One name."""

    name: str
    path: tuple[str, ...]
    """Keys that led to it in the saved object; the name alone where they are not told."""
    shape: tuple[int, ...] | None
    """``None`` for an object that is no tensor."""
    boxes: dict[tuple[int, ...], tuple[int, ...]]
    """Corner to size of each chunk that was saved."""
    chunks: list[Chunk] = field(default_factory=list)
    """Where they lie."""


def entries_of(value: Any) -> tuple[list[Entry], list[str]]:
    """The names in the order of the file, and the names whose description is unusable."""
    attributes = value.attributes if isinstance(value, Call) else {}
    paths = _mapping(attributes.get("planner_data"))
    found: dict[str, Entry] = {}
    unusable: list[str] = []
    for name, described in _mapping(attributes.get("state_dict_metadata")).items():
        if not isinstance(name, str) or len(name) > _LONGEST_NAME:
            unusable.append(str(name)[:_LONGEST_NAME])
            continue
        entry = _entry(name, _keys(name, paths.get(name)), described)
        if entry is None:
            unusable.append(name)
        else:
            found[name] = entry
    for index, info in _mapping(attributes.get("storage_data")).items():
        fields = index.attributes if isinstance(index, Call) else {}
        name = fields.get("fqn")
        chunk = _chunk(fields.get("offset"), info)
        if isinstance(name, str) and name in found and chunk is not None:
            found[name].chunks.append(chunk)
    return list(found.values()), unusable


def _entry(name: str, path: tuple[str, ...], described: Any) -> Entry | None:
    kind = described.function if isinstance(described, Call) else None
    if str(kind).endswith(".BytesStorageMetadata"):
        return Entry(name, path, None, {})
    fields = described.attributes if isinstance(described, Call) else {}
    shape = _sizes(fields.get("size"))
    chunks = fields.get("chunks")
    if shape is None or not isinstance(chunks, (list, tuple)):
        return None
    if math.prod(shape) >= _MOST_ELEMENTS:
        return None
    return Entry(name, path, shape, dict(_boxes(chunks, shape)))


def _boxes(
    chunks: list[Any] | tuple[Any, ...], shape: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Corner and size of those that lie in the tensor."""
    for chunk in chunks:
        fields = chunk.attributes if isinstance(chunk, Call) else {}
        corner, sizes = _sizes(fields.get("offsets")), _sizes(fields.get("sizes"))
        if corner is None or sizes is None or not len(corner) == len(sizes) == len(shape):
            continue
        inside = all(c + s <= n for c, s, n in zip(corner, sizes, shape, strict=True))
        if inside:
            yield corner, sizes


def _chunk(corner: Any, info: Any) -> Chunk | None:
    fields = info.attributes if isinstance(info, Call) else {}
    path = fields.get("relative_path")
    place = _sizes((fields.get("offset"), fields.get("length")))
    if not isinstance(path, str) or place is None:
        return None
    transforms = fields.get("transform_descriptors")
    said = transforms if isinstance(transforms, (list, tuple)) else ()
    return Chunk(path, place[0], place[1], _sizes(corner), tuple(str(text)[:100] for text in said))


def _keys(name: str, path: Any) -> tuple[str, ...]:
    if isinstance(path, (list, tuple)) and path:
        if all(isinstance(key, (str, int)) for key in path):
            return tuple(str(key) for key in path)
    return (name,)


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Non-negative integers, few and not beyond all measure."""
    if not isinstance(value, (list, tuple)) or len(value) > _MOST_DIMENSIONS:
        return None
    if not all(type(n) is int and 0 <= n < _MOST_ELEMENTS for n in value):
        return None
    return tuple(value)
