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

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from nanautopsy.model import Problem, Source
from nanautopsy.scan.evidence import (
    CHECKPOINT_FOLDERS,
    LOG_FOLDERS,
    named_kind,
    names_a_step,
    whole_run,
)
from nanautopsy.scan.kinds import Kinds
from nanautopsy.scan.limits import MOST_LEVELS, Limits
from nanautopsy.scan.one_folder import Group, groups_of, joined, recorded, stem_of
from nanautopsy.scan.parts import (
    Apart,
    Below,
    FoundRun,
    Part,
    Parts,
    adds,
    checkpoint_runs,
    is_one,
    under,
)
from nanautopsy.scan.tree import Entry, Folder, Tree

_RECORDS = frozenset({"events", "state", "wandb", "log"})

_Walk: TypeAlias = "Generator[FoundRun, None, Part | None]"
"""Yields the runs below that nothing above can change; returns what remains, ``None`` when all
of it was yielded."""


def find_runs(kinds: Kinds, limits: Limits | None = None) -> Iterator[FoundRun]:
    """Every run as soon as it is certain; what could not be read is in the tree's problems."""
    return _Search(kinds.tree, kinds, limits or Limits()).runs()


@dataclass(slots=True)
class _Search:
    tree: Tree
    kinds: Kinds
    limits: Limits
    apart: list[Apart] = field(default_factory=list)
    """Checkpoints that lie beside the folders that are being walked."""

    def runs(self) -> Iterator[FoundRun]:
        part = yield from self._walk("", 0)
        if part is not None:
            yield from self._certain(part) if part.kinds else checkpoint_runs(part)

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
        own = groups_of(self.kinds, folder)
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
                yield from self._walk(under(folder.path, name), depth + 1)
        return None

    def _all_of(self, folder: Folder, why: str = "") -> Part:
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
            inside = [(self._listed(under(one.path, name)), level + 1) for name in one.folders]
            pending.extend(reversed(inside))
        kinds = {kind for file in files if (kind := named_kind(file.name)) in _RECORDS}
        return Part(
            folder.path, files, frozenset(kinds | ({"run"} if why else set())), why, bool(why)
        )

    def _keeps(self, folder: Folder) -> str:
        """Why it is the output of one training."""
        if any(file.name == "trainer_state.json" for file in folder.files):
            return "trainer_state.json"
        saves = next((name for name in folder.folders if names_a_step(name)), None)
        if saves is None:
            return ""
        save = self._all_of(self._listed(under(folder.path, saves)))
        holds = save.has_checkpoints or "state" in save.kinds
        apart = save.kinds & {"events", "log", "wandb"}
        return f"checkpoints by step ({saves}/)" if holds and not apart else ""

    def _below(
        self, folder: Folder, depth: int, own: Sequence[Group], keeps: str
    ) -> Generator[FoundRun, None, Below]:
        """Walks the folders below, those with checkpoints first: other runs may own these."""
        kinds = frozenset(kind for group in own for kind in group.kinds)
        below = Below(kinds, bool(own or keeps))
        for name in sorted(folder.folders, key=lambda name: name not in CHECKPOINT_FOLDERS):
            path = under(folder.path, name)
            if keeps and (names_a_step(name) or name in LOG_FOLDERS):
                below.take(name, self._all_of(self._listed(path)))
                continue
            part = yield from self._walk(path, depth + 1)
            if part is None:
                below.settled = True
            elif part.files:
                below.parts.append((name, part))
                if name in CHECKPOINT_FOLDERS and not part.kinds:
                    self.apart.append(Apart(folder.path, part))
            for certain in below.certain():
                yield from self._certain(certain)
        return below

    # --- deciding ---------------------------------------------------------------------------------

    def _combined(self, folder: Folder, own: Sequence[Group], keeps: str, below: Below) -> _Walk:
        """The folder as one run with what lies in it, or the runs below each on its own."""
        parts = below.parts
        files = [*folder.files, *(file for _, part in parts for file in part.files)]
        kinds = frozenset().union(below.kinds, *(part.kinds for _, part in parts))
        seeded = [(name, part) for name, part in parts if part.kinds]
        if own or keeps:
            self._forget(folder.path)
            why = keeps or recorded(own)
            return Part(folder.path, files, kinds, why)
        if not below.settled and is_one(seeded):
            self._forget(folder.path)
            if len(seeded) == 1 and not adds(folder, parts, seeded[0][1]):
                return seeded[0][1]
            why = "; ".join(f"{name}/: {part.why}" for name, part in seeded)
            return Part(folder.path, files, kinds, why)
        for _, part in seeded:
            yield from self._certain(part)
        yield from self._left_over(folder, [part for _, part in parts if not part.kinds])
        return None

    def _beside(self, folder: Folder, own: Sequence[Group], parts: Parts) -> _Walk:
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
            why = recorded([group]) + ", one of several runs in the folder"
            named = under(folder.path, group.stem) if group.stem else root
            yield from self._certain(Part(root, files, group.kinds, why), named)
        rest = [(name, part) for name, part in parts if name not in used]
        for _, part in rest:
            if part.kinds:
                yield from self._certain(part)
        bare = Folder(folder.path, tuple(f for f in folder.files if f.path not in taken), ())
        yield from self._left_over(bare, [part for _, part in rest if not part.kinds])
        return None

    def _certain(self, part: Part, named: str | None = None) -> Iterator[FoundRun]:
        """The run, with the checkpoints that lie apart under its name."""
        files, why = list(part.files), part.why
        for apart in self.apart:
            joining = apart.take(part.path if named is None else named)
            if joining:
                files += joining
                why += f", with the checkpoints in {apart.part.path}/ of the same name"
        yield FoundRun(part.path or ".", tuple(files), why)

    def _left_over(self, folder: Folder, bare: Sequence[Part]) -> Iterator[FoundRun]:
        """Checkpoints that no run of a folder claimed."""
        yield from checkpoint_runs(Part(folder.path, list(folder.files)), alone=True)
        apart = self._forget(folder.path)
        for part in bare:
            left = [file for file in part.files if file.path not in apart]
            yield from checkpoint_runs(Part(part.path, left))

    def _forget(self, path: str) -> set[str]:
        """What lies beside a folder's runs is decided; the files that were taken from it."""
        taken: set[str] = set()
        while self.apart and self.apart[-1].base == path:
            taken |= self.apart.pop().taken
        return taken
