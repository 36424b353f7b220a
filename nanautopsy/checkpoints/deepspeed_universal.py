"""DeepSpeed's universal checkpoints: one directory a parameter, one file a state of it.

``<tag>_universal/zero/<parameter>/{fp32,exp_avg,exp_avg_sq,step}.pt``, each a dictionary whose
``param`` is the whole tensor (``deepspeed/checkpoint/ds_to_universal.py``). The weights' files
beside ``zero`` are those of any DeepSpeed checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from nanautopsy.checkpoints._read_budget import within_budget
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import Part, StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_objects import BadTensor, tensor_of
from nanautopsy.checkpoints.torch_parts.opening import open_torch
from nanautopsy.checkpoints.zero.groups import MASTER
from nanautopsy.model import Artifact, Claim, FileHead, Problem, Record, Skipped, Source
from nanautopsy.wording import phrase

_STATE = re.compile(r"(?:(?P<root>.+)/)?zero/(?P<parameter>[^/]+)/(?P<state>\w{1,60})\.pt")
_SHARED = re.compile(r"(?:(?P<root>.+)/)?zero/optimizer_state\.pt")
_WEIGHT = "fp32"
_KNOWN = frozenset({_WEIGHT, "exp_avg", "exp_avg_sq", "step", "momentum_buffer", "max_exp_avg_sq"})
_COUNTERS = frozenset({"step"})


class UniversalReader:
    """Claims by place and name: a file of its own for every state of every parameter."""

    name = "deepspeed-universal"

    def claim(self, file: FileHead) -> Claim | None:
        match = _STATE.fullmatch(file.path)
        if match is not None and match["state"] not in _KNOWN:
            match = match if (match["root"] or "").endswith("_universal") else None
        match = match or _SHARED.fullmatch(file.path)
        if match is None:
            return None
        return Claim(
            self.name, 97, "zero", root=f"{match['root']}/zero" if match["root"] else "zero"
        )

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``, unless no file can be opened."""
        tensors: list[StoredTensor] = []
        missing: list[str] = []
        trained = {
            match["parameter"]
            for path, _ in artifact.members
            if (match := _STATE.fullmatch(path)) and match["state"] != _WEIGHT
        }
        first: str | None = None
        for file in artifact.files:
            match = _STATE.fullmatch(file.path)
            if match is None:
                continue
            empty = _empty(match["parameter"], match["state"], match["parameter"] in trained)
            tensor, problems = _read_file(file, empty)
            yield from problems
            if tensor is not None:
                tensors.append(tensor)
            elif problems:
                first = first or problems[0].text
                missing.append(empty.name)
        if not tensors and first is not None:
            yield Skipped(first)
            return
        budget = within_budget(tensors, artifact.bytes)
        yield StoredCheckpoint(
            path=_directory(artifact.path),
            kind=self.name,
            step=step_of(artifact.path),
            tensors=tuple(budget.tensors),
            holds="optimizer",
            missing=(*missing, *budget.refused),
        )


READER = UniversalReader()


def _directory(path: str) -> str:
    match = _STATE.fullmatch(path) or _SHARED.fullmatch(path)
    root = match["root"] if match is not None else None
    return f"{root}/zero" if root else "zero"


def _empty(parameter: str, state: str, is_trained: bool) -> StoredTensor:
    """What one file is to its parameter. Buffers and frozen weights have no moments."""
    if state == _WEIGHT and not is_trained:
        return StoredTensor(parameter, "F32", (), ())
    if state == _WEIGHT:
        return StoredTensor(f"{parameter}.{MASTER}", "F32", (), (), "master", parameter)
    part: Part = "state" if state in _COUNTERS else "moment"
    name = f"{parameter}.{state}"
    if part == "state":
        return StoredTensor(name, "F32", (), (), part)
    return StoredTensor(name, "F32", (), (), part, parameter, state)


def _read_file(file: DataFile, empty: StoredTensor) -> tuple[StoredTensor | None, list[Problem]]:
    """The file's tensor, called what ``empty`` is called; ``None`` without a problem for a number
    that is no tensor."""
    loaded, problems = open_torch(file)
    if loaded is None:
        return None, problems
    value = loaded.value
    if isinstance(value, dict):
        value = value.get("param")
    try:
        tensor = tensor_of(value, loaded.storages)
    except BadTensor as error:
        source = Source(file.path, tensor=empty.name)
        return None, [
            *problems,
            Problem(phrase("the tensor cannot be read: {error}", error=error), source),
        ]
    if tensor is None:
        return None, problems
    found = replace(
        empty,
        dtype=tensor.dtype,
        shape=tensor.shape,
        pieces=tensor.pieces,
        big_endian=tensor.big_endian,
    )
    return found, problems
