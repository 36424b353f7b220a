"""What a saved object is made of: model, optimizer, scaler, scheduler, settings, versions.

No trainer is asked for: parts are told by their shape (an optimizer has ``state`` and
``param_groups``) and by the keys that trainers commonly use: PyTorch's tutorials, Lightning,
Hugging Face, Megatron, fairseq, mmengine, timm, nanoGPT, Ultralytics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_data import Call, Global
from nanautopsy.checkpoints.stored import Part, StoredTensor
from nanautopsy.checkpoints.torch_load import TorchFile
from nanautopsy.checkpoints.torch_objects import Storages
from nanautopsy.checkpoints.torch_parts.facts import facts_of, note_facts, versions_of
from nanautopsy.checkpoints.torch_parts.optimizer import (
    group_settings,
    group_sizes,
    is_optimizer,
    moments,
)
from nanautopsy.checkpoints.torch_parts.settings import settings_of
from nanautopsy.checkpoints.torch_parts.walk import Leaf, Table, key_name, walk
from nanautopsy.model import Scalar

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "model_weights",
)
"""Keys whose value is the model: no part of its tensors' names. The first that is there counts."""
_MOST_WRAPPERS = 3
_STATE = re.compile(
    r"(^|[._])(rng|random|sampler|dataloader|scheduler|lr_sched\w*|scaler|callbacks|loops|loop"
    r"|hyper_parameters|hparams|args|cfg|config|meta|rerun_state_machine|extra_state|message_hub"
    r"|trainer|stats|history|metrics|losses|best_\w+|optimizers?|optim|opt|amp)([._]|$|_state)",
    re.IGNORECASE,
)
"""Top-level keys under which no weights stand."""
_MASTER = re.compile(r"(^|\.)(fp32_from_fp16\w*|fp32_groups\w*|master_(params|weights)\w*)(\.|$)")
_SETTINGS: Mapping[str, str] = {
    "hyper_parameters": "training",
    "hparams": "training",
    "args": "training",
    "train_args": "training",
    "training_args": "training",
    "cfg": "training",
    "config": "training",
    "opt": "training",
    "opts": "training",
    "train_config": "training",
    "ds_config": "deepspeed",
    "model_args": "model",
    "model_config": "model",
}
"""Top-level key to the kind of the settings under it."""
_SETTINGS_CLASS = re.compile(r"(Arguments|Args|Config|Namespace|Options|HParams|Cfg)$")


@dataclass(slots=True)
class Contents:
    """What one torch file holds."""

    tensors: list[StoredTensor] = field(default_factory=list)
    """Names are unique."""
    missing: dict[str, str] = field(default_factory=dict)
    """Name of a tensor that cannot be read, to the reason."""
    state: dict[str, Scalar] = field(default_factory=dict)
    settings: list[tuple[str, dict[str, Scalar]]] = field(default_factory=list)
    """(kind, flat settings)."""
    packages: dict[str, str] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    """How many parameters each group of its only optimizer counts."""


def describe(loaded: TorchFile, all_state: bool = False) -> Contents:
    """Name every tensor of the object and say which part of the training it is.

    ``all_state``: the file is known to hold no weights (random generators, a scheduler).
    """
    contents = Contents()
    root, storages = loaded.value, loaded.storages
    if isinstance(root, dict):
        if not all_state:  # a counter beside random generators is no step
            contents.state |= facts_of(root, storages)
        note_facts(root, storages, contents.state)
        contents.packages = versions_of(root)
    for kind, value in _settings(root):
        flat = settings_of(value)
        if flat:
            contents.settings.append((kind, flat))
    optimizers: list[Table] = []
    for name, value in _sections(root):
        is_state = all_state or (bool(name) and _STATE.search(name) is not None)
        _collect(name, value, storages, contents, optimizers, is_state)
    for number, table in enumerate(optimizers):
        _add_optimizer(table, storages, contents, first=number == 0, only=len(optimizers) == 1)
    contents.groups = group_sizes(optimizers[0].values) if len(optimizers) == 1 else ()
    contents.tensors = list(_unique(contents.tensors))
    return contents


# --- sections -----------------------------------------------------------------------------------


def _sections(root: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of the top level, wrappers around the model taken off."""
    beside: list[tuple[str, Any]] = []
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(root, dict) or _is_state_dict(root):
            break
        wrapper = next((key for key in _WRAPPERS if _holds_model(root.get(key))), None)
        if wrapper is None:
            break
        beside += [(key_name(key), value) for key, value in root.items() if key != wrapper]
        root = root[wrapper]
    if isinstance(root, dict) and not is_optimizer(root) and not _is_state_dict(root):
        yield from ((key_name(key), value) for key, value in root.items())
    else:
        yield "", root
    yield from beside


def _is_state_dict(values: dict[Any, Any]) -> bool:
    """Whether most of what it holds are tensors."""
    tensors = sum(map(_is_tensor_like, values.values()))
    return tensors * 2 > len(values)


def _holds_model(value: Any) -> bool:
    if isinstance(value, Call):
        return bool(value.attributes)
    return isinstance(value, dict) and bool(value) and not is_optimizer(value)


def _is_tensor_like(value: Any) -> bool:
    return (
        isinstance(value, Call)
        and isinstance(value.function, Global)
        and value.function.name.startswith("_rebuild")
    )


def _collect(
    name: str,
    value: Any,
    storages: Storages,
    contents: Contents,
    optimizers: list[Table],
    is_state: bool,
) -> None:
    """List the tensors of one section; optimizers in it are put aside."""
    found = walk(value, storages, name)
    answer: bool | None = None
    while True:
        try:
            item = found.send(answer)
        except StopIteration:
            return
        answer = None
        if isinstance(item, Table):
            note_facts(item.values, storages, contents.state)
            if is_optimizer(item.values):
                optimizers.append(item)
                answer = True
        elif item.tensor is None:
            contents.missing.setdefault(item.name or "tensor", item.why)
        else:
            # A number that stands beside the model is a loss or a score.
            is_score = bool(name) and item.name == name and item.tensor.shape == ()
            part = _part(item, is_state or is_score)
            contents.tensors.append(_named(item.tensor, item.name or "tensor", part))


def _named(tensor: StoredTensor, name: str, part: Part) -> StoredTensor:
    """The nameless tensor with its name; ``dataclasses.replace`` takes three times as long."""
    return StoredTensor(
        name, tensor.dtype, tensor.shape, tensor.pieces, part, big_endian=tensor.big_endian
    )


def _part(leaf: Leaf, is_state: bool) -> Part:
    if _MASTER.search(leaf.name):
        return "master"
    if is_state or leaf.name.endswith("_extra_state"):
        return "state"
    if leaf.part is not None:
        return leaf.part
    tensor = leaf.tensor
    is_count = tensor is not None and FORMATS[tensor.dtype].maximum is None
    return "buffer" if is_count else "parameter"


def _add_optimizer(
    table: Table, storages: Storages, contents: Contents, first: bool, only: bool
) -> None:
    """List one optimizer's moments. Numbers of two optimizers would mean different parameters."""
    prefix = "" if first else f"{table.name}."
    for moment in moments(table.values, storages):
        name = prefix + moment.leaf.name
        if moment.leaf.tensor is None:
            contents.missing.setdefault(name, moment.leaf.why)
            continue
        contents.tensors.append(
            replace(
                moment.leaf.tensor,
                name=name,
                part=moment.part,
                parameter=moment.parameter,
                moment=moment.moment,
                index=moment.index if only and moment.part == "moment" else None,
            )
        )
    # Master weights stand beside the state (Megatron, apex).
    for key, value in table.values.items():
        if key not in ("state", "param_groups"):
            for item in walk(value, storages, prefix + key_name(key)):
                if isinstance(item, Leaf) and item.tensor is not None:
                    part: Part = "master" if _MASTER.search(item.name) else "state"
                    contents.tensors.append(replace(item.tensor, name=item.name, part=part))
    flat = settings_of(group_settings(table.values))
    if flat and first:
        contents.settings.append(("optimizer", flat))
        rate = flat.get("optimizer.0.lr")
        if isinstance(rate, (int, float)):
            contents.state.setdefault("learning_rate", rate)


def _unique(tensors: list[StoredTensor]) -> Iterator[StoredTensor]:
    """The tensors, a name that was taken already made different."""
    taken: dict[str, int] = {}
    for tensor in tensors:
        name = tensor.name
        count = taken.get(name, 0)
        taken[name] = count + 1
        if count:
            name = f"{name}#{count + 1}"
            taken[name] = 1
        yield tensor if name == tensor.name else replace(tensor, name=name)


# --- settings -----------------------------------------------------------------------------------


def _settings(root: Any) -> Iterator[tuple[str, Any]]:
    """(kind, value) of everything that holds settings."""
    if isinstance(root, Call):
        name = root.function.name if isinstance(root.function, Global) else ""
        if _SETTINGS_CLASS.search(name):
            yield "training", root
    if isinstance(root, dict):
        for key, kind in _SETTINGS.items():
            value = root.get(key)
            if isinstance(value, (dict, Call)):
                yield kind, value
        meta = root.get("meta")
        if isinstance(meta, dict) and isinstance(meta.get("cfg"), (dict, Call)):
            yield "training", meta["cfg"]
