"""What the model, layer and expert files of a DeepSpeed checkpoint hold beside flat vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Part, StoredTensor
from nanautopsy.checkpoints.torch_parts.optimizer import group_settings, is_optimizer, moments
from nanautopsy.checkpoints.torch_parts.settings import number_of, settings_of
from nanautopsy.checkpoints.torch_parts.walk import Leaf, walk
from nanautopsy.checkpoints.zero.files import StateFile, items, mapping, table_of, whole_number
from nanautopsy.checkpoints.zero.groups import MASTER
from nanautopsy.checkpoints.zero.tensors import piece_of
from nanautopsy.model import Scalar

_STATED = {
    "skipped_steps": "skipped_steps",
    "global_steps": "global_step",
    "dp_world_size": "world_size",
    "epoch": "epoch",
}
_BASES = ("base_optimizer_state", "optimizer_state_dict")
"""Under which the wrapped optimizer's own state dict stands."""
_SCALE = ("cur_scale", "loss_scale", "scale")


def weights_of(source: StateFile) -> Iterator[Leaf]:
    """The weights and buffers of one file, by their full names.

    Stage 3 leaves tensors of no elements in the places of the weights that it has cut up.
    """
    module = source.content.get("module")
    prefix = ""
    if source.name.role in ("layer", "expert") and not isinstance(module, dict):
        module = source.content
        prefix = str(source.name.number) if source.name.role == "layer" else ""
    buffers = {name for name in items(source.content.get("buffer_names")) if isinstance(name, str)}
    for leaf in walk(mapping(module), source.storages, prefix):
        if not isinstance(leaf, Leaf):
            continue
        if leaf.tensor is None:
            yield leaf
        elif leaf.tensor.numel:
            is_count = FORMATS[leaf.tensor.dtype].maximum is None
            part: Part = "buffer" if leaf.name in buffers or is_count else "parameter"
            tensor = replace(leaf.tensor, name=leaf.name, part=part)
            yield replace(leaf, tensor=tensor, part=part)


def frozen_slices(models: Sequence[StateFile], ranks: int, tell_rank: bool) -> list[StoredTensor]:
    """Stage 3: weights that are not trained, each cut into one slice a rank."""
    shapes = next((t for m in models if (t := table_of(m.content.get("frozen_param_shapes")))), {})
    found = []
    for name, shape in shapes.items():
        count = math.prod(shape)
        share = -(-count // ranks)
        pieces, dtype = [], None
        for model in models:
            rank = model.name.rank
            fragment = model.vector(model.mapping("frozen_param_fragments").get(name))
            if rank is None or fragment is None or fragment.dtype != (dtype or fragment.dtype):
                continue
            dtype = fragment.dtype
            first = rank * share
            told = rank if tell_rank else None
            piece = piece_of(fragment, 0, min(share, count - first), first, told)
            pieces += [piece] if piece is not None else []
        if dtype is not None:
            found.append(StoredTensor(name, dtype, shape, tuple(pieces)))
    return found


def plain_optimizer(source: StateFile) -> Iterator[StoredTensor]:
    """Without ZeRO the optimizer stands in the model file, parameter by parameter."""
    optimizer = source.mapping("optimizer")
    base = optimizer
    if not is_optimizer(base):
        base = mapping(optimizer.get("optimizer_state_dict"))
    if is_optimizer(base):
        for moment in moments(base, source.storages):
            if moment.leaf.tensor is not None:
                yield replace(
                    moment.leaf.tensor,
                    name=moment.leaf.name,
                    part=moment.part,
                    parameter=moment.parameter,
                    moment=moment.moment,
                    index=moment.index if moment.part == "moment" else None,
                )
    copies = [value for group in items(optimizer.get("fp32_groups")) for value in items(group)]
    for number, value in enumerate(copies):
        yield from _masters(source, value, f"state.{number}.{MASTER}", number)
    # A fused optimizer keeps one flat vector a group; what lies where is not said.
    for number, value in enumerate(items(optimizer.get("fp32_groups_flat"))):
        yield from _masters(source, value, f"group.{number}.{MASTER}", None)


def settings_of_optimizer(source: StateFile) -> dict[str, Scalar]:
    """Learning rate, eps, betas and the like of each parameter group."""
    inside = source.mapping("optimizer_state_dict") or source.mapping("optimizer")
    for table in (inside, *(mapping(inside.get(key)) for key in _BASES)):
        if "param_groups" in table:
            return settings_of(group_settings(table))
    return {}


def _masters(source: StateFile, value: Any, name: str, index: int | None) -> Iterator[StoredTensor]:
    for leaf in walk(value, source.storages, name):
        if isinstance(leaf, Leaf) and leaf.tensor is not None:
            yield replace(leaf.tensor, name=leaf.name, part="master", index=index)


def stated(files: Iterable[StateFile]) -> dict[str, Scalar]:
    """The numbers that the files state; of several that state one, the first."""
    state: dict[str, Scalar] = {}
    for source in files:
        content = source.content
        for key, name in _STATED.items():
            _note(state, name, source, content.get(key))
        inside = source.mapping("optimizer_state_dict") or source.mapping("optimizer")
        shares = (whole_number(n) for n in items(inside.get("partition_count")))
        if (most := max((n for n in shares if n), default=0)) > 1:
            state.setdefault("world_size", most)
        stage = whole_number(inside.get("zero_stage"))
        if stage is None:
            settings = mapping(source.mapping("ds_config").get("zero_optimization"))
            stage = whole_number(settings.get("stage"))
        if stage is not None:
            state.setdefault("zero_stage", stage)
        rate = settings_of_optimizer(source).get("optimizer.0.lr")
        if isinstance(rate, (int, float)):
            state.setdefault("learning_rate", rate)
        if isinstance(inside.get("overflow"), bool):
            # One rank that overflowed makes all of them skip.
            state["overflow"] = bool(state.get("overflow")) or inside["overflow"]
        scaler = inside.get("loss_scaler")
        for table in (getattr(scaler, "attributes", {}), mapping(scaler), inside):
            for key in _SCALE:
                _note(state, "loss_scale", source, table.get(key))
    return state


def _note(state: dict[str, Scalar], name: str, source: StateFile, value: Any) -> None:
    number = number_of(value, source.storages)
    if number is not None and not isinstance(number, bool):
        state.setdefault(name, number)
