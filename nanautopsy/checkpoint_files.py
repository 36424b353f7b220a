"""From files, directories, globs and URLs to the checkpoints that they hold, not yet measured."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from math import prod

from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.stored import Piece, StoredCheckpoint, StoredTensor
from nanautopsy.discover import Discovery, NothingToRead, claim_all
from nanautopsy.model import Problem, Reading, Source
from nanautopsy.plugins import load_parts
from nanautopsy.read import load_readers, read
from nanautopsy.remote import RemoteFile, is_url, shown
from nanautopsy.targets import found, targets
from nanautopsy.wording import phrase


def display(path: str | os.PathLike[str]) -> str:
    """The path as it was given; a URL without its credentials."""
    text = os.fspath(path)
    return shown(text) if is_url(text) else text


def load(
    paths: Sequence[str | os.PathLike[str]], filters: Sequence[str], problems: list[Problem]
) -> list[Reading]:
    """The artifacts that hold checkpoints, each with its ``StoredCheckpoint``.

    Of the tensors those are kept that match one of the ``filters``. What could not be read is
    added to ``problems``. Raises :class:`nanautopsy.discover.NothingToRead` when no checkpoint is
    found, or no tensor of them matches.
    """
    readers = load_readers()
    problems += [Problem(text, Source(".")) for text in readers.problems]
    by_name = {reader.name: reader for reader in readers.parts}
    others = {r.name for r in load_parts(("nanautopsy.readers",), "READER").parts}
    where = targets(paths)
    discovery = claim_all(found(where, problems), readers.parts, problems)
    problems += [Problem(text, Source(".")) for text in discovery.notes]
    artifacts = [a for a in discovery.artifacts if a.reader not in others]
    named = ", ".join(map(display, paths))
    if not artifacts:
        files = len(discovery.artifacts) + len(discovery.unclaimed)
        what = "no checkpoint that can be read" if files or not problems else str(problems[0].text)
        raise NothingToRead(f"{named}: {what}{_among(discovery)}")
    readings = [read(artifact, by_name, digest=False) for artifact in artifacts]
    for reading in readings:
        problems += reading.problems
        if reading.skipped is not None and reading.skipped not in {
            p.text for p in reading.problems
        }:
            problems.append(
                Problem(
                    phrase("not read: {skipped}", skipped=reading.skipped),
                    Source(reading.artifact.path),
                )
            )
    readings = _chosen(readings, filters, named)
    if not stored(readings):
        why = f": {problems[0].source}: {problems[0].text}" if problems else ""
        raise NothingToRead(f"{named}: no checkpoint that can be read{why}")
    _announce_ranges(stored(readings))
    return readings


def _among(discovery: Discovery) -> str:
    """What else lies there."""
    others = len(discovery.artifacts) + len(discovery.unclaimed)
    if not others:
        return ""
    return f" among {others} files" if others > 1 else " (the file is of another kind)"


def _chosen(readings: list[Reading], filters: Sequence[str], named: str) -> list[Reading]:
    """The readings with moments named after their parameters, and the tensors that match."""
    if not filters:
        return readings  # whoever measures them names the moments
    numbered = iter(name_moments(stored(readings)))
    chosen = []
    for reading in readings:
        records = [
            _matching(next(numbered), filters) if isinstance(record, StoredCheckpoint) else record
            for record in reading.records
        ]
        chosen.append(replace(reading, records=tuple(records)))
    if stored(readings) and not any(c.tensors for c in stored(chosen)):
        names = [tensor.name for c in stored(readings) for tensor in c.tensors]
        first = f", the first is {names[0]!r}" if names else ""
        text = f"no tensor matches {', '.join(filters)}; there are {len(names)}{first}"
        raise NothingToRead(f"{named}: {text}")
    return chosen


def _matching(checkpoint: StoredCheckpoint, filters: Sequence[str]) -> StoredCheckpoint:
    patterns = [glob if re.search(r"[*?\[]", glob) else f"*{glob}*" for glob in filters]

    def wanted(tensor: StoredTensor) -> bool:
        names = {tensor.name, tensor.parameter or tensor.name}
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    # Without their numbers: among fewer tensors another parameter could seem to be the only one
    # of a moment's shape.
    kept = tuple(replace(tensor, index=None) for tensor in checkpoint.tensors if wanted(tensor))
    missing = tuple(n for n in checkpoint.missing if any(fnmatchcase(n, p) for p in patterns))
    return replace(checkpoint, tensors=kept, missing=missing)


def stored(readings: Sequence[Reading]) -> list[StoredCheckpoint]:
    return [r for reading in readings for r in reading.records if isinstance(r, StoredCheckpoint)]


def _announce_ranges(checkpoints: Sequence[StoredCheckpoint]) -> None:
    """Tell the remote files which of their bytes may be measured: no others are fetched ahead."""
    spans: dict[RemoteFile, list[tuple[int, int]]] = {}
    for checkpoint in checkpoints:
        for tensor in checkpoint.tensors:
            for piece in tensor.pieces:
                if isinstance(piece.file, RemoteFile):
                    end = piece.offset + FORMATS[tensor.dtype].nbytes(_extent(piece))
                    spans.setdefault(piece.file, []).append((piece.offset, end))
    for file, stretches in spans.items():
        file.source.want(stretches)


def _extent(piece: Piece) -> int:
    """Elements from its first to its last."""
    if piece.strides is None or 0 in piece.shape:
        return prod(piece.shape)
    return 1 + sum((n - 1) * step for n, step in zip(piece.shape, piece.strides, strict=True))
