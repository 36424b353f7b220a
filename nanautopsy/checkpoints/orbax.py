"""Orbax checkpoints (JAX): trees of arrays in zarr, plain or inside an OCDBT database.

The tree's names come from ``_METADATA``; each array's dtype and chunks from its zarr metadata. What
needs a decompressor that is not installed, or that none of this knows, is said in one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from nanautopsy.checkpoints._tree_paths import holds_of, like_parameters, with_roles
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.orbax_parts.layout import KIND, UNFINISHED, claim_of, root_of
from nanautopsy.checkpoints.orbax_parts.store import (
    ARRAY_METADATA,
    Tree,
    guess_path,
    open_store,
    tensors_of,
)
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.discover import natural_key
from nanautopsy.model import Artifact, Claim, FileHead, Record, Series, Skipped, Source
from nanautopsy.readers._damage import Damage
from nanautopsy.readers._json_numbers import leaves
from nanautopsy.wording import phrase

_MOST_JSON_BYTES = 256 << 20
_TEMPORARY = re.compile(r"\.orbax-checkpoint-tmp[^/]*")


class OrbaxReader:
    """Claims a saved tree's files by their places; the directory above them is the artifact."""

    name = KIND

    def claim(self, file: FileHead) -> Claim | None:
        return claim_of(file)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint`` for a tree; one ``Series`` for each metric saved beside it."""
        root = root_of(path for path, _ in artifact.members)
        prefix = f"{root}/" if root else ""
        files = {file.path.removeprefix(prefix): file for file in artifact.files}
        damage = Damage(root or ".")
        metrics = list(_metrics(files, _step(root), damage))
        yield from metrics
        _note_unfinished(files, root, damage)
        tree = _tree(files, damage)
        store = open_store(files, damage)
        arrays = {match["name"] for match in map(ARRAY_METADATA.fullmatch, store) if match}
        tensors, missing = tensors_of(store, arrays, tree, damage)
        yield from damage.problems()
        if not tensors and not missing:
            if not metrics:
                yield Skipped(_why_nothing(files, tree, damage))
            return
        if not tree.known and not like_parameters(guess_path(name) for name in arrays):
            yield Skipped(phrase("zarr arrays without Orbax's _METADATA: taken for data"))
            return
        roles = with_roles(tensors)
        yield StoredCheckpoint(
            path=root or ".",
            kind=KIND,
            step=_step(root),
            tensors=tuple(sorted(roles, key=lambda tensor: natural_key(tensor.name))),
            holds=holds_of(roles),
            missing=tuple(sorted(missing, key=natural_key)),
        )


READER = OrbaxReader()


def _why_nothing(files: dict[str, DataFile], tree: Tree, damage: Damage) -> str:
    problem = next(damage.problems(), None)
    if problem is not None:
        return problem.text
    if tree.aggregated:
        return phrase("its values lie in the file `checkpoint` beside it")
    if "_CHECKPOINT_METADATA" not in files and "commit_success.txt" not in files:
        return phrase("looks like chunks of arrays whose metadata are not here")
    return phrase("says when a checkpoint was saved; its tensors lie in directories beside it")


def _step(root: str) -> int | None:
    """From a name that says so, or CheckpointManager's ``<step>/<item>`` of digits alone."""
    root = _TEMPORARY.sub("", root)
    step = step_of(root)
    for part in reversed(root.split("/")[-2:]):
        if step is None and part.isdecimal() and len(part) < 10:
            step = int(part)
    return step


def _json(file: DataFile | None, damage: Damage) -> Any:
    """The content of a JSON file; ``None`` where it is absent or damaged."""
    if file is None:
        return None
    name = file.path.rpartition("/")[2]
    try:
        if file.size > _MOST_JSON_BYTES:
            raise ValueError(f"{file.size} bytes")
        with file.open() as handle:
            return json.loads(handle.read() or b"")
    except OSError as error:
        damage.note(
            phrase("{name} cannot be read: {error}", name=name, error=error.strerror or error)
        )
    except (ValueError, RecursionError):
        damage.note(phrase("{name} is not JSON: cut short or damaged", name=name))
    return None


# --- beside the tree ------------------------------------------------------------------------------


def _note_unfinished(files: dict[str, DataFile], root: str, damage: Damage) -> None:
    """Say so where a name or a time that is lacking shows that saving broke off."""
    if UNFINISHED.search(root):
        damage.note(phrase("saving did not finish: the directory still has its temporary name"))
        return
    stated = _json(files.get("_CHECKPOINT_METADATA"), damage)
    begun = isinstance(stated, dict) and stated.get("init_timestamp_nsecs")
    if begun and not stated.get("commit_timestamp_nsecs") and "commit_success.txt" not in files:
        damage.note(phrase("saving did not finish: _CHECKPOINT_METADATA states no time of commit"))


def _metrics(files: dict[str, DataFile], step: int | None, damage: Damage) -> Iterator[Series]:
    """The metrics that a CheckpointManager saved with this step, each a series of one point."""
    stated = _json(files.get("_CHECKPOINT_METADATA"), damage)
    kept = _json(files.get("metrics/metrics"), damage)
    beside = stated.get("metrics") if isinstance(stated, dict) else None
    sources = [
        (files.get("metrics/metrics"), kept),
        (files.get("_CHECKPOINT_METADATA"), beside),
    ]
    seen: set[str] = set()
    for file, values in sources:
        if step is None or file is None or not isinstance(values, dict):
            continue
        for tag, value in leaves(values):
            if value is None or tag in seen:
                continue
            seen.add(tag)
            yield Series(
                tag=tag,
                steps=np.array([step], dtype=np.int64),
                values=np.array([value], dtype=np.float64),
                source=Source(file.path, tag=tag),
            )


def _tree(files: dict[str, DataFile], damage: Damage) -> Tree:
    tree = Tree()
    table = _json(files.get("_METADATA"), damage)
    entries = table.get("tree_metadata") if isinstance(table, dict) else None
    if isinstance(entries, dict):
        tree.known = True
        tree.fill_is_stored = table.get("store_array_data_equal_to_fill_value") is True
        for entry in entries.values():
            _take_entry(entry, tree)
    for name, file in files.items():
        if not name.startswith("array_metadatas/"):
            continue
        table = _json(file, damage)
        listed = table.get("array_metadatas") if isinstance(table, dict) else None
        for item in listed if isinstance(listed, list) else ():
            inner = item.get("array_metadata") if isinstance(item, dict) else None
            param = inner.get("param_name") if isinstance(inner, dict) else None
            if isinstance(param, str):
                tree.paths.setdefault(param, guess_path(param))
    return tree


def _take_entry(entry: Any, tree: Tree) -> None:
    """One leaf of the tree: its keys, and whether an array of its own holds it."""
    keys = entry.get("key_metadata") if isinstance(entry, dict) else None
    value = entry.get("value_metadata") if isinstance(entry, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        return
    path = tuple(str(key.get("key")) for key in keys)
    name = ".".join(path)
    kind = value.get("value_type") if isinstance(value, dict) else None
    aggregated = isinstance(value, dict) and value.get("skip_deserialize") is True
    if aggregated or kind in ("None", "string", "str", "Dict", "List", "Tuple", "NamedTuple"):
        tree.aggregated.add(name)
    else:
        tree.paths[name] = path
