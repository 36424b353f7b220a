"""Which parameter a numbered optimizer state belongs to.

PyTorch's optimizers count parameters; names are not saved. The count follows the order in which
the model registers its parameters, within one parameter group after the other. The Hugging Face
Trainer makes two groups: parameters with weight decay, then biases and norms without
(``transformers.Trainer.create_optimizer``); many scripts split by the number of dimensions, or
give each part of the model a group of its own.

A name is given only where it is certain: the weights beside the state are in order of
registration (a torch file keeps it, safetensors files are sorted by name), every shape and the
size of every group agrees under one of these groupings, and no other grouping that agrees says
otherwise. Where the optimizer counts fewer parameters than were saved (frozen ones, buffers), a
place is certain that is the only one possible. Where the order is not known, a parameter whose
shape only one tensor has is certain still.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.lineages import home
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor

_NORM = re.compile(r"(^|[._/])(\w*norm\w*|ln_?\w*|bn_?\w*|\w*_ln)\d*[._/]", re.IGNORECASE)
_BUFFER = re.compile(
    r"(^|[._/])(running_(mean|var)|num_batches_tracked|position_ids|masked_bias|inv_freq"
    r"|causal_mask|attn_mask|freqs_cis)$"
)
_ORDERED_KINDS = ("torch",)
"""Containers that keep the order of registration."""

_Numbers = Mapping[int, tuple[int, ...]]
_Split = tuple[list[StoredTensor], list[StoredTensor]]
_Grouping = Sequence[tuple[Sequence[StoredTensor], int]]
"""For each group of the optimizer the weights it may hold, in order, and how many it counts."""


def name_moments(checkpoints: Sequence[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """The checkpoints, in the same order, with the moments named whose parameter is certain."""
    checkpoints = [_with_own_moments(checkpoint) for checkpoint in checkpoints]
    beside: dict[tuple[str, int | None], list[StoredCheckpoint]] = {}
    for checkpoint in checkpoints:
        if checkpoint.holds == "model":
            beside.setdefault(_moment_of(checkpoint), []).append(checkpoint)
    return [
        _named(checkpoint, beside.get(_moment_of(checkpoint), [])) for checkpoint in checkpoints
    ]


def _with_own_moments(checkpoint: StoredCheckpoint) -> StoredCheckpoint:
    """State that a program saves of its own optimizer, under the names of the parameters:
    ``optimizer.out.weight.sum``, of the shape of ``out.weight``."""
    shapes = {t.name: t.shape for t in checkpoint.tensors if t.part == "parameter"}
    tensors = tuple(_as_moment(t, shapes) if t.part == "state" else t for t in checkpoint.tensors)
    return checkpoint if tensors == checkpoint.tensors else replace(checkpoint, tensors=tensors)


def _as_moment(tensor: StoredTensor, shapes: Mapping[str, tuple[int, ...]]) -> StoredTensor:
    path, _, moment = tensor.name.rpartition(".")
    while path:
        path = path.partition(".")[2]
        if path in shapes and shapes[path] == tensor.shape:
            return replace(tensor, part="moment", parameter=path, moment=moment)
    return tensor


def _moment_of(checkpoint: StoredCheckpoint) -> tuple[str, int | None]:
    return home(checkpoint.path), checkpoint.step


def _parameters(checkpoint: StoredCheckpoint) -> list[StoredTensor]:
    """What an optimizer counts: no buffers, of tied weights the first, no averaged copies."""
    seen = set()
    parameters = []
    names = {tensor.name for tensor in checkpoint.tensors}
    for tensor in checkpoint.tensors:
        if tensor.part != "parameter" or FORMATS[tensor.dtype].maximum is None:
            continue
        place = tuple((p.file.path, p.offset, p.strides) for p in tensor.pieces) or tensor.name
        is_copy = tensor.name.partition(".")[2] in names
        if place not in seen and not is_copy and not _BUFFER.search(tensor.name):
            parameters.append(tensor)
        seen.add(place)
    return parameters


def _named(checkpoint: StoredCheckpoint, beside: Sequence[StoredCheckpoint]) -> StoredCheckpoint:
    numbered = [t for t in checkpoint.tensors if t.parameter is None and t.index is not None]
    if not numbered:
        return checkpoint
    numbers = _shapes(numbered)
    names: dict[int, str] = {}
    own = _parameters(checkpoint)
    if own:
        names = _match(numbers, checkpoint.groups, own, checkpoint.kind in _ORDERED_KINDS, True)[1]
    else:
        answers = [
            _match(numbers, checkpoint.groups, parameters, model.kind in _ORDERED_KINDS, False)
            for model in beside
            if (parameters := _parameters(model))
        ]
        # Of a generator and a discriminator the one counts whose order fits.
        fitting = [found for fits, found in answers if fits] or [found for _, found in answers]
        names = _undisputed(fitting)
    taken = {tensor.name for tensor in checkpoint.tensors}
    tensors = tuple(_with_name(tensor, names, taken) for tensor in checkpoint.tensors)
    return replace(checkpoint, tensors=tensors)


def _undisputed(answers: Sequence[Mapping[int, str]]) -> dict[int, str]:
    """What at least one says and none says otherwise."""
    said: dict[int, set[str]] = {}
    for answer in answers:
        for number, name in answer.items():
            said.setdefault(number, set()).add(name)
    return {number: names.pop() for number, names in said.items() if len(names) == 1}


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


def _match(
    numbers: _Numbers,
    sizes: Sequence[int],
    parameters: list[StoredTensor],
    ordered: bool,
    together: bool,
) -> tuple[bool, dict[int, str]]:
    """Number to parameter name, for those that are certain, and whether any order fits.

    ``sizes``: parameters in each group, where that is known; ``together``: the weights are in the
    optimizer's own file.
    """
    count = sum(sizes) if sizes else max(numbers) + 1
    few = count * 2 < len(parameters) and not together
    if ordered and numbers and max(numbers) < count and not few:
        groupings = _groupings(parameters, sizes, count)
        answers = [_in_order(numbers, grouping) for grouping in groupings]
        fitting = [answer for answer in answers if answer is not None]
        if fitting:
            return True, {
                number: name
                for number, name in fitting[0].items()
                if name and all(other[number] == name for other in fitting)
            }
    return False, _by_unique_shape(numbers, parameters)


def _groupings(
    parameters: list[StoredTensor], sizes: Sequence[int], count: int
) -> Iterator[_Grouping]:
    """In what order the optimizer may have been given the parameters."""
    splits = [split for split in (_by_role(parameters), _by_dimensions(parameters)) if all(split)]
    if not sizes:
        if count == len(parameters):
            yield [(parameters, count)]
            for split in splits:
                yield [(group, len(group)) for group in split]
    elif len(sizes) == 1:
        yield [(parameters, count)]
    else:
        if len(sizes) == 2:
            for split in splits:
                yield list(zip(split, sizes, strict=True))
                yield list(zip(split[::-1], sizes, strict=True))
        if count == len(parameters):
            yield _cut(parameters, sizes)
            yield _cut(parameters, sizes[::-1])[::-1]


def _cut(parameters: Sequence[StoredTensor], sizes: Sequence[int]) -> _Grouping:
    ends = list(accumulate(sizes))
    return [(parameters[end - size : end], size) for end, size in zip(ends, sizes, strict=True)]


def _in_order(numbers: _Numbers, grouping: _Grouping) -> dict[int, str] | None:
    """Each number's name, "" where several are possible; ``None`` where the shapes do not fit."""
    names = {}
    start = 0
    for weights, size in grouping:
        wanted = [numbers.get(number) for number in range(start, start + size)]
        first = _places(wanted, [weight.shape for weight in weights])
        last = _places(wanted[::-1], [weight.shape for weight in reversed(weights)])
        if first is None or last is None:
            return None
        for i, (place, from_end) in enumerate(zip(first, reversed(last), strict=True)):
            certain = place == len(weights) - 1 - from_end
            names[start + i] = weights[place].name if certain else ""
        start += size
    return {number: names[number] for number in numbers}


def _places(
    wanted: Sequence[tuple[int, ...] | None], offered: Sequence[tuple[int, ...]]
) -> list[int] | None:
    """The earliest place of each wanted shape, one behind the other; ``None`` fits any."""
    places = []
    at = 0
    for left, shape in zip(range(len(wanted), 0, -1), wanted, strict=True):
        while at < len(offered) and shape is not None and offered[at] != shape:
            at += 1
        if at + left > len(offered):
            return None
        places.append(at)
        at += 1
    return places


def _by_unique_shape(numbers: _Numbers, parameters: list[StoredTensor]) -> dict[int, str]:
    owners = {tensor.shape: tensor.name for tensor in parameters}
    offered = Counter(tensor.shape for tensor in parameters)
    wanted = Counter(numbers.values())
    return {
        number: owners[shape]
        for number, shape in numbers.items()
        if shape and wanted[shape] == 1 and offered.get(shape) == 1
    }


def _by_role(parameters: list[StoredTensor]) -> _Split:
    return _split(parameters, lambda t: not (t.name.endswith("bias") or _is_norm(t.name)))


def _by_dimensions(parameters: list[StoredTensor]) -> _Split:
    return _split(parameters, lambda tensor: len(tensor.shape) >= 2)


def _is_norm(name: str) -> bool:
    return bool(_NORM.search(name))


def _split(parameters: list[StoredTensor], decays: Callable[[StoredTensor], bool]) -> _Split:
    return [t for t in parameters if decays(t)], [t for t in parameters if not decays(t)]
