"""Which ranks share a flattened group, and what lies where in each rank's part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nanautopsy.checkpoints.stored import Part, StoredTensor
from nanautopsy.checkpoints.zero.files import Slices, mapping, whole_number
from nanautopsy.checkpoints.zero.maps import (
    Shapes,
    Span,
    length_of_part,
    length_of_slices,
    spans_of_part,
    spans_of_slices,
)

MASTER = "master"
"""What the fp32 copy of a parameter is called; moments are called as the optimizer calls them."""
_EXPERT = re.compile(r"(?<=deepspeed_experts\.)\d+")


@dataclass(frozen=True, slots=True)
class Vector:
    """What the ranks hold of one group under one name: the weights, or one moment."""

    kind: str
    """:data:`MASTER`, or the moment's name."""
    tensors: tuple[tuple[StoredTensor | None, ...], ...]
    """Of each rank, one flat tensor or (stage 3) several that follow each other."""

    @property
    def part(self) -> Part:
        """What it is to a parameter."""
        return "master" if self.kind == MASTER else "moment"


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that were flattened together, and the ranks that share them."""

    number: int
    """At stage 3, where all groups are joined: 0."""
    ranks: tuple[Slices, ...]
    places: tuple[int, ...]
    """Of each rank, which part of the group it holds."""
    size: int
    """Elements in each part, padding included."""
    shapes: Shapes
    """Empty where nothing tells them."""
    spans: tuple[tuple[Span, ...], ...] | None
    """Of each rank; ``None`` where it is not known which parameter lies where."""
    fits: bool
    """The parameters fill the parts as they should."""
    vectors: tuple[Vector, ...]
    label: str = ""
    """Tells the group from another of the same number."""


def groups_of(
    ranks: Sequence[Slices], shapes: Sequence[Shapes] | None, world: int
) -> Iterator[Group]:
    """The groups of one model-parallel part, from the ranks (at least one) that are there."""
    if ranks[0].is_third_stage:
        yield _joined(ranks, shapes, world)
        return
    for number in range(max(len(one.weights) for one in ranks)):
        fits_count = shapes is not None and number < len(shapes)
        table = shapes[number] if shapes is not None and fits_count else None
        parts = max((one.counts[number : number + 1] or [0])[0] for one in ranks)
        # Experts are shared by every n-th rank only: their groups have fewer parts.
        families = world // parts if 0 < parts < world else 1
        if families == 1:
            yield _flat(ranks, number, table, (1, world), "")
            continue
        for family in sorted({one.rank % families for one in ranks}):
            members = [one for one in ranks if one.rank % families == family]
            own = None if table is None else _of_family(table, family)
            yield _flat(members, number, own, (families, parts), f"@expert_rank_{family}")


def _flat(
    ranks: Sequence[Slices],
    number: int,
    table: Shapes | None,
    split: tuple[int, int],
    label: str,
) -> Group:
    """One group of stage 1 or 2; ``split``: every how many ranks hold a part, and how many."""
    families, parts = split
    places = tuple(one.rank // families for one in ranks)
    gaps = next((one.gaps[number] for one in ranks if number < len(one.gaps)), [])
    vectors = tuple(_vectors(ranks, slice(number, number + 1)))
    lengths = [t.numel for v in vectors for row in v.tensors for t in row if t is not None]
    size = max(lengths, default=0)
    wanted = 0 if table is None else length_of_part(table, gaps, parts)
    if size < wanted and set(places) == {parts - 1}:
        size = wanted  # the last part is stored without its padding
    if table is not None:
        spans = tuple(tuple(spans_of_part(table, gaps, place, size)) for place in places)
        fits = size == wanted
        return Group(number, tuple(ranks), places, size, table, spans, fits, vectors, label)
    shapes, mapped = _from_mappings(ranks, places, number)
    return Group(number, tuple(ranks), places, size, shapes, mapped, True, vectors, label)


def _joined(ranks: Sequence[Slices], shapes: Sequence[Shapes] | None, world: int) -> Group:
    """Stage 3: all groups of parameters, one behind the other."""
    places = tuple(one.rank for one in ranks)
    vectors = tuple(_vectors(ranks, slice(None)))
    size = sum(subgroup_sizes(vectors))
    table = {name: shape for group in shapes or () for name, shape in group.items()}
    parts = max((one.counts[0] for one in ranks if one.counts), default=0) or world
    if not table:
        return Group(0, tuple(ranks), places, size, {}, None, False, vectors)
    spans = tuple(tuple(spans_of_slices(table, place, parts)) for place in places)
    fits = size == length_of_slices(table, parts)
    return Group(0, tuple(ranks), places, size, table, spans if fits else None, fits, vectors)


def subgroup_sizes(vectors: Sequence[Vector]) -> list[int]:
    """Elements of each tensor of a rank's vectors; every rank and every moment has as many."""
    sizes: list[int] = []
    for vector in vectors:
        for row in vector.tensors:
            sizes += [0] * (len(row) - len(sizes))
            for i, tensor in enumerate(row):
                sizes[i] = max(sizes[i], tensor.numel if tensor is not None else 0)
    return sizes


def _vectors(ranks: Sequence[Slices], numbers: slice) -> Iterator[Vector]:
    yield Vector(MASTER, tuple(tuple(one.weights[numbers]) for one in ranks))
    kinds = {kind: None for one in ranks for kind in one.moments}
    for kind in kinds:
        rows = [one.moments.get(kind, [None] * len(one.weights)) for one in ranks]
        if any(tensor is not None for row in rows for tensor in row[numbers]):
            yield Vector(kind, tuple(tuple(row[numbers]) for row in rows))


def _of_family(table: Shapes, family: int) -> Shapes:
    """Experts are numbered anew on each rank; their files count them through."""
    local = {match[0] for name in table for match in _EXPERT.finditer(name)}
    first = family * len(local)
    return {
        _EXPERT.sub(lambda match: str(int(match[0]) + first), name): shape
        for name, shape in table.items()
    }


def _from_mappings(
    ranks: Sequence[Slices], places: Sequence[int], number: int
) -> tuple[Shapes, tuple[tuple[Span, ...], ...] | None]:
    """Names and counts by the ranks' own slice mappings, where ``param_shapes`` is lost.

    With ``round_robin_gradients`` these name the wrong parameters (the groups are reordered after
    they are noted), and without the lower ranks it is not known where a slice begins.
    """
    complete = sorted(places) == list(range(len(places)))
    if not complete or any(_is_round_robin(one) for one in ranks):
        return {}, None
    counts: dict[str, int] = {}
    rows: dict[int, tuple[Span, ...]] = {}
    for place, one in sorted(zip(places, ranks, strict=True), key=lambda pair: pair[0]):
        row = []
        for name, start, count in _slices(one, number):
            row.append(Span(name, counts.get(name, 0), start, count))
            counts[name] = counts.get(name, 0) + count
        rows[place] = tuple(row)
    if not counts:
        return {}, None
    return {name: (count,) for name, count in counts.items()}, tuple(rows[p] for p in places)


def _slices(one: Slices, number: int) -> Iterator[tuple[str, int, int]]:
    """(parameter, first element of the vector, elements) of one rank's mapping."""
    mappings = one.source.mapping("optimizer_state_dict").get("param_slice_mappings")
    tables = mappings if isinstance(mappings, (list, tuple)) else ()
    if number >= len(tables):
        return
    for name, fragment in mapping(tables[number]).items():
        fields = getattr(fragment, "attributes", {})
        start, count = whole_number(fields.get("start")), whole_number(fields.get("numel"))
        if isinstance(name, str) and start is not None and count:
            yield name, start, count


def _is_round_robin(one: Slices) -> bool:
    settings = mapping(one.source.mapping("ds_config").get("zero_optimization"))
    return bool(settings.get("round_robin_gradients"))
