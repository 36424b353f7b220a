"""From a line to what is to be done with it, decided once for each shape of line.

Lines of a log repeat: the same words around other numbers. The text around the numbers is the
shape. The dialects are asked about the first line of a shape; from the second on a pattern made of
that shape recognizes its lines and takes their numbers in one match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from nanautopsy.model import Problem, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Many
from nanautopsy.readers.text.patterns import Pattern, pattern_of
from nanautopsy.readers.text.rows import Ints
from nanautopsy.readers.text.segments import Segments
from nanautopsy.readers.text.skeletons import EACH, FIRST, Skeletons

_MAX_KEPT_BYTES = 4 << 20
"""Of the text of all shapes together; then they are learned anew."""
_MAX_PATTERNS = 4
"""Tried for a line: those that equal it but for the digits."""
_TIMES_IDLE = 4
"""A skeleton whose lines were numbers around which no dialect saw anything, so many times over, is
noise wherever its digits stand."""

_TIMES_PASSING = 3
_PATTERN_BYTES = 4096
"""Memory of a compiled pattern, about, with 16 bytes a character."""

_Action = tuple[str, Handler]


@dataclass(slots=True)
class Known:
    """What was learned of one skeleton."""

    patterns: list[tuple[Pattern, tuple[_Action, ...]]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    """Shapes that came once."""
    idle: int = 0
    silent: bool = False
    tells: bool | None = None
    """Whether there is more in it than counters' names, where that was asked."""
    handled: int = 0
    """Lines that were handled one by one, and left nothing behind that concerns other lines."""
    lasting: bool = False
    """One did: somebody who follows, or an epoch."""
    several: bool = False
    """Its lines have more than one shape, or need to be looked at one by one."""

    @property
    def alone(self) -> tuple[Pattern, Many | None] | None:
        """The only pattern, and what its lines want, where many can be taken at once."""
        if len(self.patterns) != 1 or self.several or self.lasting:
            return None
        pattern, actions = self.patterns[0]
        if not actions:
            return pattern, None
        many: Many | None = getattr(actions[0][1], "many", None)
        return None if many is None or len(actions) > 1 else (pattern, many)

    @property
    def passing(self) -> bool:
        """Whether its lines may be handled out of turn with rows of metrics."""
        return self.handled >= _TIMES_PASSING and not self.lasting

    def note(self, lasting: bool) -> None:
        """A line was handled; whether it concerns the lines behind it."""
        self.handled += 1
        self.lasting = self.lasting or lasting


class Shapes:
    """Asks the dialects, and remembers."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = dialects
        self._asked: dict[str, list[int]] = {}
        """By trigger, the dialects to be asked."""
        for i, dialect in enumerate(dialects):
            for trigger in dialect.triggers:
                self._asked.setdefault(trigger, []).append(i)
        counters = {t for d in dialects for t in d.counters}
        self._telling = [t.encode() for t in self._asked if t not in counters]
        self._skeletons = Skeletons(self._asked, counters)
        self._generation = 0
        self._known: list[Known] = []
        self._decided: dict[bytes, tuple[_Action, ...]] = {}
        self._kept = 0
        self._failed: set[str] = set()

    def numbers(self, cut: Segments) -> Ints | None:
        """(n,) the number of each line's skeleton, 0 for noise; ``None`` where all are noise. They
        hold until the next call."""
        found = self._skeletons.numbers(cut)
        if self._generation != self._skeletons.generation:
            self._generation = self._skeletons.generation
            self._known.clear()
        count = len(self._skeletons.texts)
        self._known.extend(Known() for _ in range(count - len(self._known)))
        return found

    def known(self, number: int) -> Known | None:
        """What was learned of a skeleton; ``None`` for one that is not kept."""
        return self._known[number - FIRST] if number >= FIRST else None

    def handle(self, log: Log, whole: bytes, number: int, labelled: bool, skeleton: int) -> None:
        """Give a line, without terminal escapes, to the dialects that want it.

        ``number`` is the line's, ``skeleton`` that of its skeleton.
        """
        known = self.known(skeleton)
        if known is None:
            if skeleton == EACH:
                line = Line(number, whole, labelled)
                self._act(log, line, self._decide(log, line))
            return
        if known.silent:
            return
        for pattern, actions in known.patterns:
            match = pattern.one.fullmatch(whole)
            if match is not None:
                if not actions:
                    self._idle(known, skeleton)
                else:
                    numbers = match.groups()
                    rank = int(numbers[0]) if pattern.ranked else None
                    line = Line(number, whole, labelled, numbers[pattern.ranked :], rank)
                    self._act(log, line, actions)
                return
        if len(whole) == len(self._skeletons.texts[skeleton - FIRST]):
            if known.tells is None:
                known.tells = self._tells(whole)
            if not known.tells:
                return  # a counter's name without a number
        line = Line(number, whole, labelled)
        self._act(log, line, self._learn(log, line, known, skeleton))

    def _act(self, log: Log, line: Line, actions: tuple[_Action, ...]) -> None:
        for name, handler in actions:
            try:
                handler(log, line)
            except Exception as error:
                self._report(log, line, name, error)

    def _learn(self, log: Log, line: Line, known: Known, skeleton: int) -> tuple[_Action, ...]:
        parts = line.parts
        text = b"\0".join(parts[::2])
        actions = self._decided.get(text)
        if actions is None:
            if self._kept > _MAX_KEPT_BYTES:
                self._decided.clear()
                self._kept = 0
            actions = self._decided[text] = self._decide(log, line)
            self._kept += len(text) + 200
        if not actions and len(parts) > 1:
            # With counters' names alone it will say nothing, whatever the numbers.
            if self._idle(known, skeleton, 1 if self._tells(line.whole) else _TIMES_IDLE):
                return actions
        if text not in known.seen:
            if len(known.seen) < _MAX_PATTERNS:
                known.seen.add(text)
        elif len(known.patterns) < _MAX_PATTERNS:
            known.patterns.append((pattern_of(line.whole, parts, line.labelled), actions))
            self._skeletons.charge(_PATTERN_BYTES + 16 * len(line.whole))
        return actions

    def _idle(self, known: Known, skeleton: int, times: int = 1) -> bool:
        """A line said nothing; whether that is so of all with its skeleton."""
        known.idle += times
        if known.idle >= _TIMES_IDLE:
            known.silent = True
            self._skeletons.silence(skeleton)
        return known.silent

    def _decide(self, log: Log, line: Line) -> tuple[_Action, ...]:
        lower = line.text.lower()
        asked = set(chain.from_iterable(d for word, d in self._asked.items() if word in lower))
        actions: list[_Action] = []
        taken = stated = False
        for dialect in map(self._dialects.__getitem__, sorted(asked)):
            late = (taken and (dialect.metrics or dialect.leftover)) or (
                stated and dialect.statement
            )
            if late:
                continue
            try:
                handler = dialect.plan(line, lower)
            except Exception as error:
                self._report(log, line, dialect.name, error)
                continue
            if handler is not None:
                actions.append((dialect.name, handler))
                taken = taken or dialect.metrics
                stated = stated or dialect.statement
        return tuple(actions)

    def _tells(self, whole: bytes) -> bool:
        """Whether more than counters' names stand in it."""
        lower = whole.lower()
        return any(word in lower for word in self._telling)

    def _report(self, log: Log, line: Line, dialect: str, error: Exception) -> None:
        if dialect not in self._failed:
            self._failed.add(dialect)
            text = f"the {dialect} dialect failed on this line: {type(error).__name__}: {error}"
            source = Source(log.path, line=line.number, excerpt=line.excerpt)
            log.out.append(Problem(text, source))
