"""What healthy runs of the same kind did otherwise than runs that died alike.

Healthy runs are looked for where they are most like: below the nearest folder above a run that
died; else among those of the same script and architecture; else anywhere, where all but a few
settings agree. What is then told differs *consistently*: of those that state a setting, the runs
that died have some values, the healthy ones others, and no value stands on both sides. That is a
difference, not a cause.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from nanautopsy.scan.overview.details import AllDetails, Details
from nanautopsy.scan.overview.runs import ListedRun

Basis: TypeAlias = Literal["folder", "program", "settings"]
Value: TypeAlias = "str | float"
MOST_DEAD, MOST_CANDIDATES, MOST_NEAREST = 20, 60, 10
"""Runs of a group that are compared, the latest; healthy runs that each is held against; and how
many of those, the most alike, it is compared with."""
MOST_ANYWHERE = 300
"""Healthy runs, the latest, among which twins by settings alone are looked for."""
LEAST_NEAR = 0.5
"""Part of the agreeing settings of the most alike that the others must have too: to be like in the
two settings that a bare log tells is less than in the two hundred of a configuration."""
LEAST_ALIKE = 0.5
"""Share of the settings that both state, in which runs of one folder or script must agree: others
are other trainings."""
TWIN_KNOWN, TWIN_APART = 8, 3
"""Settings that two runs from anywhere must both state, and how many of them may differ."""
LEAST_STATED = 0.5
"""Share of each side's runs that must state a setting."""
MOST_DIFFERENCES = 12
MOST_VALUES = 4
"""Of one side of a difference."""
_ORDINARY = frozenset({0.0, 1.0})
"""Numbers so common that two settings may share them by chance."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting or a package version that differs consistently."""

    kind: Literal["setting", "package"]
    name: str
    dead: tuple[tuple[Value, int], ...]
    """Values of the runs that died, with how many have each; the most frequent first."""
    healthy: tuple[tuple[Value, int], ...]
    also: tuple[str, ...] = ()
    """Other settings that differ by the very same numbers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs that died beside healthy ones of the same kind."""

    basis: Basis
    place: str
    """The one folder, or script and architecture, of all; empty where there are several, and for
    runs from anywhere."""
    dead: int
    """Runs of the group that are compared."""
    healthy: int
    same: int
    """Settings and packages that both sides state and that do not differ consistently."""
    differences: tuple[Difference, ...]
    left_out: int


class Neighbors:
    """The healthy runs, by where they are and what they trained."""

    def __init__(self, runs: Iterable[ListedRun]) -> None:
        healthy = [run for run in runs if run.healthy]
        self._anywhere = healthy[:MOST_ANYWHERE]
        self._folders: dict[tuple[str, str], list[ListedRun]] = defaultdict(list)
        self._programs: dict[tuple[str, str], list[ListedRun]] = defaultdict(list)
        for run in healthy:
            for folder in run.folders:
                self._folders[run.archive, folder].append(run)
            if run.program and run.model:
                self._programs[run.program, run.model].append(run)

    def candidates(self, run: ListedRun, basis: Basis) -> tuple[str, Sequence[ListedRun]]:
        """Healthy runs that may be like ``run``, and what they share with it."""
        if basis == "settings":
            return "", self._anywhere
        if basis == "program":
            found = self._programs.get((run.program or "", run.model or ""), [])
            return f"{run.program} {run.model}", found[:MOST_CANDIDATES]
        for folder in run.folders:
            found = self._folders.get((run.archive, folder), [])
            if found:
                return folder, found[:MOST_CANDIDATES]
        return "", []


def compared(
    group: Sequence[ListedRun], neighbors: Neighbors, details: AllDetails
) -> Comparison | None:
    """The runs of a group beside healthy ones; ``None`` where none is like any of them."""
    bases: tuple[Basis, ...] = ("folder", "program", "settings")
    for basis in bases:
        dead: list[Details] = []
        healthy: dict[int, Details] = {}
        places: set[str] = set()
        for run in group[:MOST_DEAD]:
            place, candidates = neighbors.candidates(run, basis)
            near = _nearest(run, candidates, basis, details)
            if near:
                dead += details.of([run.id])
                healthy |= near
                places.add(place)
        if dead:
            place = next(iter(places)) if len(places) == 1 else ""
            return _comparison(basis, place, dead, [*healthy.values()])
    return None


def _nearest(
    run: ListedRun, candidates: Sequence[ListedRun], basis: Basis, details: AllDetails
) -> dict[int, Details]:
    """The healthy runs that are most like ``run`` and alike enough, by key."""
    if not candidates:
        return {}
    (own,) = details.of([run.id])
    ranked = []
    for other, known in zip(candidates, details.of(c.id for c in candidates), strict=True):
        both, apart = _likeness(own.settings, known.settings)
        if basis == "settings":
            alike = both >= TWIN_KNOWN and apart <= TWIN_APART
        else:
            comparable = both > 0 or bool(own.packages.keys() & known.packages.keys())
            alike = comparable and apart <= (1 - LEAST_ALIKE) * both
        if alike:
            ranked.append((both - apart, other.id, known))
    ranked.sort(key=lambda entry: -entry[0])
    near = [entry for entry in ranked if entry[0] >= LEAST_NEAR * ranked[0][0]]
    return {key: known for _, key, known in near[:MOST_NEAREST]}


def _likeness(one: Mapping[str, Value], other: Mapping[str, Value]) -> tuple[int, int]:
    """How many settings both state, and in how many of them they differ."""
    both = one.keys() & other.keys()
    return len(both), sum(one[name] != other[name] for name in both)


def _comparison(
    basis: Basis, place: str, dead: Sequence[Details], healthy: Sequence[Details]
) -> Comparison:
    stated, found = 0, []
    for kind in ("setting", "package"):
        left = [one.settings if kind == "setting" else one.packages for one in dead]
        right = [one.settings if kind == "setting" else one.packages for one in healthy]
        for name, dead_values, healthy_values in _stated(left, right):
            stated += 1
            if _is_consistent(dead_values) and _differ(dead_values, healthy_values):
                found.append(
                    Difference(
                        "package" if kind == "package" else "setting",
                        name,
                        tuple(dead_values.most_common()),
                        tuple(healthy_values.most_common()),
                    )
                )
    merged = _merged(sorted(found, key=_rank))
    return Comparison(
        basis,
        place,
        len(dead),
        len(healthy),
        stated - len(found),
        tuple(merged[:MOST_DIFFERENCES]),
        max(0, len(merged) - MOST_DIFFERENCES),
    )


def _stated(
    dead: Sequence[Mapping[str, Value]], healthy: Sequence[Mapping[str, Value]]
) -> Iterator[tuple[str, Counter[Value], Counter[Value]]]:
    """Each name that enough runs of both sides state, with the values of either side."""
    enough_dead, enough_healthy = LEAST_STATED * len(dead), LEAST_STATED * len(healthy)
    for name in dict.fromkeys(name for values in dead for name in values):
        left = Counter(values[name] for values in dead if name in values)
        right = Counter(values[name] for values in healthy if name in values)
        if left.total() >= enough_dead and right.total() >= max(1, enough_healthy):
            yield name, left, right


def _is_consistent(values: Counter[Value]) -> bool:
    """Whether several runs share values, as settings do and labels do not."""
    texts = [value for value in values if isinstance(value, str)]
    return values.total() < 3 or len(texts) < values.total()


def _differ(dead: Counter[Value], healthy: Counter[Value]) -> bool:
    """Whether no value is on both sides; numbers must lie apart, unless each side has but one."""
    if dead.keys() & healthy.keys() or not _is_consistent(healthy):
        return False
    if len(dead) == len(healthy) == 1:
        return True
    left = [value for value in dead if isinstance(value, float)]
    right = [value for value in healthy if isinstance(value, float)]
    if len(left) < len(dead) or len(right) < len(healthy):
        return True
    return max(left) < min(right) or max(right) < min(left)


def _rank(difference: Difference) -> tuple[int, int]:
    """What was read in one canonical form first, then packages, then settings as files spell
    them; within these what most runs state."""
    raw = difference.name.startswith(("config.", "environment."))
    place = 1 if difference.kind == "package" else 2 if raw else 0
    return place, -sum(count for _, count in (*difference.dead, *difference.healthy))


def _merged(differences: Iterable[Difference]) -> list[Difference]:
    """One entry for what is one setting, spelled as several programs spell it: by the canonical
    name of another, by one last name and the same values, or by the same telling numbers."""
    kept: dict[object, Difference] = {}
    for one in differences:
        values = frozenset(value for value, _ in (*one.dead, *one.healthy))
        telling = all(isinstance(value, float) and value not in _ORDINARY for value in values)
        last = one.name.rpartition(".")[2]
        places = ((one.kind, last), (one.kind, last, values), (one.kind, values))
        first = next((place for place in places if place in kept), None)
        if first is not None:
            kept[first] = replace(kept[first], also=(*kept[first].also, one.name))
        else:
            kept[places[0] if last == one.name else places[2] if telling else places[1]] = one
    return list(kept.values())
