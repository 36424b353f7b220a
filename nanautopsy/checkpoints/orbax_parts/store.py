"""The arrays of an Orbax checkpoint: in directories of their own or in an OCDBT database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nanautopsy.checkpoints._decoded_file import MissingCodec, decode, is_bomb
from nanautopsy.checkpoints._safetensors_header import quote
from nanautopsy.checkpoints._tree_paths import Path
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.orbax_parts.ocdbt import Entry, read_tree
from nanautopsy.checkpoints.orbax_parts.ocdbt_frames import BadTree
from nanautopsy.checkpoints.orbax_parts.zarr_arrays import ZarrArray, read_array, read_text
from nanautopsy.checkpoints.orbax_parts.zarr_metadata import BadZarr
from nanautopsy.checkpoints.stored import StoredTensor
from nanautopsy.discover import natural_key
from nanautopsy.readers._damage import Damage
from nanautopsy.wording import phrase

_PROCESS = re.compile(r"ocdbt\.process_\d+/")
ARRAY_METADATA = re.compile(r"(?P<name>.+)/(?:\.zarray|zarr\.json)")
_NO_COMPRESSION = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"
"""A zstd frame of nothing, to ask whether zstd can be read at all."""
_CONVERT = (
    "to read the tensors without it: orbax.checkpoint.PyTreeCheckpointer().restore(path), "
    "then numpy.savez"
)


@dataclass(slots=True)
class Tree:
    """What ``_METADATA`` says that was saved."""

    paths: dict[str, Path] = field(default_factory=dict)
    """Name of each array in the store to its path in the tree."""
    aggregated: set[str] = field(default_factory=set)
    """Values kept in the file ``checkpoint`` instead (old Orbax)."""
    fill_is_stored: bool = False
    known: bool = False


def guess_path(name: str) -> Path:
    """The path of an array whose tree is not known; its name joins it by dots, or by ``~`` in
    big_vision."""
    return tuple(re.split(r"[./~]", name))


def open_store(files: dict[str, DataFile], damage: Damage) -> dict[str, Entry]:
    """Key (``<array>/.zarray``, ``<array>/0.0``) to where its value lies."""
    store = {}
    for name, file in files.items():
        if "/" in name:
            try:
                store[name] = Entry(file, 0, file.size)
            except OSError as error:
                damage.note(
                    phrase(
                        "{name} cannot be read: {error}",
                        name=name,
                        error=error.strerror or error,
                    )
                )
    is_database = any(name.rpartition("/")[2] == "manifest.ocdbt" for name in files)
    if is_database or any(re.match(r"(?:ocdbt\.process_\d+/)?d/", name) for name in files):
        _take_database(files, store, damage)
    return store


def _take_database(files: dict[str, DataFile], store: dict[str, Entry], damage: Damage) -> None:
    problems: list[BadTree] = []
    try:
        store.update(read_tree(files, problems))
    except MissingCodec as error:
        damage.note(
            phrase(
                "{error} (to read its OCDBT database); or, {advice}", error=error, advice=_CONVERT
            )
        )
    except (BadTree, OSError) as error:
        text = (
            str(error)
            if isinstance(error, BadTree)
            else phrase("cannot be read: {error}", error=error)
        )
        damage.note(phrase("the OCDBT database: {text}", text=text))
        # What each process wrote is a database of its own; the one above them joins these.
        for part in sorted({m[0] for m in map(_PROCESS.match, files) if m}):
            inner = {k.removeprefix(part): f for k, f in files.items() if k.startswith(part)}
            try:
                store.update(read_tree(inner, problems))
            except (BadTree, OSError):
                continue
    for problem in problems:
        damage.note(
            phrase("{problem} ({path})", problem=problem, path=problem.path), offset=problem.offset
        )


def tensors_of(
    store: dict[str, Entry], arrays: set[str], tree: Tree, damage: Damage
) -> tuple[list[tuple[Path, StoredTensor]], list[str]]:
    """The arrays of the store, and the names of those that should be there and are not."""
    chunks = _by_array(store, arrays)
    found: list[tuple[Path, StoredTensor]] = []
    gone = [name for name in tree.paths if name not in arrays]
    lost = list(gone)
    unreadable: dict[str, int] = {}
    decoded, stored = 0, sum(entry.size for entry in store.values())
    for name in sorted(arrays, key=natural_key):
        array = _array(name, chunks[name], tree, damage)
        why = "" if array is None or array.codec is None else _cannot_decode(array.codec)
        if why:
            unreadable[why] = unreadable.get(why, 0) + 1
        if array is not None and array.codec is not None:
            decoded += FORMATS[array.tensor.dtype].nbytes(array.tensor.numel)
            if is_bomb(decoded, stored):
                damage.note(
                    phrase(
                        "array {name}: decompresses to more than is plausible; not read",
                        name=quote(name),
                    )
                )
                array = None
        if array is None or why or (array.lost and not array.tensor.pieces):
            lost.append(name)
            continue
        found.append((tree.paths.get(name) or guess_path(name), array.tensor))
    for text, count in unreadable.items():
        damage.note(
            phrase("{text} ({count} arrays); or, {advice}", text=text, count=count, advice=_CONVERT)
        )
    if gone and arrays:
        damage.note(
            phrase(
                "{count} of {all} arrays of the tree are not in the store, the first is {name}",
                count=len(gone),
                all=len(tree.paths),
                name=quote(gone[0]),
            )
        )
    return found, lost


def _by_array(store: dict[str, Entry], arrays: set[str]) -> dict[str, dict[str, Entry]]:
    """What lies below each array, by key relative to it."""
    chunks: dict[str, dict[str, Entry]] = {name: {} for name in arrays}
    for key, entry in store.items():
        parts = key.split("/")
        for i in range(1, len(parts)):
            owner = "/".join(parts[:i])
            if owner in chunks:
                chunks[owner]["/".join(parts[i:])] = entry
                break
    return chunks


def _array(name: str, own: dict[str, Entry], tree: Tree, damage: Damage) -> ZarrArray | None:
    """One array; ``None`` where its metadata is no use."""
    try:
        metadata = own.get("zarr.json") or own[".zarray"]
        array = read_array(name, read_text(metadata), own, tree.fill_is_stored)
    except (BadZarr, OSError) as error:
        damage.note(phrase("array {name}: {error}", name=quote(name), error=error))
        return None
    if array.lost:
        damage.note(
            phrase(
                "array {name}: {lost} of its chunks are not here",
                name=quote(name),
                lost=array.lost,
            )
        )
    return array


def _cannot_decode(codec: str) -> str:
    """Why nothing of a compression can be read; empty where it can."""
    if codec == "zstd":
        try:
            decode(_NO_COMPRESSION, "zstd", 1)
        except MissingCodec as error:
            return str(error)
        except OSError:
            pass
    return ""
