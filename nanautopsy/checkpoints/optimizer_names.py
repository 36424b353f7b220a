"""Which parameter a numbered optimizer state belongs to.

PyTorch's optimizers count parameters; names are not saved. The count follows the order in which
the model registers its parameters, within one parameter group after the other. The Hugging Face
Trainer makes two groups: parameters with weight decay, then biases and norms without
(``transformers.Trainer.create_optimizer``); many scripts split by the number of dimensions.

A name is given only where it is certain: the weights beside the state are in order of
registration (a torch file keeps it, safetensors files are sorted by name), every shape agrees
under one of these groupings, and no other grouping that agrees says otherwise. Where the order is
not known, a parameter whose shape only one tensor has is certain still.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.lineages import home
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor

_NORM = re.compile(r"(^|[._/])(\w*norm\w*|ln_?\w*|bn_?\w*|\w*_ln)\d*[._/]", re.IGNORECASE)
_BUFFER = re.compile(
    r"(^|[._/])(running_(mean|var)|num_batches_tracked|position_ids|masked_bias|inv_freq"
    r"|causal_mask|freqs_cis)$"
)
_ORDERED_KINDS = ("torch",)
"""Containers that keep the order of registration."""

_Groups = tuple[list[StoredTensor], ...]
_Numbers = Mapping[int, tuple[int, ...]]


def name_moments(checkpoints: Sequence[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """The checkpoints, in the same order, with the moments named whose parameter is certain."""
    models: dict[tuple[str, int | None], StoredCheckpoint] = {}
    for checkpoint in checkpoints:
        if checkpoint.holds == "model" and _parameters(checkpoint):
            models.setdefault((home(checkpoint.path), checkpoint.step), checkpoint)
    named = []
    for checkpoint in checkpoints:
        model = checkpoint if _parameters(checkpoint) else None
        model = model or models.get((home(checkpoint.path), checkpoint.step))
        named.append(_named(checkpoint, model) if model is not None else checkpoint)
    return named


def _parameters(checkpoint: StoredCheckpoint) -> list[StoredTensor]:
    """What an optimizer counts: no buffers, and of tied weights the first."""
    seen = set()
    parameters = []
    for tensor in checkpoint.tensors:
        place = tuple((p.file.path, p.offset, p.strides) for p in tensor.pieces) or tensor.name
        is_float = FORMATS[tensor.dtype].maximum is not None
        if tensor.part == "parameter" and is_float and not _BUFFER.search(tensor.name):
            if place not in seen:
                parameters.append(tensor)
            seen.add(place)
    return parameters


def _named(checkpoint: StoredCheckpoint, model: StoredCheckpoint) -> StoredCheckpoint:
    numbered = [t for t in checkpoint.tensors if t.parameter is None and t.index is not None]
    if not numbered:
        return checkpoint
    names = _match(_shapes(numbered), _parameters(model), model.kind in _ORDERED_KINDS)
    taken = {tensor.name for tensor in checkpoint.tensors}
    tensors = tuple(_with_name(tensor, names, taken) for tensor in checkpoint.tensors)
    return replace(checkpoint, tensors=tensors)


def _with_name(tensor: StoredTensor, names: Mapping[int, str], taken: set[str]) -> StoredTensor:
    if tensor.parameter is not None or tensor.index is None or tensor.index not in names:
        return tensor
    parameter = names[tensor.index]
    name = f"{parameter}.{tensor.moment}"
    if name in taken:
        return tensor
    taken.add(name)
    return replace(tensor, name=name, parameter=parameter)


def _shapes(numbered: Iterable[StoredTensor]) -> _Numbers:
    """The shape of each numbered parameter: that of its largest moment (``step`` is a scalar)."""
    shapes: dict[int, tuple[int, ...]] = {}
    for tensor in numbered:
        assert tensor.index is not None
        known = shapes.get(tensor.index)
        if known is None or len(tensor.shape) > len(known):
            shapes[tensor.index] = tensor.shape
    return dict(sorted(shapes.items()))


def _match(numbers: _Numbers, parameters: list[StoredTensor], ordered: bool) -> dict[int, str]:
    """Number to parameter name, for those that are certain."""
    if ordered:
        answers = [_in_order(numbers, group(parameters)) for group in _GROUPINGS]
        fitting = [answer for answer in answers if answer is not None]
        if fitting:
            return {
                number: name
                for number, name in fitting[0].items()
                if all(other[number] == name for other in fitting)
            }
    return _by_unique_shape(numbers, parameters)


def _in_order(numbers: _Numbers, groups: _Groups) -> dict[int, str] | None:
    """The names when every number's shape agrees with the tensor in its place."""
    order = [tensor for group in groups for tensor in group]
    if list(numbers) != list(range(len(order))):
        return None
    if any(numbers[i] != tensor.shape for i, tensor in enumerate(order)):
        return None
    return {i: tensor.name for i, tensor in enumerate(order)}


def _by_unique_shape(numbers: _Numbers, parameters: list[StoredTensor]) -> dict[int, str]:
    owners = {tensor.shape: tensor.name for tensor in parameters}
    offered = Counter(tensor.shape for tensor in parameters)
    wanted = Counter(numbers.values())
    return {
        number: owners[shape]
        for number, shape in numbers.items()
        if shape and wanted[shape] == 1 and offered.get(shape) == 1
    }


def _one_group(parameters: list[StoredTensor]) -> _Groups:
    return (parameters,)


def _by_role(parameters: list[StoredTensor]) -> _Groups:
    return _split(parameters, lambda t: not (t.name.endswith("bias") or _is_norm(t.name)))


def _by_dimensions(parameters: list[StoredTensor]) -> _Groups:
    return _split(parameters, lambda tensor: len(tensor.shape) >= 2)


def _is_norm(name: str) -> bool:
    return bool(_NORM.search(name))


def _split(parameters: list[StoredTensor], decays: Callable[[StoredTensor], bool]) -> _Groups:
    return [t for t in parameters if decays(t)], [t for t in parameters if not decays(t)]


_GROUPINGS: tuple[Callable[[list[StoredTensor]], _Groups], ...] = (
    _one_group,
    _by_role,
    _by_dimensions,
)
