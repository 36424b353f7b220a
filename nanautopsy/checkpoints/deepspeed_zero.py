"""DeepSpeed checkpoints: all files of one tag directory as one checkpoint.

Weights come from the model, layer and expert files, fp32 copies and moments from the optimizer
files of all ranks, cut back into parameters by :mod:`.zero.maps`. ``param_shapes`` decides which
parameter lies where; the ranks' own slice mappings are wrong under ``round_robin_gradients`` and
serve only where nothing else is left.
"""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.checkpoints.torch_parts.facts import versions_of
from nanautopsy.checkpoints.torch_parts.opening import open_torch
from nanautopsy.checkpoints.torch_parts.settings import settings_of
from nanautopsy.checkpoints.zero.files import StateFile, name_of, state_file
from nanautopsy.checkpoints.zero.gather import Gathered, gather
from nanautopsy.checkpoints.zero.model import settings_of_optimizer, stated
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

_SETTINGS = {"ds_config": "deepspeed", "args": "training", "hyper_parameters": "training"}
"""Key of a file's content to the kind of the settings under it."""


class DeepSpeedReader:
    """Claims by the names that the engine gives: a pickle's first block tells no more."""

    name = "deepspeed-zero"

    def claim(self, file: FileHead) -> Claim | None:
        return None if name_of(file.name) is None else Claim(self.name, 97, "tag")

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``, unless no file can be opened."""
        files: list[StateFile] = []
        unread: list[Problem] = []
        for file in artifact.files:
            loaded, problems = open_torch(file)
            yield from problems
            name = name_of(file.path.rpartition("/")[2])
            opened = state_file(name, loaded) if name is not None and loaded is not None else None
            if opened is not None:
                files.append(opened)
            elif loaded is not None:
                problems = [
                    Problem(phrase("holds no dictionary, as a state file does"), Source(file.path))
                ]
                yield from problems
            unread += problems if opened is None else []
        if not files:
            yield Skipped(unread[0].text if unread else phrase("no file could be opened"))
            return
        directory = artifact.path.rpartition("/")[0] or "."
        gathered = gather(files, directory)
        yield from gathered.problems
        yield from _statements(files)
        yield _checkpoint(artifact.path, directory, gathered, stated(files))


READER = DeepSpeedReader()


def _checkpoint(
    path: str, directory: str, gathered: Gathered, state: dict[str, Scalar]
) -> StoredCheckpoint:
    step, said = step_of(path), state.get("global_step")
    if step is None and isinstance(said, (int, float)) and 0 <= said < 1e9:
        step = int(said)
    names = {tensor.name for tensor in gathered.tensors}
    return StoredCheckpoint(
        path=directory,
        kind=DeepSpeedReader.name,
        step=step,
        tensors=tuple(gathered.tensors),
        missing=tuple(name for name in gathered.missing if name not in names),
        state=state,
    )


def _statements(files: list[StateFile]) -> Iterator[Record]:
    """Settings and versions, each kind from the first file that states it."""
    said: set[str] = set()
    for source in files:
        where = Source(source.file.path)
        found = [(kind, settings_of(source.content.get(key))) for key, kind in _SETTINGS.items()]
        found.append(("optimizer", settings_of_optimizer(source)))
        for kind, values in found:
            if values and kind not in said:
                said.add(kind)
                yield ConfigRecord(kind, values, where)
        packages = versions_of(source.content)
        if packages and "packages" not in said:
            said.add("packages")
            yield EnvironmentRecord(where, packages=packages)
