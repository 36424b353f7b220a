"""The cards of runs that died alike, before any HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanautopsy.render._format import duration, middle_cut, moment, scalar
from nanautopsy.render._table import Cell, Row, Table, code, short, table
from nanautopsy.wording import Phrase, counted, listed, phrase

if TYPE_CHECKING:
    from nanautopsy.scan.overview.differences import Comparison, Difference, Value
    from nanautopsy.scan.overview.groups import Group
    from nanautopsy.scan.overview.runs import ListedRun

MOST_RUNS = 8
"""Of a group, by name; all are in the table."""
MOST_VALUES = 4
"""Of one side of a difference."""
_LONGEST_VALUE = 60
_DAY = len("2025-01-31")


@dataclass(frozen=True, slots=True)
class Card:
    """One group."""

    signature: str
    cause: str
    title: str
    count: int
    facts: Phrase
    """When, and what was spent after the onset."""
    runs: tuple[Cell, ...]
    more: int
    """Runs that are not named."""
    comparison: str
    """What was compared with what, and what came of it."""
    differences: Table


def card(group: Group, hrefs: Mapping[int, str], titles: Mapping[str, str]) -> Card:
    """The card of a group."""
    shown = group.runs[:MOST_RUNS]
    return Card(
        group.signature,
        group.cause,
        titles.get(group.cause, ""),
        len(group.runs),
        _facts(group.runs),
        tuple(code(run.root, href=hrefs.get(run.id, "")) for run in shown),
        len(group.runs) - len(shown),
        _compared(group),
        _differences(group),
    )


def _facts(runs: Sequence[ListedRun]) -> Phrase:
    told: list[str] = []
    times = [when for run in runs if (when := run.when) is not None]
    if times:
        first, last = moment(min(times))[:_DAY], moment(max(times))[:_DAY]
        told.append(first if first == last else phrase("{a} to {b}", a=first, b=last))
    onsets = sorted(run.onset_step for run in runs if run.onset_step is not None)
    if onsets:
        low, high = onsets[0], onsets[-1]
        told.append(
            phrase("onset at step {n}", n=low)
            if low == high
            else phrase("onset at steps {a} to {b}", a=low, b=high)
        )
    steps = sum(run.wasted_steps or 0 for run in runs)
    seconds = sum(run.wasted_seconds or 0.0 for run in runs)
    if steps:
        told.append(counted(steps, "one step after it", "{n:,} steps after it"))
    if round(seconds):
        told.append(phrase("{time} after it", time=duration(seconds)))
    return listed(told, "; ")


def _compared(group: Group) -> str:
    comparison = group.comparison
    if comparison is None:
        return phrase(
            "No healthy run of the same folder, of the same script and architecture, or of nearly "
            "the same settings is here to compare with."
        )
    sides = phrase(
        "{dead} and {healthy}, {basis}",
        dead=phrase("This run")
        if len(group.runs) == 1
        else counted(comparison.dead, "One of these runs", "{n} of these runs"),
        healthy=counted(comparison.healthy, "one healthy run", "{n} healthy runs"),
        basis=_basis(comparison),
    )
    if comparison.differences:
        found = counted(
            len(comparison.differences) + comparison.left_out,
            "one setting or version differs consistently, {same} do not.",
            "{n} settings or versions differ consistently, {same} do not.",
            same=comparison.same,
        )
    else:
        found = phrase(
            "none of the {same} settings and versions that both state differs consistently.",
            same=comparison.same,
        )
    return phrase("{sides}: {found}", sides=sides, found=found)


def _basis(comparison: Comparison) -> Phrase:
    place = short(comparison.place).replace("`", "'")
    if comparison.basis == "folder":
        if place == ".":
            return phrase("of the archive's top folder")
        if place:
            return phrase("of the folder `{folder}`", folder=place)
        return phrase("each of the same folder as one of them")
    if comparison.basis == "program":
        if place:
            return phrase("of the same script and architecture ({name})", name=place)
        return phrase("each of the same script and architecture as one of them")
    return phrase("that differ in few settings")


def _differences(group: Group) -> Table:
    comparison = group.comparison
    found = comparison.differences if comparison is not None else ()
    left_out = comparison.left_out if comparison is not None else 0
    rows = [Row((_name(one), Cell(_values(one.dead)), Cell(_values(one.healthy)))) for one in found]
    headings = (phrase("What differs"), phrase("In those that died"), phrase("In the healthy ones"))
    name = phrase("What differs: {signature}", signature=short(group.signature))
    return table(name, headings, rows, left_out)


def _name(difference: Difference) -> Cell:
    """The setting, and the spellings of it that differ alike."""
    names = [one.removeprefix("config.") for one in (difference.name, *difference.also)]
    more = f", +{len(names) - 2}" if len(names) > 2 else ""
    return code(names[0] if len(names) == 1 else f"{names[0]} (= {names[1]}{more})")


def _values(values: Sequence[tuple[Value, int]]) -> Phrase:
    """The most frequent values, with how many runs have each."""
    told: list[str] = [
        phrase("{value} ({n})", value=middle_cut(_value(value), _LONGEST_VALUE), n=count)
        for value, count in values[:MOST_VALUES]
    ]
    if len(values) > MOST_VALUES:
        told.append(phrase("{n} more", n=len(values) - MOST_VALUES))
    return listed(told)


def _value(value: Value) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return short(scalar(value))
