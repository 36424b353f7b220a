"""Names for tensors that several model-parallel parts hold: of which part each one is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nanautopsy.checkpoints.stored import StoredTensor


def told_apart(held: Mapping[str, Sequence[tuple[str, StoredTensor]]]) -> Iterator[StoredTensor]:
    """Every tensor under a name of its own; ``held``: by name, (part, tensor).

    What only one part holds keeps its name; ``weight`` of several becomes ``weight@mp_rank_00``,
    and its moments ``weight@mp_rank_00.exp_avg``.
    """
    taken: set[str] = set()
    for same in held.values():
        for label, tensor in same:
            if len(same) > 1 and label:
                tensor = _labelled(tensor, label)
            number, name = 1, tensor.name
            while name in taken:
                number += 1
                name = f"{tensor.name}#{number}"
            taken.add(name)
            yield tensor if name == tensor.name else replace(tensor, name=name)


def _labelled(tensor: StoredTensor, label: str) -> StoredTensor:
    if tensor.parameter is None:
        return replace(tensor, name=f"{tensor.name}@{label}")
    parameter = f"{tensor.parameter}@{label}"
    rest = tensor.name.removeprefix(tensor.parameter)
    return replace(tensor, name=parameter + rest, parameter=parameter)
