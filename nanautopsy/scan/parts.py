"""What a search has in its hands: parts of which it is not certain yet whose they are.

A :class:`Part` climbs from the folder where it lies until something around it tells whether it is
a run of its own (then it becomes a :class:`FoundRun`) or belongs to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from nanautopsy.scan.evidence import (
    CHECKPOINT_FOLDERS,
    LOG_FOLDERS,
    are_counterparts,
    is_configuration,
    is_counterpart,
    named_kind,
    names_a_step,
)
from nanautopsy.scan.one_folder import stem_of
from nanautopsy.scan.tree import Entry, Folder


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run and its files."""

    root: str
    """Relative to the archive: a folder, or a file; ``.`` is the archive."""
    files: tuple[Entry, ...]
    why: str
    """What it was recognized by."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(slots=True)
class Part:
    """A folder with all below it that is no certain run yet."""

    path: str
    files: list[Entry]
    kinds: frozenset[str] = frozenset()
    """What it records; empty for what may belong to any run: checkpoints, settings, pictures."""
    why: str = ""
    whole: bool = False
    """One run by itself: settings above it are another's, or everybody's."""

    @property
    def has_checkpoints(self) -> bool:
        """Whether a file is a checkpoint by its name."""
        return any(named_kind(file.name) == "checkpoint" for file in self.files)

    @property
    def has_logs(self) -> bool:
        """Whether a file is a log by its name."""
        return any(named_kind(file.name) == "log" for file in self.files)

    @property
    def has_settings(self) -> bool:
        """Whether a file may hold settings or versions."""
        return any(is_configuration(file.name) for file in self.files)


Parts: TypeAlias = "list[tuple[str, Part]]"
"""Name of the folder through which each was reached, and what remained there."""


@dataclass(slots=True)
class Below:
    """What the walk through the folders below another leaves."""

    kinds: frozenset[str]
    """What the folder itself records."""
    is_run: bool
    """The folder has records or checkpoints by step of its own."""
    parts: Parts = field(default_factory=list)
    settled: bool = False
    """Runs below were yielded."""

    def take(self, name: str, part: Part) -> None:
        """A part of the folder's own run: what it records, the folder does."""
        self.kinds |= part.kinds
        part.kinds = frozenset()
        self.parts.append((name, part))

    def certain(self) -> list[Part]:
        """The parts that are runs of their own whatever else comes; they are taken out."""
        plain = [(name, part) for name, part in self.parts if self._is_plain(name, part)]
        nested = [part for _, part in plain if "state" in part.kinds & self.kinds]
        if len(plain) < 2 and not self.settled and not nested:
            return []
        apart = plain
        if self.settled and not self.is_run:
            apart = [(name, part) for name, part in self.parts if part.kinds]
        self.parts = [pair for pair in self.parts if pair not in apart]
        self.settled = True
        return [part for _, part in apart]

    def _is_plain(self, name: str, part: Part) -> bool:
        """Records that are not, by kind or by name, a part of the run around them."""
        if not part.kinds or name in LOG_FOLDERS:
            return False
        if part.kinds == {"events"}:
            return "events" not in self.kinds and not is_counterpart(name)
        return True


class Apart:
    """Checkpoints in a folder of their own, by the names under which runs may lie beside it."""

    def __init__(self, base: str, part: Part) -> None:
        self.base, self.part = base, part
        self.taken: set[str] = set()
        self._by_name: dict[str, list[Entry]] = {}
        for file in part.files:
            inside = file.path[len(part.path) + 1 :].split("/")
            names = {"/".join(inside[:i]) for i in range(1, len(inside))}
            names.add("/".join([*inside[:-1], stem_of(inside[-1])]))
            for name in names:
                self._by_name.setdefault(name, []).append(file)

    def take(self, run: str) -> list[Entry]:
        """The files under the name that a run has in a folder beside this one."""
        base = f"{self.base}/" if self.base else ""
        if not run.startswith(base):
            return []
        name = run[len(base) :].partition("/")[2]
        files = [f for f in self._by_name.get(name, ()) if f.path not in self.taken]
        self.taken.update(file.path for file in files)
        return files


def is_one(seeded: Parts) -> bool:
    """Whether what lies in neighboring folders is one run: alone, of different kinds in folders
    that programs name, or the training and evaluation of one."""
    if len(seeded) < 2:
        return True
    if all(part.kinds == {"events"} for _, part in seeded):
        return are_counterparts([name for name, _ in seeded])
    kinds = [kind for _, part in seeded for kind in part.kinds]
    return all(name in LOG_FOLDERS for name, _ in seeded) and len(kinds) == len(set(kinds))


def adds(folder: Folder, parts: Parts, run: Part) -> bool:
    """Whether a folder holds something of the only run below it."""
    bare = [part for _, part in parts if not part.kinds]
    own = Part(folder.path, list(folder.files))
    beside = (own, *bare)
    if any(part.has_checkpoints or part.has_logs for part in beside):
        return True
    return not run.whole and any(part.has_settings for part in beside)


def checkpoint_runs(part: Part, alone: bool = False) -> Iterator[FoundRun]:
    """Checkpoints without records: a run for each folder that is not one step or part of another.

    ``alone``: only the files that lie directly in the folder are there.
    """
    if not part.has_checkpoints:
        return
    skipped = len(part.path) + 1 if part.path else 0
    by_folder: dict[str, list[Entry]] = {}
    for file in part.files:
        folder = file.path[skipped:].rpartition("/")[0].partition("/")[0]
        by_folder.setdefault(folder, []).append(file)
    kept = {name: files for name, files in by_folder.items() if Part("", files).has_checkpoints}
    # Beside the steps of one training lies what it began with, or kept at last.
    steps = sum(names_a_step(name) for name in kept)
    whole = alone or "" in kept or steps > 1
    if whole or all(names_a_step(name) or name in CHECKPOINT_FOLDERS for name in kept):
        yield FoundRun(part.path or ".", tuple(part.files), "checkpoints alone")
        return
    for name, files in kept.items():
        yield FoundRun(under(part.path, name), tuple(files), "checkpoints alone")


def under(path: str, name: str) -> str:
    """The path of what lies in a folder."""
    return f"{path}/{name}" if path else name
