"""torch.distributed.checkpoint: ``.metadata`` and the ranks' ``.distcp`` shards as one checkpoint.

FSDP (both), torchtitan, torchtune, accelerate's and Megatron-Core's ``torch_dist`` directories are
of this form. Names, shapes and places come from the metadata, elements from the torch file that
each chunk is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nanautopsy.checkpoints._read_budget import within_budget
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.dcp.metadata import Entry, entries_of
from nanautopsy.checkpoints.dcp.salvage import chunks_of
from nanautopsy.checkpoints.dcp.tensors import Losses, joined, objects, rank_of
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_danger import dangers
from nanautopsy.checkpoints.pickle_data import interpret
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import Holds, Part, StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_load import TorchFile
from nanautopsy.checkpoints.torch_objects import BadTensor, tensor_of
from nanautopsy.checkpoints.torch_parts.settings import number_of, plain
from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    FileHead,
    Problem,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._flatten import flatten
from nanautopsy.wording import counted, phrase

_METADATA = re.compile(r"(__\d{1,7})?\.metadata")
_SHARD = re.compile(r"__\d{1,7}_\d+\.distcp")
_MODULE = b"torch.distributed.checkpoint"
_STEP_KEYS = ("global_step", "step", "iteration", "iter", "num_steps")
_FACTS = {"epoch": "epoch", "loss_scale": "loss_scale", "scale": "loss_scale"}


@dataclass(slots=True)
class _Found:
    """What the directory gave so far."""

    tensors: list[StoredTensor] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    state: dict[str, Scalar] = field(default_factory=dict)
    settings: dict[str, Scalar] = field(default_factory=dict)


class DistributedReader:
    """Claims shards by their names, the metadata by what it is a pickle of."""

    name = "torch-distributed"

    def claim(self, file: FileHead) -> Claim | None:
        if _SHARD.fullmatch(file.name):
            return Claim(self.name, 97, "shards")
        if _METADATA.fullmatch(file.name) and (_MODULE in file.head or not file.size):
            return Claim(self.name, 97, "shards")
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``, unless neither metadata nor a tensor can be read."""
        files = artifact.files
        directory = artifact.path.rpartition("/")[0] or "."
        shards = {f.path.rpartition("/")[2]: f for f in files if f.path.endswith(".distcp")}
        indices = [file for file in files if not file.path.endswith(".distcp")]
        found = _Found()
        entries: list[Entry] = []
        complete = bool(indices)
        for index in indices:
            listed, problems = _index(index, found)
            entries += listed
            complete = complete and bool(listed) and not problems
            yield from problems
        if entries:
            yield from _by_name(entries, shards, directory, found, complete)
        if not complete:
            text = phrase(
                "the metadata is not here, the save may not have been completed: which tensor is "
                "which is not known"
            )
            if indices:
                text = phrase("the metadata is damaged: which tensor is which is not known")
            yield Problem(text, Source(f"{directory}/.metadata"))
            used = {(chunk.path, chunk.offset) for entry in entries for chunk in entry.chunks}
            yield from _nameless(shards, used, found)
        if not found.tensors and not found.missing:
            yield Skipped(phrase("no tensor of it can be read"))
            return
        if found.settings:
            yield ConfigRecord("optimizer", found.settings, Source(directory))
        budget = within_budget(found.tensors, sum(file.size for file in shards.values()))
        found.missing.update(dict.fromkeys(budget.refused))
        if budget.refused:
            text = phrase(
                "chunks overlap many times over; {n} tensors left out", n=len(budget.refused)
            )
            yield Problem(text, Source(directory, tensor=budget.refused[0]))
        yield _checkpoint(artifact.path, directory, budget.tensors, found)


READER = DistributedReader()


def _checkpoint(
    path: str, directory: str, tensors: Sequence[StoredTensor], found: _Found
) -> StoredCheckpoint:
    step, said = step_of(path), found.state.get("global_step")
    if step is None and isinstance(said, (int, float)) and 0 <= said < 1e9:
        step = int(said)
    names = {tensor.name for tensor in tensors}
    return StoredCheckpoint(
        path=directory,
        kind=DistributedReader.name,
        step=step,
        tensors=tuple(tensors),
        holds=_holds(tensors),
        missing=tuple(name for name in found.missing if name not in names),
        state=found.state,
    )


def _holds(tensors: Sequence[StoredTensor]) -> Holds:
    parts = {tensor.part for tensor in tensors}
    if "parameter" in parts:
        return "model"
    return "optimizer" if parts & {"moment", "master"} else "unknown"


# --- with metadata --------------------------------------------------------------------------------


def _index(file: DataFile, found: _Found) -> tuple[list[Entry], list[Problem]]:
    """The entries of one metadata file, and what is wrong with it."""
    try:
        read = interpret(file)
    except OSError as error:
        return [], [Problem(f"cannot be read: {error.strerror or error}", Source(file.path))]
    damage = Damage(file.path)
    for text, offset in (*read.problems, *dangers([read])):
        damage.note(text, offset=offset)
    entries, unusable = entries_of(read.value)
    found.missing.update(dict.fromkeys(unusable))
    if unusable:
        damage.note(
            phrase(
                "{n} names have no usable description, the first is {first!r}",
                n=len(unusable),
                first=unusable[0][:200],
            )
        )
    elif not entries:
        damage.note(phrase("lists no tensor"))
    return entries, list(damage.problems())


def _by_name(
    entries: Sequence[Entry],
    shards: Mapping[str, DataFile],
    directory: str,
    found: _Found,
    complete: bool,
) -> Iterator[Problem]:
    """Fill ``found`` with what the metadata names; ``complete``: it names all there is."""
    losses = Losses()
    partial: list[tuple[str, int, int]] = []
    taken: set[str] = set()
    for entry in entries:
        if entry.shape is None:
            continue
        whole = joined(entry, shards, losses)
        numel = math.prod(entry.shape)
        name = entry.name if whole.meaning.name in taken else whole.meaning.name
        taken.add(name)
        if whole.tensor is None and numel:
            found.missing[name] = None
        elif whole.tensor is not None:
            found.tensors.append(replace(whole.tensor, name=name))
            if whole.present < numel:
                partial.append((name, whole.present, numel))
    _read_objects(entries, shards, losses, found)
    yield from _losses(losses, shards, directory)
    if partial:
        name, present, numel = partial[0]
        text = phrase(
            "{n} tensors lack elements, the first is {name!r} with {present} of {all}",
            n=len(partial),
            name=name,
            present=present,
            all=numel,
        )
        yield Problem(text, Source(directory, tensor=name))
    named = {chunk.path for entry in entries for chunk in entry.chunks}
    for path, file in shards.items():
        if complete and path not in named and file.size:
            text = phrase("the metadata names nothing in it: left by another save, not used")
            yield Problem(text, Source(file.path))


def _losses(losses: Losses, shards: Mapping[str, DataFile], directory: str) -> Iterator[Problem]:
    """One line for each shard and reason."""
    damage = Damage(directory)
    for (path, reason), count in losses.by_reason.items():
        place = shards[path].path if path in shards else f"{directory}/{path[:200]}"
        damage.note(
            counted(
                count,
                "{place}: {n} chunk lost: {reason}",
                "{place}: {n} chunks lost: {reason}",
                place=place,
                reason=reason,
            )
        )
    yield from damage.problems()
    for within in losses.damage.values():
        yield from within.problems()


def _read_objects(
    entries: Sequence[Entry], shards: Mapping[str, DataFile], losses: Losses, found: _Found
) -> None:
    """Steps, and settings of the optimizer under the names that other torch files have."""
    for path, value, loaded in objects(entries, shards, losses):
        number = number_of(value, loaded.storages)
        _, is_setting, key = ".".join(path).partition("param_groups")
        if is_setting:
            found.settings |= flatten({"optimizer" + key: plain(value)})
            if key.endswith(".lr") and number is not None:
                found.state.setdefault("learning_rate", number)
        elif number is not None and not isinstance(number, bool):
            _note(path[-1], number, found)


def _note(key: str, number: int | float, found: _Found) -> None:
    if key in _STEP_KEYS:
        found.state.setdefault("global_step", number)
    elif key in _FACTS:
        found.state.setdefault(_FACTS[key], number)


# --- without --------------------------------------------------------------------------------------


def _nameless(
    shards: Mapping[str, DataFile], used: set[tuple[str, int]], found: _Found
) -> Iterator[Problem]:
    """Every tensor in the shards that is not ``used``, under its place in the shard."""
    for name, file in shards.items():
        try:
            number = 0
            for begin, loaded in chunks_of(file):
                if (name, begin) not in used:
                    yield from _take_nameless(name, number, begin, loaded, found)
                number += 1
            if not number and file.size:
                yield Problem(phrase("holds no readable chunk"), Source(file.path, offset=0))
        except OSError as error:
            yield Problem(f"cannot be read: {error.strerror or error}", Source(file.path))


def _take_nameless(
    name: str, number: int, begin: int, loaded: TorchFile, found: _Found
) -> Iterator[Problem]:
    for text, offset in (*loaded.problems, *dangers(loaded.pickles)):
        yield Problem(text, Source(loaded.file.path, offset=offset))
    label = f"{name.removesuffix('.distcp')}[{number}]"
    try:
        tensor = tensor_of(loaded.value, loaded.storages)
    except BadTensor as error:
        found.missing[label] = None
        yield Problem(f"a tensor cannot be read: {error}", Source(loaded.file.path, offset=begin))
        return
    if tensor is not None:
        pieces = tuple(replace(piece, rank=rank_of(name)) for piece in tensor.pieces)
        is_count = FORMATS[tensor.dtype].maximum is None
        part: Part = "buffer" if is_count else "parameter"
        found.tensors.append(replace(tensor, name=label, pieces=pieces, part=part))
