"""The index that Hugging Face writes beside the shards of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.discover import natural_key
from nanautopsy.model import Problem, Source
from nanautopsy.wording import phrase

_MOST_BYTES = 256 << 20


def check_index(
    index: DataFile, tensors: Mapping[str, str], files: Set[str], nbytes: int | None = None
) -> tuple[set[str], list[Problem]]:
    """(tensors that the index lists and that are not there, what disagrees).

    ``tensors``: name to path of the shard that gave it; ``files``: the paths of all shards. File
    names in the index are compared, never opened. ``nbytes``: of all the tensors, where that is to
    be compared as well.
    """
    try:
        listed, total = read_index(index)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = phrase(
            "the index cannot be used: {name}: {error}", name=type(error).__name__, error=error
        )
        return set(), [Problem(text, Source(index.path))]
    prefix = index.path[: index.path.rfind("/") + 1]
    absent: dict[str, list[str]] = {}
    for name, shard in listed.items():
        if name not in tensors:
            absent.setdefault(shard, []).append(name)
    texts = []
    for shard, names in absent.items():
        label = repr(shard[:300])
        if prefix + shard not in files:
            texts.append(
                phrase(
                    "the index names shard {shard}, which is not here: {n} tensors",
                    shard=label,
                    n=len(names),
                )
            )
        else:
            texts.append(
                phrase(
                    "the index places {n} tensors in {shard} that it does not give, the first is "
                    "{first!r}",
                    n=len(names),
                    shard=label,
                    first=names[0][:300],
                )
            )
    unlisted = tensors.keys() - listed.keys()
    if unlisted:
        first = min(unlisted, key=natural_key)
        texts.append(
            phrase(
                "the index does not list {n} tensors, the first is {first!r}",
                n=len(unlisted),
                first=first,
            )
        )
    if not texts and None not in (nbytes, total) and nbytes != total:
        texts.append(
            phrase(
                "the index states {stated} bytes of tensors, the shards hold {held}: one of them "
                "may be of another save",
                stated=total,
                held=nbytes,
            )
        )
    missing = {name for names in absent.values() for name in names}
    return missing, [Problem(text, Source(index.path)) for text in texts]


def read_index(index: DataFile) -> tuple[dict[str, str], int | None]:
    """(tensor to the shard that should hold it, bytes of all tensors where that is stated).

    Raises ``OSError``, ``ValueError``, ``KeyError``, ``TypeError``, ``AttributeError`` and
    ``RecursionError`` for an index that cannot be used.
    """
    if index.size > _MOST_BYTES:
        raise ValueError("larger than any index")
    with index.open() as handle:
        table = json.loads(handle.read() or b"")
    listed = {str(name): str(shard) for name, shard in table["weight_map"].items()}
    return listed, _total(table.get("metadata"))


def _total(metadata: Any) -> int | None:
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return total if type(total) is int else None
