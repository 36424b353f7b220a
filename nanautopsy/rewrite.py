"""Rewriting every piece of text inside frozen dataclasses, without naming their fields.

Redaction and the renderers' cleaning both walk the whole result this way, so a field added to
the model later is covered without anybody thinking of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a leaf stands."""

    owner: str = ""
    """Name of the dataclass that holds it."""
    field: str = ""
    """Its field there."""
    key: str | None = None
    """Key of the innermost mapping around it."""
    is_key: bool = False
    """The leaf is a mapping's key, not a value."""


_NOTHING = frozenset({type(None)})
_PASSED = frozenset({type(None), bool, int, float})
"""Types of which no value outside a mapping is visited."""

Visit: TypeAlias = Callable[[Any, Place], Any]
"""Called with each string, and with each number that stands in a mapping."""


def rewrite(value: T, visit: Visit, place: Place | None = None) -> T:
    """A copy of ``value`` in which every leaf is what ``visit`` made of it.

    Parts in which nothing changed are shared with the original. Arrays are left alone. When two
    keys of a mapping become equal, the later ones get a number, so that nothing is lost.
    """
    result: Any = _rewrite(value, visit, place or Place())
    return result  # type: ignore[no-any-return]


def _rewrite(value: Any, visit: Visit, place: Place) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        new = visit(value, place)
        return value if new == value else new
    if isinstance(value, (int, float)):
        return visit(value, place) if place.key is not None else value
    if isinstance(value, (tuple, list)):
        if place.key is None and all(type(item) in _PASSED for item in value):
            return value
        items = [_rewrite(item, visit, place) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    if isinstance(value, Mapping):
        return _rewrite_mapping(value, visit, place)
    kind: type = type(value)
    places = _places(kind)
    return _rewrite_dataclass(value, visit, place, places) if places else value


def _rewrite_dataclass(
    value: Any, visit: Visit, place: Place, places: tuple[tuple[str, Place], ...]
) -> Any:
    changed = {}
    passed = _PASSED if place.key is None else _NOTHING
    for name, inner in places:
        old = getattr(value, name)
        kind = type(old)
        if kind in passed:
            continue  # most of a tensor's health, and there may be very many tensors
        if place.key is not None:
            inner = dataclasses.replace(inner, key=place.key)
        new = visit(old, inner) if kind is str else _rewrite(old, visit, inner)
        if kind is str and new == old:
            continue
        if new is not old:
            changed[name] = new
    return dataclasses.replace(value, **changed) if changed else value


@lru_cache(maxsize=256)
def _places(kind: type) -> tuple[tuple[str, Place], ...]:
    """Each field of a dataclass, and its place outside a mapping; nothing for other types."""
    if not dataclasses.is_dataclass(kind):
        return ()
    return tuple((f.name, Place(kind.__name__, f.name)) for f in dataclasses.fields(kind))


def _rewrite_mapping(value: Mapping[Any, Any], visit: Visit, place: Place) -> Any:
    changed = False
    items: dict[Any, Any] = {}
    for key, old in value.items():
        inner = dataclasses.replace(place, key=str(key))
        new_key = _rewrite(key, visit, dataclasses.replace(inner, is_key=True))
        new = _rewrite(old, visit, inner)
        changed = changed or new_key is not key or new is not old
        items[_unused(new_key, items)] = new
    return items if changed else value


def _unused(key: Any, taken: Mapping[Any, Any]) -> Any:
    if key not in taken:
        return key
    number = 2
    while f"{key} ({number})" in taken:
        number += 1
    return f"{key} ({number})"
