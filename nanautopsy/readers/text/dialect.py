"""What a dialect is, the line it gets, and the log that it writes to."""

from __future__ import annotations

import math
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from nanautopsy.model import ConfigRecord, EnvironmentRecord, LogEvent, Problem, Scalar, Source
from nanautopsy.readers.text.lines import excerpt, strip_prefix
from nanautopsy.readers.text.numbers import SPLIT
from nanautopsy.readers.text.patterns import Numbers
from nanautopsy.readers.text.rows import Basis, Bulk, Counter, Resolved, Rows

MAX_EVENTS = 20_000
"""Of one kind: about 20 MB. A loss scaler that overflows for days says nothing new."""
PARSED_BYTES = 16_384
"""Of one line; tensor dumps and generated text run longer, metrics do not."""
_MAX_FOLLOWING = 64
"""Ranks whose multi-line messages are read at the same time."""
_CONTEXT_LINES = 40
"""How far a heading such as ``Epoch 3`` speaks for lines without a counter."""


class Line:
    """One segment of a log between line ends."""

    __slots__ = ("_raw", "labelled", "number", "numbers", "rank", "whole")

    def __init__(
        self,
        number: int,
        whole: bytes,
        labelled: bool,
        numbers: Sequence[bytes] | None = None,
        rank: int | None = None,
    ) -> None:
        """``numbers`` and ``rank``, where they are known already."""
        self.number = number
        """Physical line, from 1."""
        self.whole = whole
        """Without terminal escapes."""
        self.labelled = labelled
        """The lines of the file begin with a label each: ``srun -l``, ``pdsh``."""
        self.numbers: Sequence[bytes] = ()
        """The unsigned numbers of ``raw``."""
        self.rank: int | None = rank
        """As the launcher's prefix names it."""
        self._raw: bytes | None = None
        if numbers is not None:
            self.numbers = numbers
        else:
            self._raw, self.rank = strip_prefix(whole, labelled)
            self.numbers = self.parts[1::2]

    @property
    def raw(self) -> bytes:
        """Without launcher's and logger's prefix as well."""
        if self._raw is None:
            self._raw, self.rank = strip_prefix(self.whole, self.labelled)
        return self._raw

    @property
    def parts(self) -> list[bytes]:
        """Text and unsigned numbers of ``raw``, alternating."""
        return SPLIT.split(self.raw[:PARSED_BYTES])

    @property
    def text(self) -> str:
        """``raw``, decoded."""
        return self.raw[:PARSED_BYTES].decode("utf-8", "replace")

    @property
    def excerpt(self) -> str:
        """The line as a report quotes it."""
        return excerpt(self.whole)


Handler = Callable[["Log", Line], None]
"""What to do with a line. A handler may have a method ``many`` as well: see :data:`Many`."""

Many = Callable[["Log", Numbers], "Bulk | None"]
"""Takes the unsigned numbers of many lines of one shape, and returns what they say, without writing
it; ``None`` where they have to be handled one by one."""


class Take(Enum):
    """What a follower says of a line."""

    MORE = 1
    """Mine, and I want the next."""
    LAST = 2
    """Mine, and the last."""
    NOT_MINE = 3
    """Treat it as any other line; I am done."""
    ASIDE = 4
    """Treat it as any other line; I go on behind it."""


@dataclass(slots=True)
class _Following:
    take: Callable[[Line], Take]
    end: Callable[[], None] | None
    left: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """One family of log lines."""

    name: str
    triggers: tuple[str, ...]
    """A line holding none of these lower-case words is never shown to ``plan``."""
    plan: Callable[[Line, str], Handler | None]
    """Asked once for each shape of line (equal text around the numbers), with the first such line
    and its lower-case text: what to do with lines of this shape, ``None`` for nothing."""
    metrics: bool = False
    """It takes the line's numbers; of these dialects the first that wants a shape gets it."""
    leftover: bool = False
    """Not asked for a shape that a metrics dialect took."""
    counters: tuple[str, ...] = ()
    """Triggers that name a counter: a line with these alone holds no metric."""
    statement: bool = False
    """It reads what the program says of NaN; the first such dialect that wants a shape gets it."""


@dataclass(slots=True)
class _Pending:
    event: LogEvent
    row: int


@dataclass(slots=True)
class Log:
    """State and results while one file is read."""

    path: str
    rows: Rows = field(default_factory=Rows)
    out: list[ConfigRecord | EnvironmentRecord | Problem] = field(default_factory=list)
    step: int | None = None
    """Last step that a line stated for certain; with ``row`` -1, the step of the moment."""
    row: int = -1
    """Last row with a counter, when it is newer than ``step``."""
    memory: dict[str, object] = field(default_factory=dict)
    """What a dialect keeps between its lines, under its name."""
    _events: list[_Pending] = field(default_factory=list)
    _tally: Tally[str] = field(default_factory=Tally)
    _context: Counter | None = None
    _context_line: int = 0
    _epoch: float = math.nan
    _section: str = ""
    _section_line: int = 0
    epochs: int = 0
    """How often a line named the epoch of the lines behind it."""
    following: dict[int | None, _Following] = field(default_factory=dict)
    """Who wants every next line, not only candidates, by rank."""

    # --- metrics ------------------------------------------------------------------------------

    def start_row(self, counter: Counter | None, line: Line) -> int:
        """Open a row for the metrics of a line; without a counter, in the context of the lines
        before."""
        if counter is None:
            counter = self.context(line) or Counter(Basis.RECORD)
        row = self.rows.add_row(counter, line.number, line.rank)
        if counter.basis is Basis.STEP:
            self.step_is(counter.n)
        elif counter.basis not in (Basis.RECORD, Basis.LATEST):
            self.step_at(row)
        return row

    def step_at(self, row: int) -> None:
        """The run stands at this row."""
        self.row = row

    def step_is(self, step: int) -> None:
        """The run stands at this step."""
        self.step = step
        self.row = -1
        if self.rows.first_step is None:
            self.rows.first_step = step

    def set_context(self, counter: Counter, line: Line) -> None:
        """The counter speaks for the next lines that have none."""
        self._context = counter
        self._context_line = line.number
        self._section = ""
        if counter.basis is Basis.EPOCH:
            self._epoch = counter.epoch
            self.epochs += 1

    def begin_section(self, name: str, line: Line) -> None:
        """The next lines without a counter are of this part of the data; empty for training's."""
        self._section = name
        self._section_line = line.number

    def section(self, line: Line) -> str:
        """The part of the data whose heading stands above a line without a counter."""
        near = line.number - self._section_line <= _CONTEXT_LINES
        return self._section if near else ""

    def epoch(self, basis: Basis) -> float:
        """The epoch that the last heading named, for a batch counter that stands without one."""
        return self._epoch if basis is Basis.BATCH else math.nan

    def context(self, line: Line) -> Counter | None:
        """The counter that speaks for a line without one."""
        near = line.number - self._context_line <= _CONTEXT_LINES
        return self._context if near else None

    def go_on_to(self, step: int, line: Line) -> None:
        """A message names a later step than the last row's: lines without a counter that stand
        behind it, as the terms of a loss do behind the error that it raised, are of that step."""
        counter = self.context(line)
        if counter is not None and counter.basis in (Basis.STEP, Basis.COUNTER):
            if math.isnan(counter.epoch) and step > counter.n:
                self.set_context(counter._replace(n=step), line)

    def latest(self) -> Counter:
        """A counter for values that stand between counted lines."""
        return Counter(Basis.LATEST, -1 if self.step is None else self.step)

    # --- events -------------------------------------------------------------------------------

    def event(
        self,
        kind: str,
        line: Line,
        *,
        step: int | None = None,
        exact: bool = False,
        rank: int | None = None,
        text: str | None = None,
        **data: Scalar | tuple[str, ...],
    ) -> None:
        """Report an occurrence; its step is the one given or that at which the log stands."""
        self._tally[kind] += 1
        if self._tally[kind] > MAX_EVENTS:
            return
        quoted = line.excerpt
        event = LogEvent(
            kind=kind,
            text=text or quoted,
            source=Source(self.path, line=line.number, excerpt=quoted),
            step=self.step if step is None and self.row < 0 else step,
            step_exact=exact and step is not None,
            rank=line.rank if rank is None else rank,
            data={name: value for name, value in data.items() if value is not None},
        )
        self._events.append(_Pending(event, -1 if step is not None else self.row))

    def amend_last_event(self, **data: Scalar | tuple[str, ...]) -> None:
        """Add to the data of the event reported last."""
        last = self._events[-1]
        last.event = replace(last.event, data={**last.event.data, **data})

    def events(self, resolved: Resolved) -> Iterator[LogEvent | Problem]:
        """The events in order, with the steps of their rows."""
        for pending in self._events:
            if pending.row < 0:
                yield pending.event
            else:
                yield replace(pending.event, step=resolved.step_of(pending.row))
        for kind, count in self._tally.items():
            if count > MAX_EVENTS:
                text = f"{count - MAX_EVENTS} more {kind} lines than the {MAX_EVENTS} kept"
                yield Problem(text, Source(self.path))

    # --- lines that belong together -----------------------------------------------------------

    def follow(
        self,
        line: Line,
        take: Callable[[Line], Take],
        end: Callable[[], None] | None = None,
        lines: int = 5000,
    ) -> None:
        """Give the next lines of this rank, at most so many, to ``take``; ``end`` is called once
        when it is over, be it by the end of the file."""
        self._end(line.rank)
        if len(self.following) < _MAX_FOLLOWING:
            self.following[line.rank] = _Following(take, end, lines)
        elif end is not None:
            end()

    def offer(self, line: Line) -> bool:
        """Offer a line to who follows its rank; whether it was taken."""
        current = self.following.get(line.rank)
        if current is None:
            return False
        answer = current.take(line) if current.left > 0 else Take.NOT_MINE
        current.left -= 1
        if answer in (Take.LAST, Take.NOT_MINE) and self.following.get(line.rank) is current:
            self._end(line.rank)
        return answer in (Take.MORE, Take.LAST)

    def end_following(self) -> None:
        """Nobody follows any more."""
        for rank in list(self.following):
            self._end(rank)

    def _end(self, rank: int | None) -> None:
        current = self.following.pop(rank, None)
        if current is not None and current.end is not None:
            current.end()
