"""The files of a DeepSpeed tag directory: what their names say, and what they hold.

Names are those of ``deepspeed/runtime/engine.py`` (``_get_ckpt_name``, ``_get_zero_ckpt_name``,
``_get_expert_ckpt_name``) and ``deepspeed/runtime/pipe/module.py`` (``ckpt_layer_path``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.pickle_data import Call
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.checkpoints.torch_load import TorchFile
from nanautopsy.checkpoints.torch_objects import BadTensor, Storages, tensor_of
from nanautopsy.checkpoints.torch_parts.settings import number_of
from nanautopsy.checkpoints.torch_parts.tables import Storage
from nanautopsy.checkpoints.zero.maps import Shapes

Role: TypeAlias = Literal["model", "optimizer", "layer", "expert"]

_NAMES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (
        "optimizer",
        re.compile(
            r"(?:bf16_|fp16_)?(?:zero_pp_rank_(?P<rank>\d{1,7})|expp_rank_(?P<number>\d{1,7}))"
            r"_(?P<part>mp_rank_\d+)_?optim_states\.pt"
        ),
    ),
    (
        "expert",
        re.compile(
            r"(?:layer_(?P<layer>\d{1,7})_)?expert_(?P<number>\d{1,7})"
            r"_(?P<part>mp_rank_\d+)_model_states\.pt"
        ),
    ),
    (
        "model",
        re.compile(
            r"(?:zero_pp_rank_(?P<rank>\d{1,7})_)?(?P<part>mp_rank_\d+(?:_\d+)?)_model_states\.pt"
        ),
    ),
    ("layer", re.compile(r"layer_(?P<number>\d{1,7})(?:-(?P<part>.{1,100}?))?-model_states\.pt")),
)
_MOST_DIMENSIONS = 64
_MOST_ELEMENTS = 1 << 60
"""More has no place in any file."""
_LONGEST_NAME = 1000
_OPEN_END = 1 << 61


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file's name says."""

    role: Role
    part: str
    """The model-parallel part, ``mp_rank_00``, ``model_01``; empty where the name has none."""
    rank: int | None = None
    """The data-parallel rank."""
    number: int | None = None
    """Of a layer or an expert."""


@dataclass(frozen=True, slots=True)
class StateFile:
    """One file that could be opened."""

    name: FileName
    file: DataFile
    content: dict[Any, Any]
    storages: Storages
    open_ended: Storages
    """The same, but a storage that reaches to the file's end may be larger: it was cut there, and
    what of a long vector is left is worth reading."""

    def mapping(self, key: str) -> dict[Any, Any]:
        """The dictionary under ``key``; empty where there is none."""
        return mapping(self.content.get(key))

    def vector(self, value: Any) -> StoredTensor | None:
        """The tensor that ``value`` stands for, if it is one; it may end past the file's end."""
        try:
            return tensor_of(value, self.open_ended)
        except BadTensor:
            return None


@dataclass(slots=True)
class Slices:
    """One rank's share of the optimizer's state."""

    source: StateFile
    rank: int
    weights: list[StoredTensor | None] = field(default_factory=list)
    """Flat fp32 copies, one a group."""
    moments: dict[str, list[StoredTensor | None]] = field(default_factory=dict)
    """By name of the moment, flat, one a group."""
    others: dict[str, StoredTensor] = field(default_factory=dict)
    """Further tensors of the state, by ``state.<group>.<name>``."""
    step: float | None = None
    """How many steps the optimizer had made."""
    counts: list[int] = field(default_factory=list)
    """Into how many parts each group was cut; one number for all at stage 3."""
    gaps: list[list[int]] = field(default_factory=list)
    stage: int | None = None

    @property
    def is_third_stage(self) -> bool:
        """Each parameter was cut by itself."""
        return self.stage == 3


def name_of(name: str) -> FileName | None:
    """What a base name says; ``None`` for one that DeepSpeed does not give."""
    for role, pattern in _NAMES:
        match = pattern.fullmatch(name)
        if match is not None:
            found = match.groupdict()
            rank, number = found.get("rank"), found.get("number")
            return FileName(
                role,
                found["part"] or "",
                None if rank is None else int(rank),
                None if number is None else int(number),
            )
    return None


def state_file(name: FileName, loaded: TorchFile) -> StateFile | None:
    """The file as its content; ``None`` when that is no dictionary."""
    if not isinstance(loaded.value, dict):
        return None
    own = loaded.storages
    end = loaded.file.size
    by_key = {
        key: replace(storage, nbytes=_OPEN_END) if _is_cut(storage, end) else storage
        for key, storage in own.by_key.items()
    }
    open_ended = Storages(own.file, by_key, own.big_endian)
    return StateFile(name, loaded.file, loaded.value, own, open_ended)


def _is_cut(storage: Storage, end: int) -> bool:
    return storage.nbytes > 0 and storage.offset + storage.nbytes >= end


# --- plain values, none of them believed ----------------------------------------------------------


def mapping(value: Any) -> dict[Any, Any]:
    """``value`` if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """``value`` as a list if it is a sequence, else an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else []


def whole_number(value: Any) -> int | None:
    """A non-negative integer, also as the value of an enumeration's member."""
    if isinstance(value, Call) and len(value.args) == 1:
        value = value.args[0]
    return value if type(value) is int and 0 <= value < _MOST_ELEMENTS else None


def shapes_of(value: Any) -> list[Shapes] | None:
    """``param_shapes``: one table a group; a single table before 0.3.15."""
    groups = [value] if isinstance(value, dict) and value else items(value)
    tables = [table_of(group) for group in groups]
    return [table for table in tables if table is not None] if all(tables) and tables else None


def table_of(value: Any) -> dict[str, tuple[int, ...]] | None:
    """Parameter name to shape; ``None`` when any entry is neither."""
    table: dict[str, tuple[int, ...]] = {}
    for name, shape in mapping(value).items():
        sizes = [whole_number(size) for size in items(shape)]
        usable = isinstance(name, str) and len(name) <= _LONGEST_NAME
        if not usable or not isinstance(shape, (list, tuple)) or len(sizes) > _MOST_DIMENSIONS:
            return None
        known = tuple(size for size in sizes if size is not None)
        if len(known) != len(sizes) or math.prod(known) > _MOST_ELEMENTS:
            return None
        table[name] = known
    return table


# --- one rank's optimizer state -------------------------------------------------------------------


def slices_of(source: StateFile, rank: int) -> Slices | None:
    """Stages 1 to 3; ``None`` for a file that holds no flat fp32 weights."""
    state = source.mapping("optimizer_state_dict")
    flat = state.get("fp32_flat_groups")
    third = flat is not None
    if flat is None:
        flat = state.get("single_partition_of_fp32_groups") or state.get("fp32_groups")
    groups = [source.vector(value) for value in items(flat)]
    if not groups:
        return None
    stage = whole_number(state.get("zero_stage"))
    found = Slices(source, rank, stage=3 if third else stage)
    found.weights = groups
    count = state.get("partition_count")
    counts = items(count) if isinstance(count, (list, tuple)) else [count] * len(groups)
    found.counts = [whole_number(number) or 0 for number in counts]
    paddings = items(state.get("param_alignment_paddings"))
    found.gaps = [[whole_number(gap) or 0 for gap in items(row)] for row in paddings]
    base = state.get("optimizer_state_dict" if third else "base_optimizer_state")
    _take_moments(found, base)
    return found


def _take_moments(found: Slices, base: Any) -> None:
    """Sort the state's tensors; ``base`` is a torch optimizer's dict or a list, one a group."""
    by_group = dict(enumerate(base)) if isinstance(base, (list, tuple)) else mapping(base)
    if "state" in by_group:
        by_group = mapping(by_group["state"])
    for group in range(len(found.weights)):
        for key, value in mapping(by_group.get(group)).items():
            if key == "step" and found.step is None:
                found.step = number_of(value, found.source.storages)
            tensor = found.source.vector(value) if isinstance(key, str) and key != "step" else None
            if tensor is None:
                continue
            if _is_slice(tensor, found.weights[group]):
                column = found.moments.setdefault(key, [None] * len(found.weights))
                column[group] = tensor
            elif tensor.numel:
                found.others[f"state.{group}.{key}"] = tensor


def _is_slice(tensor: StoredTensor, weights: StoredTensor | None) -> bool:
    """As long as the weights, or longer by the padding that was cut off them."""
    if len(tensor.shape) != 1:
        return False
    return tensor.numel > 1 if weights is None else tensor.numel >= weights.numel > 0
