"""Readers and artifacts made up for the tests of the stages that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nanautopsy.discover import Discovery
from nanautopsy.model import Artifact, Claim, FileHead, Reading, Record


@dataclass
class FakeReader:
    """Claims by suffix and gives fixed records; both can be replaced, also by what fails."""

    name: str = "fake"
    suffix: str = ".log"
    confidence: int = 50
    group: str | None = None
    records: Callable[[Artifact], Iterable[Record]] = lambda artifact: ()
    asked: list[str] = field(default_factory=list)

    def claim(self, file: FileHead) -> Claim | None:
        self.asked.append(file.path)
        if not file.name.endswith(self.suffix):
            return None
        return Claim(self.name, self.confidence, self.group)

    def read(self, artifact: Artifact) -> Iterator[Record]:
        yield from self.records(artifact)


def artifact(path: str = "train.log", location: Path | None = None, size: int = 0) -> Artifact:
    """An artifact of the fake reader."""
    members = ((path, location or Path(path)),)
    return Artifact(path, "fake", "fake", members, size)


def reading(*records: Record, path: str = "train.log") -> Reading:
    """What one artifact gave."""
    return Reading(artifact(path), records, ())


NOTHING = Discovery((), (), ())
"""A directory in which nothing is to be told beside the artifacts."""
