"""Inspecting checkpoints: from paths, globs and URLs to what was measured, as frozen dataclasses.

Where a directory holds the same thing saved again and again, that is a history: few of its
members are measured, and what the others are is inferred (``checkpoints.examine``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from nanautopsy import __version__
from nanautopsy.checkpoint_diff import CheckpointDiff, compare
from nanautopsy.checkpoint_files import display, load
from nanautopsy.checkpoint_files import stored as stored_in
from nanautopsy.checkpoints.damage import (
    constant_infinities,
    damaged,
    damaged_moments,
    is_mask,
    parameter_name,
)
from nanautopsy.checkpoints.examine import Progress, examine, size_of
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.discover import natural_key
from nanautopsy.layers import forward_key
from nanautopsy.model import Checkpoint, Depth, Problem, Reading, TensorHealth
from nanautopsy.redact import redact_value

Paths: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
Condition: TypeAlias = Literal["finite", "non-finite", "unmeasured"]


@dataclass(frozen=True, slots=True)
class Inspected:
    """One checkpoint and what is made of it."""

    checkpoint: Checkpoint
    listed: int
    """Tensors that it holds, of those that were asked for; measured or not."""
    bytes: int
    """Of these tensors."""
    damage: tuple[str, ...] = ()
    """Names of the tensors whose non-finite values are damage, in forward order: no masks."""
    by_design: tuple[str, ...] = ()
    """Names of the non-finite tensors that are no damage: masks, and state of no parameter."""

    @property
    def condition(self) -> Condition:
        """What was measured; see ``checkpoint.inferred`` for one that was not."""
        if self.checkpoint.depth is None:
            return "unmeasured"
        return "non-finite" if self.damage else "finite"


@dataclass(frozen=True, slots=True)
class History:
    """Checkpoints that are the same thing saved again and again, in order."""

    members: tuple[Inspected, ...]

    @property
    def first_bad(self) -> Inspected | None:
        """The first measured one that is non-finite."""
        return next((m for m in self.members if m.condition == "non-finite"), None)

    @property
    def last_good(self) -> Inspected | None:
        """The last one measured before it that is finite."""
        bad = self.first_bad
        before = self.members if bad is None else self.members[: self.members.index(bad)]
        return next((m for m in reversed(before) if m.condition == "finite"), None)

    @property
    def good_again(self) -> Inspected | None:
        """A finite one measured after it: the run went back to a sound checkpoint."""
        bad = self.first_bad
        after = () if bad is None else self.members[self.members.index(bad) :]
        return next((m for m in after if m.condition == "finite"), None)

    @property
    def telling(self) -> Inspected:
        """The one to show: the first bad one, else the last measured."""
        measured = [m for m in self.members if m.condition != "unmeasured"]
        return self.first_bad or (measured or self.members)[-1]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The finished result: all that a renderer sees."""

    paths: tuple[str, ...]
    """As they were given, without credentials."""
    depth: Depth
    histories: tuple[History, ...]
    """Weights first, a history that holds damage before one that does not; a checkpoint that
    stands alone is a history of one."""
    problems: tuple[Problem, ...]
    """What could not be read or should not be trusted, artifacts that were not read among it."""
    diff: CheckpointDiff | None = None
    """Instead of ``histories``, where two checkpoints were compared."""
    against: str | None = None
    filters: tuple[str, ...] = ()
    version: str = __version__
    hidden: Mapping[str, int] = field(default_factory=dict)
    """How many distinct things were hidden, by their kind."""

    @property
    def inspected(self) -> tuple[Inspected, ...]:
        """Every checkpoint, history by history."""
        return tuple(member for history in self.histories for member in history.members)

    @property
    def failed(self) -> bool:
        """Whether any measured tensor is damaged."""
        after = () if self.diff is None else self.diff.damage
        return bool(after) or any(member.damage for member in self.inspected)

    @property
    def nothing_read(self) -> bool:
        """Whether there are tensors, and not one could be measured."""
        about = [member.checkpoint for member in self.inspected]
        return any(c.missing for c in about) and not any(c.tensors for c in about)


@np.errstate(all="ignore")
def inspect(
    path: Paths,
    *,
    depth: Depth = "finite",
    against: str | os.PathLike[str] | None = None,
    filters: Sequence[str] = (),
    everything: bool = False,
    redact: bool = True,
    redact_urls: bool = False,
    progress: Progress | None = None,
) -> Inspection:
    """Measure the checkpoints behind files, directories, globs and URLs.

    ``depth``: ``finite`` answers whether there is a NaN or Inf, and the headroom; ``full`` counts
    zeros and subnormals too. ``against``: another checkpoint, the earlier one, to compare with.
    ``filters``: globs over tensor names, of which one must match; one without ``*?[`` may match
    anywhere in the name. ``everything``: measure each checkpoint of a history. ``redact``: hide
    home directories, names and secrets; ``redact_urls``: buckets and internal URLs too.

    Raises :class:`nanautopsy.discover.NothingToRead` when there is nothing to measure, and
    :class:`nanautopsy.checkpoint_diff.Unclear` when it is not clear what is to be compared.
    """
    named = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    problems: list[Problem] = []
    readings = load(named, filters, problems)
    stored = stored_in(readings)
    about = Inspection(
        paths=tuple(display(p) for p in named),
        depth=depth,
        histories=(),
        problems=(),
        filters=tuple(filters),
    )
    if against is not None:
        earlier = load([against], filters, problems)
        diff = compare(stored_in(earlier), stored, progress)
        problems += diff.problems
        about = replace(about, depth="full", diff=diff, against=display(against))
    else:
        readings = examine(readings, depth=depth, everything=everything, progress=progress)
        about = replace(about, histories=_histories(stored, _checkpoints(readings)))
        problems += [problem for reading in readings for problem in reading.problems]
    about = replace(about, problems=tuple(dict.fromkeys(problems)))
    return _hidden(about, redact_urls) if redact else about


# --- what is made of the measured ones ------------------------------------------------------------


def _histories(
    stored: Sequence[StoredCheckpoint], checkpoints: Sequence[Checkpoint]
) -> tuple[History, ...]:
    about = {id(c): s for c, s in zip(checkpoints, stored, strict=True)}
    histories = []
    for line in lineages(checkpoints):
        by_design = constant_infinities(line)
        histories.append(History(tuple(_inspected(c, about[id(c)], by_design) for c in line)))

    def place(history: History) -> tuple[bool, bool, tuple[tuple[int, int, str], ...]]:
        first = history.members[0].checkpoint
        return history.first_bad is None, first.holds != "model", natural_key(first.path)

    return tuple(sorted(histories, key=place))


def _inspected(
    checkpoint: Checkpoint, stored: StoredCheckpoint, by_design: frozenset[str]
) -> Inspected:
    bad = (*damaged(checkpoint), *damaged_moments(checkpoint))
    if checkpoint.holds == "unknown":  # nothing says that its arrays may hold NaN by design
        bad = tuple(tensor for tensor in checkpoint.nonfinite if not is_mask(tensor))
    names = {tensor.name for tensor in bad} - by_design
    ordered = sorted(checkpoint.nonfinite, key=lambda t: (forward_key(parameter_name(t)), t.name))
    return Inspected(
        checkpoint=checkpoint,
        listed=len(stored.tensors),
        bytes=size_of(stored),
        damage=tuple(t.name for t in ordered if t.name in names),
        by_design=tuple(t.name for t in ordered if t.name not in names),
    )


def _checkpoints(readings: Sequence[Reading]) -> list[Checkpoint]:
    return [r for reading in readings for r in reading.records if isinstance(r, Checkpoint)]


def _hidden(inspection: Inspection, urls: bool = False) -> Inspection:
    """Without home directories, names and secrets, as every report is.

    Names of tensors are kept: they come from the model, and there may be very many.
    """
    diff = inspection.diff
    bare = replace(
        inspection,
        histories=tuple(
            History(tuple(_without_names(member) for member in history.members))
            for history in inspection.histories
        ),
        diff=None if diff is None else replace(diff, tensors=(), damage=()),
    )
    measured = [t for member in inspection.inspected for t in member.checkpoint.tensors]
    if diff is not None:
        measured += [t for pair in diff.tensors for t in (pair.before, pair.after) if t is not None]
    paths = tuple({tensor.path for tensor in measured})
    (hidden, hidden_paths), count = redact_value((bare, paths), urls=urls)
    new_path = dict(zip(paths, hidden_paths, strict=True))
    return replace(
        hidden,
        histories=tuple(
            History(tuple(map(partial(_with_names, new_path), old.members, new.members)))
            for old, new in zip(inspection.histories, hidden.histories, strict=True)
        ),
        diff=_diff_with_names(new_path, diff, hidden.diff),
        hidden=count,
    )


def _without_names(member: Inspected) -> Inspected:
    bare = replace(member.checkpoint, tensors=(), missing=())
    return replace(member, checkpoint=bare, damage=(), by_design=())


def _with_names(new_path: Mapping[str, str], old: Inspected, new: Inspected) -> Inspected:
    tensors = tuple(_moved(new_path, tensor) for tensor in old.checkpoint.tensors)
    checkpoint = replace(new.checkpoint, tensors=tensors, missing=old.checkpoint.missing)
    return replace(new, checkpoint=checkpoint, damage=old.damage, by_design=old.by_design)


def _diff_with_names(
    new_path: Mapping[str, str], old: CheckpointDiff | None, new: CheckpointDiff | None
) -> CheckpointDiff | None:
    if old is None or new is None:
        return None
    tensors = tuple(
        replace(
            pair,
            before=pair.before and _moved(new_path, pair.before),
            after=pair.after and _moved(new_path, pair.after),
        )
        for pair in old.tensors
    )
    return replace(new, tensors=tensors, damage=old.damage)


def _moved(new_path: Mapping[str, str], tensor: TensorHealth) -> TensorHealth:
    path = new_path[tensor.path]
    return tensor if path == tensor.path else replace(tensor, path=path)
