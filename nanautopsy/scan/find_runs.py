"""Which folders and files of an archive are runs.

A folder is told from its listing; the heads of files are read only where names do not tell. What
a person called an experiment decides nothing. The rules, in the order in which they are asked:

1. ``--run-glob``: what it names is a run each, and nothing else is.
2. A folder at ``--max-depth`` is one run with all that lies below.
3. A Hydra job, a W&B or MLflow run and a Lightning version are one run, with all that lies in them.
4. Records of several runs in one folder (``run1.log run2.log``, ``slurm-41.out slurm-42.out``; see
   :mod:`nanautopsy.scan.one_folder`) are a run each, together with what bears the same name beside
   them; in a folder that keeps checkpoints by step they are attempts of one run.
5. A folder with records of its own, or with checkpoints by step, is one run. What lies below it
   belongs to it when it is the only one below, a folder of one kind of records (``tb/``, ``logs/``,
   ``wandb/``, ...), or event files below event files; other runs below are runs of their own.
6. A folder without records of its own joins what lies below when that is one run and its
   checkpoints or settings, folders of different kinds of records, or the training and evaluation
   of one run. Otherwise each is a run of its own, with the checkpoints that lie under the same name
   in a folder beside (``logs/a`` and ``checkpoints/a``).
7. Checkpoints that no run claims are a run each.

A run's root is the lowest folder that holds all of it, or its file where several share a folder.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from nanautopsy.model import Problem, Source
from nanautopsy.readers.interface import Reader
from nanautopsy.scan.evidence import (
    CHECKPOINT_FOLDERS,
    LOG_FOLDERS,
    are_counterparts,
    is_configuration,
    is_counterpart,
    named_kind,
    names_a_step,
    whole_run,
)
from nanautopsy.scan.one_folder import Group, groups_of, stem_of
from nanautopsy.scan.tree import Entry, Folder, Tree

MOST_LEVELS = 100
"""Folders inside each other: more are a defect of the file system or malice."""


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


def find_runs(
    tree: Tree, readers: Sequence[Reader], limits: Limits | None = None
) -> Iterator[FoundRun]:
    """Every run as soon as it is certain; what could not be read is in ``tree.problems``."""
    # What records a training is asked for; what is a checkpoint, names tell.
    asked = [one for one in readers if not type(one).__module__.startswith(_CHECKPOINT_READERS)]
    return _Search(tree, asked, limits or Limits()).runs()


@dataclass(slots=True)
class _Part:
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
        return any(named_kind(file.name) == "checkpoint" for file in self.files)

    @property
    def has_logs(self) -> bool:
        return any(named_kind(file.name) == "log" for file in self.files)

    @property
    def has_settings(self) -> bool:
        return any(is_configuration(file.name) for file in self.files)


_Parts: TypeAlias = "list[tuple[str, _Part]]"
"""Name of the folder through which each was reached, and what remained there."""
_Walk: TypeAlias = "Generator[FoundRun, None, _Part | None]"
"""Yields the runs below that nothing above can change; returns what remains, ``None`` when all
of it was yielded."""


@dataclass(slots=True)
class _Search:
    tree: Tree
    readers: Sequence[Reader]
    limits: Limits
    apart: list[_Apart] = field(default_factory=list)
    """Checkpoints that lie beside the folders that are being walked."""

    def runs(self) -> Iterator[FoundRun]:
        part = yield from self._walk("", 0)
        if part is not None:
            yield from self._certain(part) if part.kinds else _checkpoint_runs(part)

    # --- walking ----------------------------------------------------------------------------------

    def _walk(self, path: str, depth: int) -> _Walk:
        folder = self._listed(path)
        if self.limits.run_glob is not None:
            return (yield from self._named(folder, depth))
        why = whole_run(folder)
        deepest = MOST_LEVELS if self.limits.max_depth is None else self.limits.max_depth
        if why or depth >= min(MOST_LEVELS, deepest):
            return self._all_of(folder, why)
        keeps = self._keeps(folder)
        own = groups_of(self.tree, folder, self.readers)
        if len(own) > 1 and keeps and not any("table" in group.kinds for group in own):
            own = [joined(own)]
        below = yield from self._below(folder, depth, own, keeps)
        if len(own) > 1:
            return (yield from self._beside(folder, own, below.parts))
        return (yield from self._combined(folder, own, keeps, below))

    def _listed(self, path: str) -> Folder:
        folder = self.tree.folder(path)
        if not self.limits.exclude:
            return folder
        under = f"{path}/" if path else ""
        return Folder(
            path,
            tuple(f for f in folder.files if not self.limits.leaves_out(f.path)),
            tuple(n for n in folder.folders if not self.limits.leaves_out(under + n)),
        )

    def _named(self, folder: Folder, depth: int) -> _Walk:
        """Runs by ``--run-glob`` alone."""
        if self.limits.names(folder.path):
            yield from self._certain(self._all_of(folder, "named by --run-glob"))
        elif depth < MOST_LEVELS:
            for name in folder.folders:
                yield from self._walk(_under(folder.path, name), depth + 1)
        return None

    def _all_of(self, folder: Folder, why: str = "") -> _Part:
        """Everything below, undivided."""
        files: list[Entry] = []
        pending = [(folder, 0)]
        while pending:
            one, level = pending.pop()
            files.extend(one.files)
            if level == MOST_LEVELS:
                text = f"more than {MOST_LEVELS} folders inside each other; not looked into"
                self.tree.problems.append(Problem(text, Source(one.path)))
                continue
            inside = [(self._listed(_under(one.path, name)), level + 1) for name in one.folders]
            pending.extend(reversed(inside))
        kinds = {kind for file in files if (kind := named_kind(file.name)) in _RECORDS}
        return _Part(
            folder.path, files, frozenset(kinds | ({"run"} if why else set())), why, bool(why)
        )

    def _keeps(self, folder: Folder) -> str:
        """Why it is the output of one training."""
        if any(file.name == "trainer_state.json" for file in folder.files):
            return "trainer_state.json"
        saves = next((name for name in folder.folders if names_a_step(name)), None)
        if saves is None:
            return ""
        save = self._all_of(self._listed(_under(folder.path, saves)))
        holds = save.has_checkpoints or "state" in save.kinds
        apart = save.kinds & {"events", "log", "wandb"}
        return f"checkpoints by step ({saves}/)" if holds and not apart else ""

    def _below(
        self, folder: Folder, depth: int, own: Sequence[Group], keeps: str
    ) -> Generator[FoundRun, None, _Below]:
        """Walks the folders below, those with checkpoints first: other runs may own these."""
        kinds = frozenset(kind for group in own for kind in group.kinds)
        below = _Below(kinds, bool(own or keeps))
        for name in sorted(folder.folders, key=lambda name: name not in CHECKPOINT_FOLDERS):
            path = _under(folder.path, name)
            if keeps and (names_a_step(name) or name in LOG_FOLDERS):
                below.take(name, self._all_of(self._listed(path)))
                continue
            part = yield from self._walk(path, depth + 1)
            if part is None:
                below.settled = True
            elif part.files:
                below.parts.append((name, part))
                if name in CHECKPOINT_FOLDERS and not part.kinds:
                    self.apart.append(_Apart(folder.path, part))
            for certain in below.certain():
                yield from self._certain(certain)
        return below

    # --- deciding ---------------------------------------------------------------------------------

    def _combined(self, folder: Folder, own: Sequence[Group], keeps: str, below: _Below) -> _Walk:
        """The folder as one run with what lies in it, or the runs below each on its own."""
        parts = below.parts
        files = [*folder.files, *(file for _, part in parts for file in part.files)]
        kinds = frozenset().union(below.kinds, *(part.kinds for _, part in parts))
        seeded = [(name, part) for name, part in parts if part.kinds]
        if own or keeps:
            self._forget(folder.path)
            why = keeps or _recorded(own)
            return _Part(folder.path, files, kinds, why)
        if not below.settled and _is_one(seeded):
            self._forget(folder.path)
            if len(seeded) == 1 and not _adds(folder, parts, seeded[0][1]):
                return seeded[0][1]
            why = "; ".join(f"{name}/: {part.why}" for name, part in seeded)
            return _Part(folder.path, files, kinds, why)
        for _, part in seeded:
            yield from self._certain(part)
        yield from self._left_over(folder, [part for _, part in parts if not part.kinds])
        return None

    def _beside(self, folder: Folder, own: Sequence[Group], parts: _Parts) -> _Walk:
        """Several runs whose records share a folder, each with what bears its name."""
        taken = {file.path for group in own for file in group.files}
        used: set[str] = set()
        for group in own:
            files = list(group.files)
            if group.stem:
                files += [
                    file
                    for file in folder.files
                    if file.path not in taken and stem_of(file.name) == group.stem
                ]
                for name, part in parts:
                    if stem_of(name) == group.stem:
                        files += part.files
                        used.add(name)
            taken.update(file.path for file in files)
            root = group.files[0].path
            why = _recorded([group]) + ", one of several runs in the folder"
            named = _under(folder.path, group.stem) if group.stem else root
            yield from self._certain(_Part(root, files, group.kinds, why), named)
        rest = [(name, part) for name, part in parts if name not in used]
        for _, part in rest:
            if part.kinds:
                yield from self._certain(part)
        bare = Folder(folder.path, tuple(f for f in folder.files if f.path not in taken), ())
        yield from self._left_over(bare, [part for _, part in rest if not part.kinds])
        return None

    def _certain(self, part: _Part, named: str | None = None) -> Iterator[FoundRun]:
        """The run, with the checkpoints that lie apart under its name."""
        files, why = list(part.files), part.why
        for apart in self.apart:
            joining = apart.take(part.path if named is None else named)
            if joining:
                files += joining
                why += f", with the checkpoints in {apart.part.path}/ of the same name"
        yield FoundRun(part.path or ".", tuple(files), why)

    def _left_over(self, folder: Folder, bare: Sequence[_Part]) -> Iterator[FoundRun]:
        """Checkpoints that no run of a folder claimed."""
        yield from _checkpoint_runs(_Part(folder.path, list(folder.files)), alone=True)
        apart = self._forget(folder.path)
        for part in bare:
            left = [file for file in part.files if file.path not in apart]
            yield from _checkpoint_runs(_Part(part.path, left))

    def _forget(self, path: str) -> set[str]:
        """What lies beside a folder's runs is decided; the files that were taken from it."""
        taken: set[str] = set()
        while self.apart and self.apart[-1].base == path:
            taken |= self.apart.pop().taken
        return taken


_CHECKPOINT_READERS = "nanautopsy.checkpoints."
_RECORDS = frozenset({"events", "state", "wandb", "log"})


@dataclass(slots=True)
class _Below:
    """What the walk through the folders below another leaves."""

    kinds: frozenset[str]
    """What the folder itself records."""
    is_run: bool
    """The folder has records or checkpoints by step of its own."""
    parts: _Parts = field(default_factory=list)
    settled: bool = False
    """Runs below were yielded."""

    def take(self, name: str, part: _Part) -> None:
        """A part of the folder's own run: what it records, the folder does."""
        self.kinds |= part.kinds
        part.kinds = frozenset()
        self.parts.append((name, part))

    def certain(self) -> list[_Part]:
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

    def _is_plain(self, name: str, part: _Part) -> bool:
        """Records that are not, by kind or by name, a part of the run around them."""
        if not part.kinds or name in LOG_FOLDERS:
            return False
        if part.kinds == {"events"}:
            return "events" not in self.kinds and not is_counterpart(name)
        return True


class _Apart:
    """Checkpoints in a folder of their own, by the names under which runs may lie beside it."""

    def __init__(self, base: str, part: _Part) -> None:
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
        under = f"{self.base}/" if self.base else ""
        if not run.startswith(under):
            return []
        name = run[len(under) :].partition("/")[2]
        files = [f for f in self._by_name.get(name, ()) if f.path not in self.taken]
        self.taken.update(file.path for file in files)
        return files


def _is_one(seeded: _Parts) -> bool:
    """Whether what lies in neighboring folders is one run: alone, of different kinds in folders
    that programs name, or the training and evaluation of one."""
    if len(seeded) < 2:
        return True
    if all(part.kinds == {"events"} for _, part in seeded):
        return are_counterparts([name for name, _ in seeded])
    kinds = [kind for _, part in seeded for kind in part.kinds]
    return all(name in LOG_FOLDERS for name, _ in seeded) and len(kinds) == len(set(kinds))


def _adds(folder: Folder, parts: _Parts, run: _Part) -> bool:
    """Whether a folder holds something of the only run below it."""
    bare = [part for _, part in parts if not part.kinds]
    own = _Part(folder.path, list(folder.files))
    beside = (own, *bare)
    if any(part.has_checkpoints or part.has_logs for part in beside):
        return True
    return not run.whole and any(part.has_settings for part in beside)


def _checkpoint_runs(part: _Part, alone: bool = False) -> Iterator[FoundRun]:
    """Checkpoints without records: a run for each folder that is not one step or part of another.

    ``alone``: only the files that lie directly in the folder are there.
    """
    if not part.has_checkpoints:
        return
    under = len(part.path) + 1 if part.path else 0
    by_folder: dict[str, list[Entry]] = {}
    for file in part.files:
        by_folder.setdefault(file.path[under:].rpartition("/")[0].partition("/")[0], []).append(
            file
        )
    kept = {name: files for name, files in by_folder.items() if _Part("", files).has_checkpoints}
    whole = alone or "" in kept
    if whole or all(names_a_step(name) or name in CHECKPOINT_FOLDERS for name in kept):
        yield FoundRun(part.path or ".", tuple(part.files), "checkpoints alone")
        return
    for name, files in kept.items():
        yield FoundRun(_under(part.path, name), tuple(files), "checkpoints alone")


def joined(groups: Iterable[Group]) -> Group:
    """All of them as one."""
    groups = list(groups)
    files = tuple(file for group in groups for file in group.files)
    return Group("", files, frozenset(kind for group in groups for kind in group.kinds))


def _recorded(groups: Iterable[Group]) -> str:
    """The first files that record a training."""
    names = [file.name for group in groups for file in group.files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _under(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
