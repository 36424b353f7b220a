"""Every tensor inside a saved object, with the path that leads to it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from nanautopsy.checkpoints.pickle_data import Call, Global, Lost, PersistentId
from nanautopsy.checkpoints.stored import Part, StoredTensor
from nanautopsy.checkpoints.torch_objects import BadTensor, Storages, tensor_of, unwrap

_DEEPEST = 64
_LONGEST_NAME = 500
_MOST_VISITS = 8_000_000
_MOST_TENSORS = 300_000
"""One tensor can be named any number of times for three bytes each."""

Children: TypeAlias = "Iterator[tuple[str, Any, Part | None]]"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor, or what is left of one."""

    name: str
    tensor: StoredTensor | None
    why: str
    """Why there is no tensor."""
    part: Part | None
    """What the object that holds it says that it is."""


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping that was met on the way, before what is in it."""

    name: str
    values: dict[Any, Any]


def walk(
    root: Any, storages: Storages, name: str = ""
) -> Generator[Leaf | Table, bool | None, None]:
    """Go through ``root`` in order, each container once, however often it is referred to.

    After a :class:`Table` was given, ``send(True)`` keeps the walk out of it.
    """
    seen: set[int] = set()
    pending: list[tuple[str, Any, Part | None, int, Storages]] = [(name, root, None, 0, storages)]
    leaves = 0
    for _ in range(_MOST_VISITS):
        if not pending:
            return
        if leaves > _MOST_TENSORS:
            break
        path, value, part, depth, around = pending.pop()
        if isinstance(value, Lost):
            yield Leaf(path, None, value.why, part)
            continue
        if isinstance(value, (Call, PersistentId)):
            value, around = unwrap(value, around)
            leaf = _leaf(path, value, part, around)
            if leaf is not None:
                leaves += 1
                yield leaf
                continue
        if not isinstance(value, (dict, list, tuple, Call)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            pruned = yield Table(path, value)
            if pruned:
                continue
        if depth < _DEEPEST and len(path) < _LONGEST_NAME:
            below = [
                (_join(path, key), item, kind or part, depth + 1, around)
                for key, item, kind in _children(value)
                if isinstance(item, _WORTH_A_LOOK)
            ]
            pending.extend(reversed(below))
    yield Leaf(path, None, "too many objects; the rest is not listed", None)


_WORTH_A_LOOK = (dict, list, tuple, Call, PersistentId, Lost)


def _leaf(path: str, value: Any, part: Part | None, storages: Storages) -> Leaf | None:
    try:
        tensor = tensor_of(value, storages)
    except BadTensor as error:
        return Leaf(path, None, str(error), part)
    return None if tensor is None else Leaf(path, tensor, "", part)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path and key else path or key


def _children(value: Any) -> Children:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key_name(key), item, None
    elif isinstance(value, Call):
        yield from _of_call(value)
    else:
        for i, item in enumerate(value):
            yield str(i), item, None


def _of_call(call: Call) -> Children:
    """What an object holds; a module's own containers leave no trace in the names."""
    attributes = call.attributes
    is_module = "_modules" in attributes or "_parameters" in attributes
    for key, item in attributes.items():
        inside: Part | None = _MODULE_PARTS.get(key) if isinstance(key, str) else None
        if is_module and isinstance(item, dict) and (inside or key == "_modules"):
            for name, held in item.items():
                yield key_name(name), held, inside
        elif is_module:
            yield key_name(key), item, "state"
        else:
            yield key_name(key), item, None
    for key, item in call.pairs:
        yield key_name(key), item, None
    for i, item in enumerate(call.items):
        yield str(i), item, None
    if not attributes and call.state is not None:
        yield "", call.state, None
    yield from _of_arguments(call)


def _of_arguments(call: Call) -> Children:
    if len(call.args) == 1:
        yield "", call.args[0], None
    else:
        for i, item in enumerate(call.args):
            yield str(i), item, None
    for key, item in (call.kwargs or {}).items():
        yield key_name(key), item, None


_MODULE_PARTS: dict[str, Part] = {"_parameters": "parameter", "_buffers": "buffer"}


def key_name(key: Any) -> str:
    """A key as part of a name."""
    if isinstance(key, str):
        return key if len(key) <= _LONGEST_NAME else key[:_LONGEST_NAME] + "..."
    if isinstance(key, bytes):
        return key[:_LONGEST_NAME].decode("utf-8", "backslashreplace")
    if isinstance(key, tuple):
        return ".".join(key_name(item) for item in key[:8] if not isinstance(item, tuple))
    if isinstance(key, (int, float, bool, Global)):
        return str(key)[:_LONGEST_NAME]
    return "?"
