"""What is wrong with one artifact, kept bounded however broken it is."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy.model import Problem, Source
from nanautopsy.wording import phrase

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""What a file begins with that Git LFS left in the place of the real one."""

_SHOWN = 20


class Damage:
    """Collects the problems of one file; the first twenty are told apart, the rest counted."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._more = 0

    def note(self, text: str, offset: int | None = None, line: int | None = None) -> None:
        """Remember one problem, at a byte offset or a line."""
        if len(self._problems) < _SHOWN:
            self._problems.append(Problem(text, Source(self._path, offset=offset, line=line)))
        else:
            self._more += 1

    def problems(self) -> Iterator[Problem]:
        """All that was noted, in order, and how many more there were."""
        yield from self._problems
        if self._more:
            yield Problem(
                phrase("{more} more problems of this file", more=self._more), Source(self._path)
            )
