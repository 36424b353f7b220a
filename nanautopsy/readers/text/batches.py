"""Many lines at once: runs of lines that, but for a few, hold only counters and metrics.

Their numbers are taken, and their rows and points written, without a step in Python for each. The
few others are handled behind that, in order, each with the log standing where it stood before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers.text.dialect import Line, Log
from nanautopsy.readers.text.rows import Basis, Bulk, Ints
from nanautopsy.readers.text.segments import Segments
from nanautopsy.readers.text.shapes import Shapes

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Lines of one shape and rank within a run."""

    places: Ints
    """Where in the run they stand."""
    bulk: Bulk
    rank: int | None


class Run:
    """A run of lines, in the order in which they stand."""

    def __init__(self, log: Log, shapes: Shapes, cut: Segments, places: Ints) -> None:
        """``places`` are the lines' in ``cut``."""
        self._log = log
        self._shapes = shapes
        self._cut = cut
        self._places = places
        self._lines = cut.numbers[places]
        self._groups: list[_Group] = []
        self._ids: Ints = np.zeros(0, dtype=np.int64)

    def write(self, skeletons: Ints, together: Bools) -> Ints:
        """Write the rows of the lines marked in ``together``; returns which lines are left, as
        those that turn out to be of another shape are."""
        left = [np.flatnonzero(~together)]
        for skeleton in np.unique(skeletons[together]).tolist():
            mine = np.flatnonzero((skeletons == skeleton) & together)
            if not self._take(mine, skeleton):
                left.append(mine)
        self._add_rows()
        return np.sort(np.concatenate(left))

    def walk(self, left: Ints, handle: Callable[[int], bool]) -> int | None:
        """Hand the lines that are left to ``handle``, and leave the log where the run ends.

        ``handle`` gets the line's place in ``cut`` and returns whether to go on; the place at which
        it did not is returned.
        """
        stand = _Stand(self._log, self._groups, self._lines, self._ids)
        places = self._places[left].tolist()
        for i, place in zip(left.tolist(), places, strict=True):
            stand.before(i)
            if not handle(place):
                return int(place)
        stand.before(len(self._lines))
        return None

    def _take(self, mine: Ints, skeleton: int) -> bool:
        """What the lines of one skeleton say, by rank; False where they do not fit."""
        known = self._shapes.known(skeleton)
        alone = None if known is None else known.alone
        if known is None or alone is None:
            return False
        pattern, many = alone
        found = pattern.numbers(partial(self._cut.of, self._places[mine]))
        if found is not None and many is None:
            return True
        try:
            bulk = None if found is None or many is None else many(self._log, found)
        except ValueError:  # digits that make no number
            bulk = None
        if found is None or bulk is None:
            known.several = True
            return False
        ranks = found.ranks
        if ranks is None:
            self._groups.append(_Group(mine, bulk, None))
            return True
        for rank in np.unique(ranks).tolist():
            chosen = np.flatnonzero(ranks == rank)
            self._groups.append(_Group(mine[chosen], bulk.of(chosen), rank))
        return True

    def _add_rows(self) -> None:
        count = len(self._lines)
        rows = self._log.rows
        is_row = np.zeros(count, dtype=np.bool_)
        family, n, total = (np.full(count, -1, dtype=np.int64) for _ in range(3))
        epoch = np.full(count, np.nan)
        for group in self._groups:
            bulk, places = group.bulk, group.places
            if bulk.tags:
                is_row[places] = True
                family[places] = rows.family(bulk.at(0), group.rank)
                n[places], total[places], epoch[places] = bulk.n, bulk.total, bulk.epoch
        kept = np.flatnonzero(is_row)
        first = rows.add_rows(family[kept], n[kept], total[kept], epoch[kept], self._lines[kept])
        self._ids = first + np.cumsum(is_row) - 1
        for group in self._groups:
            ids, number = self._ids[group.places], int(family[group.places[0]])
            for i, tag in enumerate(group.bulk.tags):
                rows.extend(tag, number, ids, group.bulk.values[:, i])


class _Stand:
    """Where the log stands on its way through a run of which the rows are written."""

    def __init__(self, log: Log, groups: list[_Group], lines: Ints, ids: Ints) -> None:
        self._log = log
        self._lines = lines
        self._ids = ids
        self._done = 0
        self._bars = sorted(
            (place, n, total, group.bulk.paint)
            for group in groups
            if group.bulk.paint is not None
            for place, n, total in zip(
                group.places.tolist(), group.bulk.n.tolist(), group.bulk.total.tolist(), strict=True
            )
        )
        self._painted = 0
        groups = self._groups = [group for group in groups if group.bulk.paint is None]
        count = len(lines)
        owner = np.full(count, -1, dtype=np.int64)
        self._within = np.zeros(count, dtype=np.int64)
        states = np.zeros(count, dtype=np.bool_)
        moves = np.zeros(count, dtype=np.bool_)
        for i, group in enumerate(groups):
            owner[group.places] = i
            self._within[group.places] = np.arange(len(group.places))
            states[group.places] = _states_step(group.bulk)
            moves[group.places] = bool(group.bulk.tags) or _states_step(group.bulk)
        self._owner = owner
        self._last_counter = _last(owner >= 0)
        self._last_stated = _last(states)
        self._last_move = _last(moves)
        first = np.flatnonzero(states)
        self._first_stated = int(first[0]) if len(first) else count

    def before(self, i: int) -> None:
        """Let the log stand where it stood before line ``i`` of the run."""
        begin, self._done = self._done, i
        if i == begin:
            return
        log = self._log
        if log.rows.first_step is None and begin <= self._first_stated < i:
            log.rows.first_step = self._n(self._first_stated)
        stated, move = int(self._last_stated[i - 1]), int(self._last_move[i - 1])
        last_bar = self._next_bar(i)
        if last_bar > move:
            self._move(begin, stated, move)
        self._paint(i)
        if last_bar <= move:
            self._move(begin, stated, move)
        last = int(self._last_counter[i - 1])
        if last >= begin:
            counter = self._groups[self._owner[last]].bulk.at(int(self._within[last]))
            log.set_context(counter, Line(int(self._lines[last]), b"", False, ()))

    def _move(self, begin: int, stated: int, move: int) -> None:
        if stated >= begin:
            self._log.step_is(self._n(stated))
        if move >= begin and move > stated:
            self._log.step_at(int(self._ids[move]))

    def _next_bar(self, end: int) -> int:
        """Where the last bar before ``end`` stands that is not painted; -1 if there is none."""
        at = self._painted
        while at < len(self._bars) and self._bars[at][0] < end:
            at += 1
        return self._bars[at - 1][0] if at > self._painted else -1

    def _paint(self, end: int) -> None:
        """Of the bars before ``end``, the first and the last of each total: what is between says
        nothing that these do not."""
        ends: dict[int, list[int]] = {}
        at = self._painted
        while at < len(self._bars) and self._bars[at][0] < end:
            ends.setdefault(self._bars[at][2], [at]).append(at)
            at += 1
        self._painted = at
        for place in sorted({place for both in ends.values() for place in (both[0], both[-1])}):
            _, n, total, paint = self._bars[place]
            paint(self._log, n, total)

    def _n(self, i: int) -> int:
        return int(self._groups[self._owner[i]].bulk.n[self._within[i]])


def _last(marks: Bools) -> Ints:
    """The last mark at or before each place; -1 where there is none."""
    found: Ints = np.maximum.accumulate(np.where(marks, np.arange(len(marks)), -1))
    return found


def _states_step(bulk: Bulk) -> bool:
    """As a row and a heading have it: a row by its basis alone, a heading also by a counter of the
    whole run."""
    if bulk.counter.basis is Basis.STEP:
        return True
    return not bulk.tags and bulk.counter.basis is Basis.COUNTER and bool(np.isnan(bulk.epoch[-1]))
