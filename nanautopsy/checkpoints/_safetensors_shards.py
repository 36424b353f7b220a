"""The headers of one save's files as one set of tensors, and what shows that they are not one.

torch.distributed.checkpoint writes safetensors in which each rank's file holds a part of a tensor
under the tensor's own name; ``DCP_SHARDING_INFO`` in the file's metadata says where it begins
(``torch.distributed.checkpoint.HuggingFaceStorageWriter``).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nanautopsy.checkpoints._safetensors_header import Entry, Header, quote
from nanautopsy.checkpoints._safetensors_names import rank_of, role_of, shard_numbers
from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import Problem, Source
from nanautopsy.wording import phrase

_REREAD_FACTOR = 2
"""Overlapping entries may have a file's bytes measured this many times, and no more."""
STEP_METADATA = ("step", "global_step", "iteration", "ss_steps")
_SHARDING = "DCP_SHARDING_INFO"


@dataclass(slots=True)
class Gathered:
    """What the files of one save gave so far."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Path of each file to its metadata."""
    unread: list[str] = field(default_factory=list)
    """Why files gave nothing at all."""
    nbytes: int = 0
    """Of the tensors that are whole."""
    parts: dict[str, list[tuple[DataFile, Entry, tuple[int, ...]]]] = field(default_factory=dict)
    """Tensors of which each file holds a box, with the box's corner."""


def take_header(file: DataFile, size: int, header: Header, gathered: Gathered) -> Iterator[Problem]:
    """Add the tensors that one file of ``size`` bytes holds whole."""
    gathered.missing.update(header.unusable)
    gathered.metadata[file.path] = header.metadata
    cut = [entry for entry in header.entries if entry.end > size]
    if cut:
        gathered.missing.update(entry.name for entry in cut)
        end = max(entry.end for entry in cut)
        text = phrase(
            "cut short: {size} of {end} bytes; {lost} of {all} tensors lost",
            size=size,
            end=end,
            lost=len(cut),
            all=len(header.entries),
        )
        yield Problem(text, Source(file.path, offset=size))
    rank = rank_of(file.path)
    corners = _corners(header.metadata.get(_SHARDING))
    budget = size * _REREAD_FACTOR
    twice = []
    for entry in header.entries:
        if entry.end > size:
            continue
        corner = corners.get(entry.name)
        if corner is not None and len(corner) == len(entry.shape):
            gathered.parts.setdefault(entry.name, []).append((file, entry, corner))
        elif entry.name in gathered.tensors:
            twice.append(entry.name)
        elif (budget := budget - (entry.end - entry.begin)) < 0:
            gathered.missing.add(entry.name)
        else:
            piece = Piece(file, entry.begin, entry.shape, rank=rank)
            gathered.tensors[entry.name] = _stored(entry, entry.shape, (piece,))
            gathered.nbytes += entry.end - entry.begin
    if twice:
        first = gathered.tensors[twice[0]].pieces[0].file.path
        text = phrase(
            "{count} tensors are also in {place}, the first is {first}",
            count=len(twice),
            place=first,
            first=quote(twice[0]),
        )
        yield Problem(text, Source(file.path, tensor=twice[0]))


def _stored(entry: Entry, shape: tuple[int, ...], pieces: tuple[Piece, ...]) -> StoredTensor:
    role = role_of(entry.name)
    return StoredTensor(
        entry.name,
        entry.dtype,
        shape,
        pieces,
        part=role.part,
        parameter=role.parameter,
        moment=role.moment,
        index=role.index,
    )


def _corners(text: str | None) -> Mapping[str, tuple[int, ...]]:
    """Where each tensor's part begins, as the metadata of torch.distributed.checkpoint say."""
    try:
        table = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    corners = {}
    for name, stated in table.items() if isinstance(table, dict) else ():
        offsets = stated.get("saved_offsets") if isinstance(stated, dict) else None
        if isinstance(offsets, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in offsets):
            corners[name] = tuple(offsets)
    return corners


def join_parts(gathered: Gathered) -> Iterator[Problem]:
    """Make tensors of the boxes that the ranks' files hold."""
    for name, boxes in gathered.parts.items():
        file, entry, _ = boxes[0]
        whole = [(f, e, c) for f, e, c in boxes if len(c) == len(entry.shape)]
        dtypes = {e.dtype for _, e, _ in boxes}
        if len(dtypes) > 1 or len(whole) < len(boxes) or name in gathered.tensors:
            gathered.missing.add(name)
            text = phrase(
                "tensor {name}: its parts in {n} files do not fit together",
                name=quote(name),
                n=len(boxes),
            )
            yield Problem(text, Source(file.path, tensor=name))
            continue
        # A part that every rank holds is there more than once.
        distinct = {(corner, e.shape): (f, e) for f, e, corner in reversed(whole)}
        shape = tuple(
            max(corner[i] + size[i] for corner, size in distinct) for i in range(len(entry.shape))
        )
        pieces = tuple(
            Piece(f, e.begin, e.shape, origin=corner, rank=rank_of(f.path))
            for (corner, _), (f, e) in sorted(distinct.items(), key=lambda item: item[0][0])
        )
        held = sum(math.prod(size) for _, size in distinct)
        if held != math.prod(shape):
            text = phrase(
                "tensor {name}: its parts hold {held} of {all} elements",
                name=quote(name),
                held=held,
                all=math.prod(shape),
            )
            yield Problem(text, Source(file.path, tensor=name))
        gathered.tensors[name] = _stored(entry, shape, pieces)
        gathered.nbytes += FORMATS[entry.dtype].nbytes(math.prod(shape))


# --- what shows that files are not of one save ----------------------------------------------------


def differing_saves(gathered: Gathered) -> Iterator[Problem]:
    """Files whose metadata state another step than most of the others'."""
    for key in (*STEP_METADATA, "format"):
        stated = {path: meta[key] for path, meta in gathered.metadata.items() if key in meta}
        counts = Counter(stated.values())
        if len(counts) < 2:
            continue
        usual = counts.most_common(1)[0][0]
        for path, value in stated.items():
            if value != usual:
                text = phrase(
                    "a shard of another save: it states {key} {value}, others {usual}",
                    key=key,
                    value=quote(value[:40]),
                    usual=quote(usual[:40]),
                )
                yield Problem(text, Source(path))


def absent_shards(files: Sequence[DataFile]) -> Iterator[Problem]:
    """Numbers of shards that no file has, where no index tells what was in them."""
    numbers = [found for found in (shard_numbers(file.path) for file in files) if found]
    if not numbers or any(re.search(r"(?:^|/)shard-\d", file.path) for file in files):
        return
    total = numbers[0][1]
    here = {number for number, _ in numbers}
    first = 0 if 0 in here else 1
    gone = [n for n in range(first, first + min(total, 100_000)) if n not in here]
    if gone:
        shown = ", ".join(map(str, gone[:8])) + (", ..." if len(gone) > 8 else "")
        text = phrase(
            "{n} of {all} shards are not here ({shown}); no index says which tensors they hold",
            n=len(gone),
            all=total,
            shown=shown,
        )
        yield Problem(text, Source(files[0].path))
