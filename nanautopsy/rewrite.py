"""Rewriting every piece of text inside frozen dataclasses, without naming their fields.

Redaction and the renderers' cleaning both walk the whole result this way, so a field added to
the model later is covered without anybody thinking of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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
    if isinstance(value, str):
        new = visit(value, place)
        return value if new == value else new
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return visit(value, place) if place.key is not None else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _rewrite_dataclass(value, visit, place)
    if isinstance(value, Mapping):
        return _rewrite_mapping(value, visit, place)
    if isinstance(value, (tuple, list)):
        items = [_rewrite(item, visit, place) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value


def _rewrite_dataclass(value: Any, visit: Visit, place: Place) -> Any:
    owner = type(value).__name__
    changed = {}
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        new = _rewrite(old, visit, Place(owner, field.name, place.key))
        if new is not old:
            changed[field.name] = new
    return dataclasses.replace(value, **changed) if changed else value


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
