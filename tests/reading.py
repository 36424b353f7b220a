"""Running one reader on one file, for the tests of readers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from nanautopsy.checkpoints.examine import examine
from nanautopsy.discover import HEAD_BYTES
from nanautopsy.model import Artifact, FileHead, Problem, Reading, Record, Series
from nanautopsy.readers.interface import Reader

SHARED = Path(__file__).parents[2] / "shared" / "real"
"""Public artifacts beside the checkout; tests that need them skip where they are absent."""

_T = TypeVar("_T")


def head_of(path: Path, name: str | None = None) -> FileHead:
    """What discover shows of a file, under its own name or another."""
    with open(path, "rb") as file:
        return FileHead(name or path.name, path.stat().st_size, file.read(HEAD_BYTES))


def read_file(reader: Reader, path: Path, name: str | None = None) -> list[Record]:
    """All records that the reader gives of the file, which it must claim; tensors measured."""
    name = name or path.name
    claim = reader.claim(head_of(path, name))
    assert claim is not None, f"{reader.name} does not claim {name}"
    size = path.stat().st_size
    artifact = Artifact(name, claim.kind, reader.name, ((name, path),), size)
    return read_artifact(reader, artifact)


def read_artifact(reader: Reader, artifact: Artifact) -> list[Record]:
    """All records, those of checkpoints measured in full."""
    (reading,) = examine([Reading(artifact, tuple(reader.read(artifact)), ())])
    return [*reading.records, *reading.problems]


def of_type(records: Iterable[Record], kind: type[_T]) -> list[_T]:
    """The records of one type."""
    return [record for record in records if isinstance(record, kind)]


def series_of(records: Iterable[Record]) -> dict[str, Series]:
    """The series by tag, which must be unique."""
    found = of_type(records, Series)
    by_tag = {series.tag: series for series in found}
    assert len(by_tag) == len(found)
    return by_tag


def problems_of(records: Iterable[Record]) -> list[Problem]:
    """The problems."""
    return of_type(records, Problem)


def same_values(a: Iterable[float], b: Iterable[float]) -> bool:
    """Whether two columns are equal, NaN equal to NaN."""
    return np.array_equal(np.array(list(a)), np.array(list(b)), equal_nan=True)
