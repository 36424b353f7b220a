"""The opened files of one tag directory, put together and held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from nanautopsy.checkpoints._part_labels import told_apart
from nanautopsy.checkpoints._read_budget import within_budget
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.zero.check import agreement
from nanautopsy.checkpoints.zero.files import (
    Slices,
    StateFile,
    mapping,
    shapes_of,
    slices_of,
    whole_number,
)
from nanautopsy.checkpoints.zero.groups import MASTER, Group, groups_of
from nanautopsy.checkpoints.zero.maps import Shapes
from nanautopsy.checkpoints.zero.model import frozen_slices, plain_optimizer, weights_of
from nanautopsy.checkpoints.zero.tensors import Assembled, assemble
from nanautopsy.model import Problem, Source

_MOST_NAMED = 8
"""Ranks that one problem names."""
_FEW_COMPARED = 2
"""Parameters that must agree before a map is believed that does not fit the sizes."""


@dataclass(slots=True)
class Gathered:
    """What all files together give."""

    directory: str
    tensors: list[StoredTensor] = field(default_factory=list)
    """Names are unique."""
    missing: dict[str, None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, text: str, path: str | None = None) -> None:
        """A problem of the directory, or of one file in it."""
        self.problems.append(Problem(text, Source(path or self.directory)))


@dataclass(slots=True)
class _Part:
    """The files of one model-parallel part."""

    models: list[StateFile] = field(default_factory=list)
    slices: list[Slices] = field(default_factory=list)


def gather(files: Sequence[StateFile], directory: str) -> Gathered:
    """All tensors of the opened ``files``, and what is missing or does not fit."""
    found = Gathered(directory)
    parts: dict[str, _Part] = {}
    held: dict[str, list[tuple[str, StoredTensor]]] = {}
    for source in files:
        part = parts.setdefault(source.name.part, _Part())
        if source.name.role == "model":
            part.models.append(source)
        slices = slices_of(source, source.name.rank or 0) if "optim" in source.name.role else None
        if slices is not None:
            part.slices.append(slices)
        _take_weights(source, found, held)
    weights = {name: tensors[0][1] for name, tensors in held.items()}
    tell_rank = len([part for part in parts.values() if part.slices]) <= 1 and _is_whole(files)
    for label, part in parts.items():
        for assembled in _states_of(part, found, weights, tell_rank):
            held.setdefault(assembled.name, []).append((label, assembled))
    tensors = _named(list(told_apart(held)), directory)
    budget = within_budget(tensors, sum(source.file.size for source in files))
    found.tensors = budget.tensors
    if budget.refused:
        found.missing.update(dict.fromkeys(budget.refused))
        count = len(budget.refused)
        found.note(f"views of the same bytes add up to many times the files; {count} left out")
    _check_parts(files, parts, found)
    return found


def _named(tensors: list[StoredTensor], directory: str) -> Sequence[StoredTensor]:
    """Without ZeRO the optimizer counts parameters; the module keeps their order, as torch does."""
    if all(tensor.index is None for tensor in tensors):
        return tensors
    called = tuple(replace(t, moment=MASTER) if t.part == MASTER else t for t in tensors)
    named = name_moments([StoredCheckpoint(directory, "torch", None, called)])[0].tensors
    return [replace(t, moment=None) if t.part == MASTER else t for t in named]


def _is_whole(files: Sequence[StateFile]) -> bool:
    """Whether the model was not cut into parts, so that the data-parallel rank is the rank."""
    return all((whole_number(f.content.get("mp_world_size")) or 1) <= 1 for f in files)


def _take_weights(
    source: StateFile, found: Gathered, held: dict[str, list[tuple[str, StoredTensor]]]
) -> None:
    """Weights and buffers; of the copies that several ranks keep, the first."""
    label = source.name.part
    for leaf in weights_of(source):
        if leaf.tensor is None:
            found.missing[leaf.name] = None
            continue
        same = held.setdefault(leaf.name, [])
        if all(other != label for other, _ in same):
            same.append((label, leaf.tensor))
    if source.name.role == "model" or "optim" in source.name.role:
        for tensor in plain_optimizer(source):
            held.setdefault(tensor.name, []).append((label, tensor))


# --- one model-parallel part ----------------------------------------------------------------------


def _states_of(
    part: _Part, found: Gathered, weights: dict[str, StoredTensor], tell_rank: bool
) -> Iterator[StoredTensor]:
    """Master weights, moments and frozen weights of one part."""
    shapes = next((s for m in part.models if (s := shapes_of(m.content.get("param_shapes")))), None)
    world = _world(part)
    slices = _of_this_save(part.slices, world, found)
    _compare_steps(slices, found)
    third = _is_third_stage(part)
    if third:
        yield from frozen_slices(part.models, world, tell_rank)
    if not slices:
        if third and shapes is not None:
            _note_no_slices(shapes, found)
        return
    _check_ranks(slices, world, found)
    for group in groups_of(slices, shapes, world):
        certain = _certain(group, weights, found)
        yield from _present(assemble(certain, tell_rank), found)
    for one in slices:
        for name, tensor in one.others.items():
            yield replace(tensor, name=f"{name}@rank_{one.rank}", part="state")


def _world(part: _Part) -> int:
    """How many ranks share the state: what most optimizer files say, else the model files."""
    most = [max(one.counts, default=0) for one in part.slices]
    counts = Counter(count for count in most if count)
    if counts:
        return max(counts.items(), key=lambda item: (item[1], item[0]))[0]
    stated = (whole_number(model.content.get("dp_world_size")) for model in part.models)
    ranks = [model.name.rank or 0 for model in part.models] + [s.rank for s in part.slices]
    return next((count for count in stated if count), None) or max(ranks, default=0) + 1


def _of_this_save(slices: Sequence[Slices], world: int, found: Gathered) -> list[Slices]:
    """Without files that another save with more or fewer ranks left behind."""
    kept = []
    for one in sorted(slices, key=lambda s: s.rank):
        count = max(one.counts, default=0)
        if one.rank >= world or (count and count != world):
            text = f"is of rank {one.rank}, but {world} ranks share the state"
            if count and count != world:
                text = f"says that {count} ranks share the state, other files say {world}"
            text += ": left by another save, not used"
            found.note(text, one.source.file.path)
        else:
            kept.append(one)
    return kept


def _compare_steps(slices: Sequence[Slices], found: Gathered) -> None:
    """Ranks step together: files of two saves show by their counters."""
    steps = {one.rank: one.step for one in slices if one.step is not None}
    if len(set(steps.values())) < 2:
        return
    usual = Counter(steps.values()).most_common(1)[0][0]
    for one in slices:
        if one.step is not None and one.step != usual:
            text = f"its optimizer had made {one.step:g} steps, that of other ranks {usual:g}: "
            found.note(text + "files of different saves", one.source.file.path)


def _is_third_stage(part: _Part) -> bool:
    if part.slices:
        return part.slices[0].is_third_stage
    return any(
        whole_number(mapping(m.mapping("ds_config").get("zero_optimization")).get("stage")) == 3
        for m in part.models
    )


def _note_no_slices(shapes: Sequence[Shapes], found: Gathered) -> None:
    names = [name for table in shapes for name in table]
    found.missing.update(dict.fromkeys(names))
    found.note(f"the optimizer files, which hold all {len(names)} weights, are not here")


def _check_ranks(slices: Sequence[Slices], world: int, found: Gathered) -> None:
    here = {one.rank for one in slices}
    absent = world - len(here)
    if absent <= 0:
        return
    first: list[str] = []
    rank = 0
    while len(first) < min(absent, _MOST_NAMED):
        if rank not in here:
            first.append(str(rank))
        rank += 1
    more = f" and {absent - len(first)} more" if absent > len(first) else ""
    noun = "rank" if absent == 1 else "ranks"
    found.note(f"no readable optimizer file of {noun} {', '.join(first)}{more} of {world}")


def _certain(group: Group, weights: dict[str, StoredTensor], found: Gathered) -> Group:
    """The group, without its map where the weights themselves deny it."""
    if group.spans is None:
        _note_unmapped(group, "param_shapes cannot be read or do not fit", found)
        return group
    seen = agreement(group, weights)
    if seen.denies:
        why = f"the weights differ from {seen.compared - seen.equal} of {seen.compared} fp32 copies"
        _note_unmapped(group, why, found)
        return replace(group, spans=None)
    if not group.fits and seen.equal < _FEW_COMPARED:
        _note_unmapped(group, "the sizes do not fit param_shapes", found)
        return replace(group, spans=None)
    return group


def _note_unmapped(group: Group, why: str, found: Gathered) -> None:
    text = f"optimizer group {group.number}{group.label}: "
    found.note(text + f"which parameter each element belongs to is not known: {why}")


def _present(assembled: Iterable[Assembled], found: Gathered) -> Iterator[StoredTensor]:
    """Those of which anything is left; the others are missing."""
    total, partial = 0, []
    for item in assembled:
        total += 1
        if item.tensor.numel and not item.present:
            found.missing[item.tensor.name] = None
            continue
        if item.present < item.tensor.numel:
            partial.append(item)
        yield item.tensor
    if partial:
        first = partial[0]
        text = f"{len(partial)} of {total} optimizer tensors lack elements, the first is "
        text += f"{first.tensor.name!r} with {first.present} of {first.tensor.numel}"
        found.note(text)


# --- all parts ------------------------------------------------------------------------------------


def _check_parts(files: Sequence[StateFile], parts: dict[str, _Part], found: Gathered) -> None:
    """Model-parallel parts and layers that should be there."""
    wanted = max((whole_number(f.content.get("mp_world_size")) or 0 for f in files), default=0)
    here = sum(1 for part in parts.values() if part.models)
    if here < wanted:
        found.note(f"model files of {here} of {wanted} model-parallel parts are here")
    names = {tensor.name for tensor in found.tensors}
    plain = {name.rpartition("@")[0] or name for name in names} | names
    listed: list[str] = []
    for part in parts.values():
        for model in part.models if not _is_third_stage(part) else ():
            tables = shapes_of(model.content.get("param_shapes")) or ()
            listed += [name for table in tables for name in table]
    lost = [name for name in listed if name not in plain]
    # A model may be saved under names of its own; then none of those listed is found.
    if lost and (len(lost) < len(listed) or not any(t.part == "parameter" for t in found.tensors)):
        found.missing.update(dict.fromkeys(lost))
        text = f"{len(lost)} weights that the model file lists are in no file here, "
        found.note(text + f"the first is {lost[0]!r}")
