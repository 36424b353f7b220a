"""An optimizer's state dict: moments by the optimizer's own number of the parameter.

``torch.optim.Optimizer.state_dict`` gives ``{"state": {number: {moment: tensor}}, "param_groups":
[{..., "params": [numbers]}]}``; FSDP's has names in the place of numbers, torch before 0.4 the
``id`` of each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nanautopsy.checkpoints.stored import Part
from nanautopsy.checkpoints.torch_objects import Storages
from nanautopsy.checkpoints.torch_parts.walk import Leaf, walk

_MOST_NUMBER = 10_000_000
"""Larger numbers are addresses."""
_COUNTERS = frozenset({"step", "steps", "t"})


@dataclass(frozen=True, slots=True)
class Moment:
    """One tensor of the optimizer's state."""

    leaf: Leaf
    """Named ``state.<number>.<moment>`` or ``<parameter>.<moment>``."""
    part: Part
    moment: str
    parameter: str | None
    index: int | None


def is_optimizer(values: dict[Any, Any]) -> bool:
    """Whether a mapping is the state dict of an optimizer."""
    groups, state = values.get("param_groups"), values.get("state")
    return isinstance(state, dict) and isinstance(groups, (list, dict))


def moments(values: dict[Any, Any], storages: Storages) -> Iterator[Moment]:
    """The tensors of its state, in its own order."""
    numbers = _positions(values["param_groups"])
    for key, held in values["state"].items():
        name = key if isinstance(key, str) and not key.isdigit() else None
        number = None if name is not None else _number(key, numbers)
        if name is None and number is None:
            name = "?"
        prefix = name if name is not None else f"state.{number}"
        fields = held.items() if isinstance(held, dict) else ((None, held),)
        for field, value in fields:
            moment = str(field)[:200] if isinstance(field, (str, int)) else "value"
            for leaf in walk(value, storages, moment):
                if isinstance(leaf, Leaf):
                    part: Part = "state" if moment in _COUNTERS else "moment"
                    renamed = replace(leaf, name=f"{prefix}.{leaf.name}")
                    yield Moment(renamed, part, leaf.name, name, number)


def _positions(groups: Any) -> dict[Any, int]:
    """The place of each parameter in the groups, one after the other."""
    places: dict[Any, int] = {}
    for group in groups if isinstance(groups, list) else ():
        members = group.get("params") if isinstance(group, dict) else None
        for member in members if isinstance(members, (list, tuple)) else ():
            if isinstance(member, (int, str)) and member not in places:
                places[member] = len(places)
    return places


def group_sizes(values: dict[Any, Any]) -> tuple[int, ...]:
    """How many parameters each group counts; nothing where that cannot be told."""
    groups = values["param_groups"]
    members = [g.get("params") if isinstance(g, dict) else None for g in groups]
    sizes = tuple(len(m) for m in members if isinstance(m, (list, tuple)))
    return sizes if len(sizes) == len(members) and sum(sizes) < _MOST_NUMBER else ()


def _number(key: Any, places: dict[Any, int]) -> int | None:
    if isinstance(key, str):
        key = int(key) if len(key) < 10 else None
    if not isinstance(key, int) or isinstance(key, bool):
        return None
    if 0 <= key < _MOST_NUMBER:
        return key
    return places.get(key)


def group_settings(values: dict[Any, Any]) -> dict[str, Any]:
    """What each parameter group sets: learning rate, eps, betas, without its parameters.

    Under ``optimizer.<group>``: its ``lr`` is the one of that moment, not the run's setting.
    """
    groups = values["param_groups"]
    kept = {}
    for i, group in enumerate(groups[:16] if isinstance(groups, list) else ()):
        if isinstance(group, dict):
            kept[str(i)] = {key: value for key, value in group.items() if key != "params"}
    return {"optimizer": kept}
