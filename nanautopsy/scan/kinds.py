"""What the files of an archive record. Each is asked once, and again when it changed: an archive
that is scanned again is listed, not opened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nanautopsy.model import Problem, Source
from nanautopsy.readers.interface import Reader
from nanautopsy.scan.evidence import record_kind
from nanautopsy.scan.fingerprint import is_settled
from nanautopsy.scan.tree import Entry, Tree

_CHECKPOINT_READERS = "nanautopsy.checkpoints."


@dataclass(frozen=True, slots=True)
class Told:
    """What a file recorded when it was asked."""

    size: int
    stamp: str
    kind: str
    """Empty for nothing."""


class Kinds:
    """Answers from what is known, else from the file.

    ``known``, by path: what was told before; what a file tells again is taken out of it. ``None``:
    nobody keeps what is told.
    """

    def __init__(
        self, tree: Tree, readers: Sequence[Reader], known: dict[str, Told] | None = None
    ) -> None:
        self.tree = tree
        # What records a training is asked for; what is a checkpoint, names tell.
        self._readers = [
            one for one in readers if not type(one).__module__.startswith(_CHECKPOINT_READERS)
        ]
        self._known = known
        self._new: deque[tuple[str, Told]] = deque()

    def of(self, file: Entry) -> str:
        """``log``, ``table``, ``events``, ...; empty for what records no training.

        A file that cannot be read is a problem of the tree: it may have been a run's only record.
        """
        told = None if self._known is None else self._known.pop(file.path, None)
        if told is not None and (told.size, told.stamp) == (file.size, file.stamp):
            return told.kind
        try:
            kind = record_kind(self.tree, file, self._readers)
        except OSError as error:
            text = f"cannot be read, so not taken for a run: {error.strerror or error}"
            self.tree.problems.append(Problem(text, Source(file.path)))
            return ""
        if self._known is not None and is_settled(file.stamp):
            self._new.append((file.path, Told(file.size, file.stamp, kind)))
        return kind

    def news(self) -> Iterator[tuple[str, Told]]:
        """What was asked since the last call, by path; another thread may be asking."""
        while self._new:
            yield self._new.popleft()
