"""Flax's MessagePack checkpoints: ``flax_model.msgpack``, ``checkpoint_500``, and their shards.

``flax.serialization`` writes one map of nested maps. An array is an extension of type 1 (a NumPy
scalar: 3) whose content is the MessagePack array [shape, dtype's name, bytes]; an array of more
than 2**30 bytes is a map that lists chunks of it, flattened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nanautopsy.checkpoints._flax_arrays import (
    ARRAY_CODES,
    BadExtension,
    FlaxArray,
    read_extension,
)
from nanautopsy.checkpoints._msgpack import BadMsgpack, Key, Payload, Value, leaves
from nanautopsy.checkpoints._tree_paths import Path, holds_of, with_roles
from nanautopsy.checkpoints.data_file import DataFile, Handle, MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.shard_index import check_index
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import Piece, StoredCheckpoint, StoredTensor
from nanautopsy.discover import natural_key
from nanautopsy.model import Artifact, Claim, FileHead, Problem, Record, Skipped
from nanautopsy.readers._damage import Damage
from nanautopsy.wording import phrase

_EXTENSION = ".msgpack"
_SHARD = re.compile(r"(?P<stem>.+?)-\d{3,6}-of-\d{3,6}\.msgpack")
_INDEX = re.compile(r"(?P<stem>.+)\.msgpack\.index\.json")
_CHUNKED = "__msgpack_chunked_array__"
_STATES = {"step": "global_step", "global_step": "global_step", "epoch": "epoch", "loss": "loss"}


@dataclass(slots=True)
class _Chunked:
    """An array in chunks, as far as it was met."""

    shape: dict[int, int] = field(default_factory=dict)
    chunks: dict[int, FlaxArray] = field(default_factory=dict)
    flagged: bool = False


@dataclass(slots=True)
class _Gathered:
    """What the files of one artifact gave so far."""

    tensors: dict[str, tuple[Path, StoredTensor]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    state: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    partial: bool = False
    """Some file ended in the middle."""


class FlaxReader:
    """Claims what begins with a map in which an array's extension stands."""

    name = "flax-msgpack"

    def claim(self, file: FileHead) -> Claim | None:
        index = _INDEX.fullmatch(file.name)
        if index is not None:
            return Claim(self.name, 90, index["stem"])
        shard = _SHARD.fullmatch(file.name)
        group = shard["stem"] if shard else file.name.removesuffix(_EXTENSION)
        if not _begins_with_map(file.head):
            named = file.name.endswith(_EXTENSION)
            return Claim(self.name, 50, group) if named and not file.size else None
        if _has_array(file):
            return Claim(self.name, 92, group)
        return Claim(self.name, 60, group) if file.name.endswith(_EXTENSION) else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Exactly one ``StoredCheckpoint``, unless nothing in it can be read."""
        gathered = _Gathered()
        indices = [file for file in artifact.files if file.path.endswith(".json")]
        files = [file for file in artifact.files if file not in indices]
        for file in files:
            yield from _read_file(file, gathered)
        for index in indices:
            given = {name: _file_of(stored) for name, (_, stored) in gathered.tensors.items()}
            missing, problems = check_index(index, given, {file.path for file in files})
            gathered.missing |= missing
            yield from problems
        if not gathered.tensors and not gathered.missing:
            text = (
                gathered.unread[0]
                if gathered.unread
                else phrase("MessagePack without an array in it")
            )
            yield Skipped(text)
            return
        tensors = with_roles(list(gathered.tensors.values()))
        step = step_of(artifact.path)
        stated = gathered.state.get("global_step")
        yield StoredCheckpoint(
            path=artifact.path
            if len(artifact.members) == 1
            else artifact.path.rpartition("/")[0] or ".",
            kind=self.name,
            step=stated if step is None and isinstance(stated, int) else step,
            tensors=tuple(sorted(tensors, key=lambda tensor: natural_key(tensor.name))),
            holds=holds_of(tensors),
            missing=tuple(sorted(gathered.missing - gathered.tensors.keys(), key=natural_key)),
            state=gathered.state,
        )


READER = FlaxReader()


def _begins_with_map(head: bytes) -> bool:
    first = head[:1]
    return bool(first) and (0x81 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))


def _has_array(file: FileHead) -> bool:
    """Whether an array's extension stands in the first block."""
    memory = MemoryFile(file.path, file.head)
    with memory.open() as handle:
        try:
            for _, value, _ in leaves(handle, 0, file.size):
                if not isinstance(value, Payload) or value.code not in ARRAY_CODES:
                    continue
                read_extension(handle, value, min(value.size, len(file.head) - value.offset))
                return True
        except (BadMsgpack, BadExtension):
            pass
    return False


# --- one file -----------------------------------------------------------------------------------


def _read_file(file: DataFile, gathered: _Gathered) -> Iterator[Problem]:
    damage = Damage(file.path)
    chunked: dict[tuple[Key, ...], _Chunked] = {}
    try:
        size = file.size
        with file.open() as handle, file.open() as second:
            try:
                for path, value, _ in leaves(handle, 0, size):
                    _take_leaf(path, value, second, file, size, damage, gathered, chunked)
            except BadMsgpack as error:
                damage.note(
                    phrase("{error}: what follows is lost", error=error), offset=error.offset
                )
                gathered.unread.append(str(error))
    except OSError as error:
        text = phrase("cannot be read: {error}", error=error.strerror or error)
        gathered.unread.append(text)
        damage.note(text)
    for path, parts in chunked.items():
        _join(path, parts, file, damage, gathered)
    yield from damage.problems()


def _take_leaf(
    path: tuple[Key, ...],
    value: Value,
    handle: Handle,
    file: DataFile,
    size: int,
    damage: Damage,
    gathered: _Gathered,
    chunked: dict[tuple[Key, ...], _Chunked],
) -> None:
    place = next((i for i in (len(path) - 2, len(path) - 1) if i >= 0 and path[:i] in chunked), 0)
    if path and path[-1] == _CHUNKED:
        chunked[path[:-1]] = _Chunked(flagged=True)
    elif place and path[place] == "shape" and type(value) is int:
        chunked[path[:place]].shape[_number(path[-1])] = value
    elif isinstance(value, Payload):
        if value.code not in ARRAY_CODES:
            return
        name = _name(path)
        try:
            if value.offset + value.size > size:
                raise BadExtension(
                    f"cut short: {max(0, size - value.offset)} of {value.size} bytes"
                )
            array = read_extension(handle, value, value.size)
        except BadExtension as error:
            owner = _name(path[:place]) if place else name
            gathered.missing.add(owner)
            damage.note(
                phrase("tensor {owner!r}: {error}", owner=owner[:300], error=error),
                offset=value.offset,
            )
            return
        if place and path[place] == "chunks":
            chunked[path[:place]].chunks[_number(path[-1])] = array
        else:
            _keep_array(path, array, file, handle, damage, gathered)
    elif len(path) == 1 and path[0] in _STATES and isinstance(value, (int, float)):
        gathered.state[_STATES[str(path[0])]] = value


def _file_of(stored: StoredTensor) -> str:
    return stored.pieces[0].file.path if stored.pieces else ""


def _number(key: Key) -> int:
    text = str(key)
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _name(path: Sequence[Key]) -> str:
    return "/".join(map(str, path))


def _keep_array(
    path: tuple[Key, ...],
    array: FlaxArray,
    file: DataFile,
    handle: Handle,
    damage: Damage,
    gathered: _Gathered,
) -> None:
    name = _name(path)
    if name in gathered.tensors:
        damage.note(
            phrase("tensor {name!r} is here more than once", name=name[:300]), offset=array.offset
        )
        return
    if not array.shape and len(path) == 1 and path[0] in _STATES and array.dtype[0] in "IU":
        handle.seek(array.offset)
        data = handle.read(FORMATS[array.dtype].nbytes(1)) or b""
        signed = array.dtype[0] == "I"
        data = data[::-1] if array.big_endian else data
        gathered.state[_STATES[str(path[0])]] = int.from_bytes(data, "little", signed=signed)
    pieces = (Piece(file, array.offset, array.shape),) if math.prod(array.shape) else ()
    stored = StoredTensor(name, array.dtype, array.shape, pieces, big_endian=array.big_endian)
    gathered.tensors[name] = (tuple(map(str, path)), stored)


def _join(
    path: tuple[Key, ...], parts: _Chunked, file: DataFile, damage: Damage, gathered: _Gathered
) -> None:
    """One tensor of an array's chunks, which follow each other in its flattened form."""
    name = _name(path)
    shape = tuple(parts.shape.get(i, -1) for i in range(len(parts.shape)))
    dtypes = {chunk.dtype for chunk in parts.chunks.values()}
    if -1 in shape or len(dtypes) != 1:
        gathered.missing.add(name)
        damage.note(
            phrase("tensor {name!r}: its chunks do not say its shape and dtype", name=name[:300])
        )
        return
    pieces = []
    reached = 0
    for number in range(max(parts.chunks) + 1):
        chunk = parts.chunks.get(number)
        if chunk is None:
            break
        count = math.prod(chunk.shape)
        pieces.append(Piece(file, chunk.offset, (count,), origin=reached))
        reached += count
    if reached != math.prod(shape):
        gathered.missing.add(name)
        damage.note(
            phrase(
                "tensor {name!r}: its chunks hold {reached} of {all} elements",
                name=name[:300],
                reached=reached,
                all=math.prod(shape),
            )
        )
        return
    first = parts.chunks[0]
    stored = StoredTensor(name, first.dtype, shape, tuple(pieces), big_endian=first.big_endian)
    gathered.tensors[name] = (tuple(map(str, path)), stored)
