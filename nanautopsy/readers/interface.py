"""What a reader is.

A reader is a module in :mod:`nanautopsy.readers` or :mod:`nanautopsy.checkpoints` that defines
``READER``, an object with this shape, or a third party's object behind an entry point of the
group ``nanautopsy.readers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from nanautopsy.model import Artifact, Claim, FileHead, Record


class Reader(Protocol):
    """Turns one kind of artifact into records."""

    @property
    def name(self) -> str:
        """Unique among readers."""

    def claim(self, file: FileHead) -> Claim | None:
        """Whether this file is one to read, judged by its name and first block alone."""

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """Yield what the artifact holds, in bounded memory.

        Damage is yielded as ``Problem`` with its place and reading goes on; an artifact that
        turns out not to be readable at all yields one ``Skipped``. What was yielded before an
        exception is kept, so yield early. Never follow a path found inside an artifact.
        """
