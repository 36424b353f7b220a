"""From blocks of text to records: the dialects at work on the candidate lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from nanautopsy.model import Problem, Record, Source
from nanautopsy.readers.text.batches import Bools, Run
from nanautopsy.readers.text.blocks import Block, Damage
from nanautopsy.readers.text.dialect import Line, Log
from nanautopsy.readers.text.dialects import DIALECTS
from nanautopsy.readers.text.hf_dict import steps_of
from nanautopsy.readers.text.lines import apart, clean, is_labelled
from nanautopsy.readers.text.quotations import without_quotations
from nanautopsy.readers.text.rows import Ints
from nanautopsy.readers.text.segments import Segments
from nanautopsy.readers.text.shapes import Shapes

_HEAD = 65536
_SLICE = 2048
"""Candidates after which it is asked anew which of them can be taken together."""
_SHORTEST_RUN = 12
"""Fewer lines are done sooner one by one."""


def records_of(path: str, stream: Iterable[Block | Damage]) -> Iterator[Record]:
    """What the blocks of one log say, as records that cite ``path``."""
    scan: _Scan | None = None
    log = Log(path)
    for block in stream:
        if isinstance(block, Block):
            data = apart(clean(block.data))
            if scan is None:
                scan = _Scan(log, is_labelled(data[:_HEAD]))
            scan.block(Segments(data, block.first_line))
        else:
            log.out.append(Problem(block.text, Source(path, line=block.line, offset=block.offset)))
        yield from log.out
        log.out.clear()
    log.end_following()
    yield from log.out
    resolved = log.rows.resolve(lambda rows, epochs: steps_of(log).resolve(rows, epochs))
    found = chain(log.rows.series(path, resolved), log.events(resolved))
    yield from without_quotations(log, found)


class _Scan:
    """The way through one file."""

    def __init__(self, log: Log, labelled: bool) -> None:
        self._log = log
        self._shapes = Shapes(DIALECTS)
        self._labelled = labelled

    def block(self, cut: Segments) -> None:
        """Handle the candidate lines of a block, and every line while somebody follows."""
        skeletons = self._shapes.numbers(cut)
        if skeletons is None:
            if not self._log.following:
                return
            skeletons = np.zeros(len(cut), dtype=np.int64)
        chosen = np.flatnonzero(skeletons)
        position = self._follow(cut, skeletons, 0)
        for begin in range(0, len(chosen), _SLICE):
            places = chosen[begin : begin + _SLICE]
            for run, together in self._runs(skeletons[places]):
                mine = places[run]
                # Whoever follows wants every line.
                if together is not None and position <= mine[0]:
                    position = self._together(cut, mine, skeletons, together)
                else:
                    position = self._one_by_one(cut, mine, skeletons, position)

    def _runs(self, skeletons: Ints) -> Iterator[tuple[slice, Bools | None]]:
        """The candidates in runs; with each, which lines may be taken together if it is worth it.

        A line behind which every line may be wanted, or that is not known yet, ends a run.
        """
        numbers, places = np.unique(skeletons, return_inverse=True)
        known = [self._shapes.known(number) for number in numbers.tolist()]
        alone = np.array([k is not None and k.alone is not None for k in known])[places]
        passing = np.array([k is not None and k.passing for k in known])[places] | alone
        ends = np.flatnonzero(np.diff(passing)) + 1
        for begin, end in zip([0, *ends.tolist()], [*ends.tolist(), len(passing)], strict=True):
            together = alone[begin:end]
            worth = bool(passing[begin]) and int(together.sum()) >= _SHORTEST_RUN
            yield slice(begin, end), together if worth else None

    def _together(self, cut: Segments, places: Ints, skeletons: Ints, together: Bools) -> int:
        """Returns the segment behind the last that is done."""
        log = self._log
        run = Run(log, self._shapes, cut, places)
        left = run.write(skeletons[places], together)
        written = np.ones(len(places), dtype=np.bool_)
        written[left] = False

        def handle(place: int) -> bool:
            self._handle(cut, skeletons, place)
            return not log.following

        stop = run.walk(left, handle)
        if stop is None:
            return int(places[-1]) + 1
        done = frozenset(places[written].tolist())
        return self._follow(cut, skeletons, stop + 1, int(places[-1]), done)

    def _one_by_one(self, cut: Segments, places: Ints, skeletons: Ints, position: int) -> int:
        """Returns the segment behind the last that is done."""
        log = self._log
        for place in places[places >= position].tolist():
            if place < position:
                continue
            self._handle(cut, skeletons, place)
            position = place + 1
            if log.following:
                position = self._follow(cut, skeletons, position)
        return position

    def _handle(self, cut: Segments, skeletons: Ints, place: int) -> None:
        log, shapes = self._log, self._shapes
        number, skeleton = int(cut.numbers[place]), int(skeletons[place])
        epochs = log.epochs
        shapes.handle(log, cut[place], number, self._labelled, skeleton)
        if known := shapes.known(skeleton):
            known.note(bool(log.following) or log.epochs != epochs)

    def _follow(
        self,
        cut: Segments,
        skeletons: Ints,
        position: int,
        until: int = -1,
        written: frozenset[int] = frozenset(),
    ) -> int:
        """Offer line after line from ``position``, and past those who follow up to ``until``;
        returns where the ordinary scan goes on.

        ``written``: lines of which the rows are written, that are only to be offered.
        """
        log = self._log
        count = len(cut)
        if count and cut.begins[-1] == len(cut.data):
            count -= 1  # nothing stands behind the last line end
        while position < count and (log.following or position <= until):
            line = Line(int(cut.numbers[position]), cut[position], self._labelled)
            if not log.offer(line) and position not in written:
                skeleton = int(skeletons[position])
                self._shapes.handle(log, line.whole, line.number, self._labelled, skeleton)
            position += 1
        return position
