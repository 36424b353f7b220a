"""HDF5: Keras' ``.h5``, ``.weights.h5`` and ``.keras``, and other files of named weights.

The optional package h5py tells where each dataset lies, in a process of its own
(:mod:`nanautopsy.checkpoints._hdf5_listing`); the elements are read without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nanautopsy.checkpoints._decoded_file import is_bomb
from nanautopsy.checkpoints._hdf5_datasets import BadDataset, NotNumbers, stored_dataset
from nanautopsy.checkpoints._hdf5_process import list_datasets
from nanautopsy.checkpoints._safetensors_header import quote
from nanautopsy.checkpoints._tree_paths import (
    Path,
    holds_of,
    like_parameters,
    too_much_data,
    with_roles,
)
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_parts.zip import BadZip, read_archive
from nanautopsy.discover import natural_key
from nanautopsy.model import (
    Artifact,
    Claim,
    EnvironmentRecord,
    FileHead,
    Record,
    Skipped,
    Source,
)
from nanautopsy.readers._damage import Damage
from nanautopsy.wording import phrase

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_EXTENSIONS = (".h5", ".hdf5", ".keras")
_WEIGHTS = "model.weights.h5"
_KERAS_GROUPS = ("model_weights", "optimizer_weights", "layers", "_layer_checkpoint_dependencies")
_NUMBERED = re.compile(r":\d+$")
_JOINED_MOMENT = re.compile(r"(?P<parameter>.+)_(?P<moment>momentum|velocity|velocity_hat)")


@dataclass(frozen=True, slots=True)
class _Inside:
    """An HDF5 file, or the one that a ``.keras`` archive holds."""

    file: DataFile
    begin: int
    size: int
    version: str | None
    """Of Keras, as the archive's metadata state it."""


class Hdf5Reader:
    """Claims by the signature, and Keras archives by their first member."""

    name = "hdf5"

    def claim(self, file: FileHead) -> Claim | None:
        if file.head.startswith(SIGNATURE):
            return Claim("hdf5", 92)
        if file.head.startswith(_ZIP) and file.name.endswith(".keras"):
            return Claim("keras", 93)
        if file.name.endswith(_EXTENSIONS) and not file.head.strip(b"\0"):
            return Claim("hdf5", 50)
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``, and Keras' version where the file states it."""
        (file,) = artifact.files
        damage = Damage(file.path)
        try:
            inside = _inside(file, artifact.kind)
            rows, reason = list_datasets(inside.file, inside.begin, inside.size)
        except (BadZip, OSError) as error:
            yield Skipped(str(error))
            return
        if reason is not None:
            damage.note(reason)
        version = inside.version or _version(rows)
        if version is not None:
            yield EnvironmentRecord(Source(file.path), {"keras": version})
        tensors, missing = _tensors(rows, inside, damage)
        yield from damage.problems()
        if not tensors and not missing:
            first = next(damage.problems(), None)
            yield Skipped(first.text if first else phrase("no array of numbers in it"))
            return
        yield _checkpoint(artifact, tensors, missing, known=_is_keras(rows, inside))


READER = Hdf5Reader()


def _checkpoint(
    artifact: Artifact,
    tensors: list[tuple[Path, StoredTensor]],
    missing: list[str],
    known: bool,
) -> StoredCheckpoint | Skipped:
    if known or like_parameters([path for path, _ in tensors]):
        roles: Sequence[StoredTensor] = _keras_moments(with_roles(tensors))
        holds = holds_of(roles)
    else:
        reason = too_much_data(tensor for _, tensor in tensors)
        if reason is not None:
            return Skipped(reason)
        roles = [replace(tensor, part="state") for _, tensor in tensors]
        holds = "unknown"
    return StoredCheckpoint(
        path=artifact.path,
        kind=artifact.kind,
        step=step_of(artifact.path),
        tensors=tuple(sorted(roles, key=lambda tensor: natural_key(tensor.name))),
        holds=holds,
        missing=tuple(sorted(missing, key=natural_key)),
    )


def _inside(file: DataFile, kind: str) -> _Inside:
    """Where the HDF5 file lies. Raises ``BadZip``, ``OSError``."""
    if kind != "keras":
        return _Inside(file, 0, file.size, None)
    archive = read_archive(file)
    member = archive.members.get(_WEIGHTS)
    if member is None:
        raise BadZip(f"a Keras archive without {_WEIGHTS}")
    if member.method != 0:
        raise BadZip(f"{_WEIGHTS} is compressed inside the archive: unpack it to have it read")
    content, begin, end = archive.content(member)
    version = None
    stated = archive.members.get("metadata.json")
    if stated is not None and stated.size < 1 << 20:
        memory, first, last = archive.content(stated)
        with memory.open() as handle:
            handle.seek(first)
            version = _stated_version(handle.read(last - first) or b"")
    return _Inside(content, begin, end - begin, version)


def _stated_version(metadata: bytes) -> str | None:
    try:
        version = json.loads(metadata)["keras_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return version[:40] if isinstance(version, str) else None


def _version(rows: Sequence[Mapping[str, Any]]) -> str | None:
    for row in rows:
        stated = row.get("attributes")
        if isinstance(stated, dict) and isinstance(stated.get("keras_version"), str):
            return str(stated["keras_version"])[:40]
    return None


def _is_keras(rows: Sequence[Mapping[str, Any]], inside: _Inside) -> bool:
    names = [str(row.get("name", "")) for row in rows]
    grouped = any(name.partition("/")[0] in _KERAS_GROUPS for name in names)
    return inside.version is not None or _version(rows) is not None or grouped


# --- datasets -------------------------------------------------------------------------------------


def _tensors(
    rows: Sequence[Mapping[str, Any]], inside: _Inside, damage: Damage
) -> tuple[list[tuple[Path, StoredTensor]], list[str]]:
    """The datasets that can be measured, and the names of those that cannot."""
    found: dict[str, tuple[Path, StoredTensor]] = {}
    missing = []
    decoded = 0
    for row in rows:
        name = row.get("name")
        if not isinstance(name, str) or name in found:
            continue
        try:
            tensor, lost = stored_dataset(name, row, inside.file, inside.begin, inside.size)
        except NotNumbers:
            continue
        except BadDataset as error:
            missing.append(name)
            damage.note(phrase("dataset {name}: {error}", name=quote(name), error=error))
            continue
        decoded += FORMATS[tensor.dtype].nbytes(tensor.numel) if row.get("filters") else 0
        if is_bomb(decoded, inside.size):
            missing.append(name)
            damage.note(
                phrase(
                    "dataset {name}: decompresses to more than is plausible; not read",
                    name=quote(name),
                )
            )
            continue
        if lost:
            damage.note(
                phrase(
                    "dataset {name}: {lost} of its chunks cannot be read",
                    name=quote(name),
                    lost=lost,
                )
            )
        path = tuple(_NUMBERED.sub("", part) for part in name.split("/"))
        found[name] = (path, tensor)
    return list(found.values()), missing


def _keras_moments(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Keras 3 numbers its optimizer's variables, or joins a parameter's path by underscores."""
    joined: dict[str, str | None] = {}
    for tensor in tensors:
        if tensor.part in ("parameter", "buffer"):
            parts = [_NUMBERED.sub("", part) for part in tensor.name.split("/")]
            for i in range(len(parts)):
                end = "_".join(parts[i:])
                joined[end] = None if end in joined else tensor.name
    return [_with_moment(tensor, joined) for tensor in tensors]


def _with_moment(tensor: StoredTensor, joined: Mapping[str, str | None]) -> StoredTensor:
    parts = tensor.name.split("/")
    if tensor.part != "state" or parts[0] not in ("optimizer", "optimizer_weights"):
        return tensor
    match = _JOINED_MOMENT.fullmatch(_NUMBERED.sub("", parts[-1]))
    if match is not None:
        owner = joined.get(match["parameter"])
        return replace(tensor, part="moment", moment=match["moment"], parameter=owner)
    if parts[1:2] == ["vars"] and tensor.shape:
        return replace(tensor, part="moment")
    return tensor
