"""Megatron-LM's own checkpoints: one torch file a model-parallel rank, as one checkpoint.

``iter_<n>/mp_rank_<tensor>[_<pipeline>[_<expert>]]/model_optim_rng.pt``, with the distributed
optimizer's ``distrib_optim.pt`` beside it (``megatron/training/checkpointing.py``). Its
``torch_dist`` form is that of :mod:`.torch_distributed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nanautopsy.checkpoints._part_labels import told_apart
from nanautopsy.checkpoints._read_budget import within_budget
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.state_dicts import Contents, describe
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_parts.opening import open_torch
from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    Problem,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.wording import phrase

_FILE = re.compile(
    r"(?:(?P<root>.+)/)?(?P<part>mp_rank_\d{1,7}(?:_\d{1,7}){0,2})"
    r"/(?:model_optim_rng|model_rng|distrib_optim|optim)\.pt"
)
_SPLITS = ("tensor_model_parallel_size", "pipeline_model_parallel_size")
_EXPERTS = "expert_model_parallel_size"
_MOST_PARTS = 1 << 20


@dataclass(slots=True)
class _Gathered:
    """What the files gave so far."""

    held: dict[str, list[tuple[str, StoredTensor]]] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    state: dict[str, Scalar] = field(default_factory=dict)
    settings: dict[str, dict[str, Scalar]] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    parts: dict[str, None] = field(default_factory=dict)
    unread: list[Problem] = field(default_factory=list)


class MegatronReader:
    """Claims by the directory and the file's name together."""

    name = "megatron"

    def claim(self, file: FileHead) -> Claim | None:
        match = _FILE.fullmatch(file.path)
        return None if match is None else Claim(self.name, 97, "mp_ranks", root=match["root"] or "")

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``, unless no file can be opened."""
        gathered = _Gathered()
        for file in artifact.files:
            match = _FILE.fullmatch(file.path)
            loaded, problems = open_torch(file)
            yield from problems
            if loaded is None or match is None:
                gathered.unread += problems
                continue
            contents = describe(loaded)
            source = Source(file.path)
            for kind, values in contents.settings:
                if kind not in gathered.settings:
                    gathered.settings[kind] = values
                    yield ConfigRecord(kind, values, source)
            if contents.packages and not gathered.packages:
                gathered.packages = contents.packages
                yield EnvironmentRecord(source, packages=contents.packages)
            yield from _take(contents, match["part"], file.path, gathered)
        if not gathered.parts:
            yield Skipped(
                gathered.unread[0].text if gathered.unread else phrase("no readable file")
            )
            return
        match = _FILE.fullmatch(artifact.path)
        directory = (match["root"] if match is not None else None) or "."
        yield from _check_parts(gathered, directory)
        yield _checkpoint(artifact, directory, gathered)


READER = MegatronReader()


def _take(contents: Contents, part: str, path: str, gathered: _Gathered) -> Iterator[Problem]:
    """Add one file's tensors, its moments named by its own weights."""
    gathered.parts[part] = None
    gathered.missing.update(dict.fromkeys(f"{name}@{part}" for name in contents.missing))
    if contents.missing:
        first, why = next(iter(contents.missing.items()))
        text = phrase(
            "{count} tensors cannot be read, the first is {first!r}: {why}",
            count=len(contents.missing),
            first=first,
            why=why,
        )
        yield Problem(text, Source(path, tensor=first))
    for key, value in contents.state.items():
        gathered.state.setdefault(key, value)
    alone = StoredCheckpoint(path, "torch", None, tuple(contents.tensors))
    for tensor in name_moments([alone])[0].tensors:
        # The other parts count their own parameters with the same numbers.
        gathered.held.setdefault(tensor.name, []).append((part, replace(tensor, index=None)))


def _check_parts(gathered: _Gathered, directory: str) -> Iterator[Problem]:
    """Whether all model-parallel ranks that the arguments speak of are here."""
    wanted = 1
    arguments = gathered.settings.get("training", {})
    with_experts = any(part.count("_") == 4 for part in gathered.parts)
    for key in (*_SPLITS, *((_EXPERTS,) if with_experts else ())):
        size = arguments.get(key)
        wanted *= size if type(size) is int and 0 < size < _MOST_PARTS else 1
    if len(gathered.parts) < wanted:
        text = phrase(
            "files of {count} of {wanted} model-parallel ranks can be read",
            count=len(gathered.parts),
            wanted=wanted,
        )
        yield Problem(text, Source(directory))


def _checkpoint(artifact: Artifact, directory: str, gathered: _Gathered) -> StoredCheckpoint:
    step, said = step_of(artifact.path), gathered.state.get("global_step")
    if step is None and isinstance(said, (int, float)) and 0 <= said < 1e9:
        step = int(said)
    budget = within_budget(told_apart(gathered.held), artifact.bytes)
    return StoredCheckpoint(
        path=directory,
        kind=MegatronReader.name,
        step=step,
        tensors=tuple(budget.tensors),
        missing=(*gathered.missing, *budget.refused),
        state=gathered.state,
    )
