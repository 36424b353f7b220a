"""Attempts: restarts merged, writers in parallel kept apart, copies dropped.

A run that is restarted logs some of its steps again, in the same file or in another one beside
it; the later attempt counts where both logged a step. Files of one directory whose spans of time
overlap are ranks, and stay series of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from nanautopsy.copies import without_copies
from nanautopsy.discover import natural_key
from nanautopsy.model import Series
from nanautopsy.wording import phrase

_MOST_ATTEMPTS = 100
"""More falls of a step counter than this are writers that interleave, not restarts."""
_ABANDONED = 0.1
"""Share of the points that an attempt would replace, below which it was broken off."""
_MOST_SKEW_SHARE = 0.05
_MOST_SKEW = 600.0
"""Seconds, and part of the shorter file's time, by which the clocks of two machines may differ."""
_PRINTED = 5e-4
"""Part of a value by which the same computation may differ: kernels that add in another order."""
_FEWEST_FALLS = 3
"""Fewer falls are restarts, however short the log is."""


@dataclass(slots=True)
class _Dropped:
    """Points of one file that another attempt logged again."""

    later: bool
    """The other attempt came later, and counts; else these were a later one, broken off."""
    points: int = 0
    nonfinite: int = 0
    tags: list[str] = field(default_factory=list)


_AllDropped: TypeAlias = "dict[tuple[str, int, bool], _Dropped]"
"""By file, first step of the attempt, and whether it is the later one that counts."""


def merge_attempts(series: Sequence[Series]) -> tuple[list[Series], list[str]]:
    """Series with one point a step, and notes that say what was set aside."""
    groups: dict[tuple[str, str, str, str, int | None], list[Series]] = {}
    for one in series:
        directory, _, name = one.source.path.rpartition("/")
        family = "tfevents" if "tfevents" in name else name
        key = (directory, family, one.tag, one.axis, one.rank)
        groups.setdefault(key, []).extend(attempts_within(one))
    dropped: _AllDropped = {}
    merged: list[Series] = []
    skewed: dict[str, float] = {}
    for members in groups.values():
        chains: list[list[Series]] = []
        for one in sorted(members, key=_start):
            # Attempts without times stand in the order of the file.
            chain = next((c for c in chains if _follows(one, c[-1])), None)
            if chain is None:
                chains.append([one])
                continue
            overlap = _overlap(one, chain[-1])
            if overlap > 0 and one.source.path != chain[-1].source.path:
                skewed.setdefault(one.source.path, overlap)
            chain.append(one)
        merged.extend(_join(chain, dropped) for chain in chains)
    notes = [_told(path, cut, what) for (path, cut, _), what in dropped.items()]
    notes += [
        phrase(
            "{path}: begins {overlap:.0f} s before the file that it goes on from ends, by their "
            "clocks; taken for one after the other",
            path=path,
            overlap=overlap,
        )
        for path, overlap in skewed.items()
    ]
    return without_copies([one for one in merged if len(one)]), notes


def _told(path: str, cut: int, dropped: _Dropped) -> str:
    more = len(dropped.tags) - 1
    tags: str = repr(dropped.tags[0])
    if more:
        tags = phrase("{tag} and {n} other series", tag=tags, n=more)
    if not dropped.later:
        return phrase(
            "{path}: an attempt that begins again at step {step} was broken off; its {points} "
            "points of {tags} are set aside",
            path=path,
            step=cut,
            points=dropped.points,
            tags=tags,
        )
    return phrase(
        "{path}: logged again from step {step} on by a later attempt, which counts; {points} "
        "points of {tags} are set aside{bad}",
        path=path,
        step=cut,
        points=dropped.points,
        tags=tags,
        bad=phrase(", {n} of them non-finite", n=dropped.nonfinite) if dropped.nonfinite else "",
    )


# --- within one file ------------------------------------------------------------------------------


def attempts_within(series: Series) -> list[Series]:
    """The attempts inside one file: a restart appends and its steps begin lower again.

    A counter that falls back to its beginning time and again counts within epochs; it is no axis,
    so its points are numbered instead. One that falls all the time belongs to several writers.
    """
    steps = series.steps
    falls = np.flatnonzero(steps[1:] < steps[:-1]) + 1
    if not len(falls):
        return [series]
    if _counts_in_epochs(steps, falls):
        # Epochs that begin anew are those of another training.
        begins = tuple(falls.tolist()) if series.axis == "epoch" else ()
        numbers = np.arange(len(series), dtype=np.int64)
        return [replace(series, steps=numbers, axis="record", begins=begins)]
    often = len(falls) >= _FEWEST_FALLS and 4 * len(falls) >= len(np.unique(steps))
    if often or len(falls) > _MOST_ATTEMPTS:
        return [series]
    restarts = [fall for fall in falls.tolist() if not _is_late(steps, fall)]
    bounds = [0, *restarts, len(series)]
    # Slices are views: a run of millions of points is not copied here.
    return [take(series, slice(*pair)) for pair in pairwise(bounds)]


def _counts_in_epochs(steps: np.ndarray, falls: np.ndarray) -> bool:
    """Whether the counter begins anew twice or more, and hardly ever passes where it had been."""
    starts = np.append(0, falls)
    rises = steps[1:] - steps[:-1]
    rises = rises[rises > 0]
    usual = int(np.median(rises)) if len(rises) else 0
    to_beginning = int((steps[falls] <= int(steps[0]) + usual).sum())
    peaks = np.maximum.reduceat(steps, starts)
    passed = int((peaks[1:] > np.maximum.accumulate(peaks)[:-1]).sum())
    if 4 * passed > len(falls):
        return False
    alike = bool((peaks[:-1] >= int(peaks[0]) - usual).all())
    return to_beginning > 2 or (to_beginning == 2 and alike)


def _is_late(steps: np.ndarray, fall: int) -> bool:
    """Whether points at a fall are stragglers between the others, not a restart: the counter
    goes on past where it was, and none of the steps in between had been logged."""
    highest = steps[:fall].max()
    on = np.flatnonzero(steps[fall:] > highest)
    if not len(on):
        return False
    between, before = steps[fall : fall + int(on[0])], steps[:fall]
    before = before[(before >= between.min()) & (before <= between.max())]
    return not np.isin(between, before).any()


# --- between files --------------------------------------------------------------------------------


def _span(series: Series) -> tuple[float, float] | None:
    """First and last time, where any is known."""
    if series.times is None:
        return None
    known = series.times[np.isfinite(series.times)]
    return (float(known.min()), float(known.max())) if len(known) else None


def _start(series: Series) -> tuple[float, tuple[tuple[int, int, str], ...]]:
    span = _span(series)
    return 0.0 if span is None else span[0], natural_key(series.source.path)


def _overlap(later: Series, earlier: Series) -> float:
    """Seconds for which both were written, by their clocks."""
    first, second = _span(earlier), _span(later)
    return 0.0 if first is None or second is None else first[1] - second[0]


def _follows(later: Series, earlier: Series) -> bool:
    """Whether two belong to one writer; the parts of one file do, whatever its clock says.

    Clocks of two machines differ: an overlap that is a small part of both spans, where the steps
    go on, is no second writer.
    """
    if later.source.path == earlier.source.path:
        return True
    first, second = _span(earlier), _span(later)
    overlap = _overlap(later, earlier)
    if first is None or second is None or overlap <= 0:
        return True
    shorter = min(first[1] - first[0], second[1] - second[0])
    goes_on = int(later.steps[0]) > int(earlier.steps[0])
    return goes_on and overlap <= min(_MOST_SKEW_SHARE * shorter, _MOST_SKEW)


def _join(chain: Sequence[Series], dropped: _AllDropped) -> Series:
    """One series of several attempts: from a later one's first step on, the earlier is dropped.

    A later one that was broken off after a few points says nothing against a long one before it,
    unless it is what died: it is dropped itself.
    """
    kept: list[Series] = []
    deaths: list[int] = []
    replayed: list[int] = []
    for one in reversed(chain):
        cut = min((int(later.steps.min()) for later in kept if len(later)), default=None)
        if cut is not None and len(one) and int(one.steps.max()) >= cut:
            again = one.steps >= cut
            if _broken_off(kept, int(again.sum())):
                for later in kept:
                    _set_aside(later, np.ones(len(later), bool), cut, False, dropped)
                kept = []
            else:
                _set_aside(one, again, cut, True, dropped)
                for death in _death(one):
                    deaths.append(death)
                    replayed.append(_replayed(one, death, kept))
                one = _before(one, ~again)
        kept.append(one)
    if len(kept) == 1:
        return replace(_by_step(kept[0]), earlier_deaths=tuple(deaths), replayed=tuple(replayed))
    kept.reverse()
    # One place is cited for a merged series: where its last attempt stands.
    joined = replace(
        kept[-1],
        steps=np.concatenate([one.steps for one in kept]),
        values=np.concatenate([one.values for one in kept]),
        times=_concatenate([one.times for one in kept]),
        lines=_concatenate([one.lines for one in kept]),
        missing=None,
        begins=(),
        earlier_deaths=tuple(deaths),
        replayed=tuple(replayed),
    )
    return _by_step(joined)


def _replayed(attempt: Series, death: int, later: Sequence[Series]) -> int:
    """How many steps before its death the later attempts logged with the same values, if they were
    finite at the step of the death: they had the same batches and weights up to there."""
    again = {
        int(step): float(value)
        for one in later
        for step, value in zip(one.steps, one.values, strict=True)
        if step <= death
    }
    if not np.isfinite(again.get(death, np.nan)):
        return 0
    shared = [
        (float(value), again[int(step)])
        for step, value in zip(attempt.steps, attempt.values, strict=True)
        if step < death and int(step) in again
    ]
    alike = all(np.isclose(first, second, rtol=_PRINTED, atol=0) for first, second in shared)
    return len(shared) if alike and len({first for first, _ in shared}) > 1 else 0


def _death(attempt: Series) -> list[int]:
    """The first non-finite step of an attempt that was finite before it."""
    bad = np.flatnonzero(~np.isfinite(attempt.values))
    return [int(attempt.steps[bad[0]])] if len(bad) and bad[0] > 0 else []


def _broken_off(later: Sequence[Series], replaced: int) -> bool:
    few = sum(len(one) for one in later) < _ABANDONED * replaced
    return few and all(np.isfinite(one.values).all() for one in later)


def _set_aside(
    series: Series, which: np.ndarray, cut: int, later: bool, dropped: _AllDropped
) -> None:
    place = dropped.setdefault((series.source.path, cut, later), _Dropped(later))
    place.points += int(which.sum())
    place.nonfinite += int((~np.isfinite(series.values[which])).sum())
    place.tags.append(series.tag)


def _concatenate(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None


def _by_step(series: Series) -> Series:
    """Sorted by step, one point a step: the last one, or the first that is non-finite.

    Several points at one step of one attempt are parts of it (micro-batches, ranks in one file);
    when one part was NaN, the step was.
    """
    steps = series.steps
    if len(steps) < 2 or (steps[1:] > steps[:-1]).all():
        return series
    if (steps[1:] < steps[:-1]).any():
        series = take(series, np.argsort(steps, kind="stable"))
        steps = series.steps
    chosen = np.append(steps[1:] != steps[:-1], True)
    bad = np.flatnonzero(~np.isfinite(series.values))
    if len(bad):
        bad_steps, first = np.unique(steps[bad], return_index=True)
        chosen[np.searchsorted(steps, bad_steps, side="right") - 1] = False
        chosen[bad[first]] = True
    return series if chosen.all() else take(series, chosen)


def _before(series: Series, kept: np.ndarray) -> Series:
    """The points of a mask; the first ones, as they mostly are, without a copy."""
    count = int(kept.sum())
    return take(series, slice(count) if kept[:count].all() else kept)


def take(series: Series, index: np.ndarray | slice) -> Series:
    """The points at ``index``, of which none may be missing; of a slice, views."""
    return replace(
        series,
        steps=series.steps[index],
        values=series.values[index],
        times=None if series.times is None else series.times[index],
        lines=None if series.lines is None else series.lines[index],
        missing=None,
        begins=(),
    )
