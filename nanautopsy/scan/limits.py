"""What narrows the search for runs: globs, what is left out, and how deep it goes."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

MOST_LEVELS = 100
"""Folders inside each other: more are a defect of the file system or malice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user narrows the search to."""

    run_glob: str | None = None
    exclude: tuple[str, ...] = ()
    max_depth: int | None = None

    def leaves_out(self, path: str) -> bool:
        """Whether a path, or its last part, is excluded."""
        name = path.rpartition("/")[2]
        return any(fnmatch.fnmatch(path, g) or fnmatch.fnmatch(name, g) for g in self.exclude)

    def names(self, path: str) -> bool:
        """Whether a folder is what ``run_glob`` names; ``*`` does not cross a slash, and a glob
        without one names folders at any depth."""
        parts, wanted = path.split("/"), (self.run_glob or "").strip("/").split("/")
        if wanted[0] == "**" or len(wanted) == 1:
            wanted = [w for w in wanted if w != "**"]
            parts = parts[-len(wanted) :]
        return len(parts) == len(wanted) and all(
            fnmatch.fnmatchcase(part, one) for part, one in zip(parts, wanted, strict=True)
        )
