"""From a line to what is to be done with it, decided once for each shape of line.

Lines of a log repeat: the same words around other numbers. The text around the numbers is the
shape. The dialects are asked about the first line of a shape; from the second on a pattern made of
that shape recognizes its lines and takes their numbers in one match.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nanautopsy.model import Problem, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, find_any
from nanautopsy.readers.text.numbers import SPLIT

_MAX_SHAPE_BYTES = 8192
"""Longer lines are decided each time."""
_MAX_KEPT_BYTES = 4 << 20
"""Of all shapes together; then they are learned anew, so that a log without repetition stays
cheap."""
_MAX_PATTERNS = 4
"""Tried for a line: those that equal it but for the digits."""
_DIGITS = b"0123456789"
_NUMBER = rb"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)"
_SKIPPED_NUMBER = rb"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"

_Action = tuple[str, Handler]


@dataclass(slots=True)
class _Shape:
    actions: tuple[_Action, ...]
    pattern: re.Pattern[bytes] | None = None
    """Captures the numbers behind the prefix; made when the shape comes again."""
    ranked: bool = False
    """Its prefix names a rank."""


class Shapes:
    """Asks the dialects, and remembers."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = [(dialect, find_any(dialect.triggers)) for dialect in dialects]
        self._any = find_any(tuple({t for d in dialects for t in d.triggers}))
        telling = {t for d in dialects for t in d.triggers if t not in d.counters}
        self._telling = find_any(tuple(telling))
        self._known: dict[bytes, _Shape] = {}
        self._patterns: dict[bytes, list[_Shape]] = {}
        self._kept = 0
        self._noise: set[bytes] = set()
        self._failed: set[str] = set()

    def handle(self, log: Log, whole: bytes, number: int, srun: bool) -> None:
        """Give a line, without terminal escapes, to the dialects that want it."""
        if len(whole) > _MAX_SHAPE_BYTES:
            line = Line(number, whole, srun)
            self._act(log, line, self._decide(log, line))
            return
        key = whole.translate(None, _DIGITS)
        if key in self._noise:
            return
        for shape in self._patterns.get(key, ()):
            match = shape.pattern.fullmatch(whole) if shape.pattern else None
            if match is not None:
                if shape.actions:
                    numbers = None if shape.ranked else match.groups()
                    line = Line(number, whole, srun, numbers)
                    self._act(log, line, shape.actions)
                return
        line = Line(number, whole, srun)
        self._act(log, line, self._learn(log, line, key).actions)

    def handle_line(self, log: Log, line: Line) -> None:
        """The same for a line that somebody has looked at already."""
        self.handle(log, line.whole, line.number, line.srun)

    def _act(self, log: Log, line: Line, actions: tuple[_Action, ...]) -> None:
        for name, handler in actions:
            try:
                handler(log, line)
            except Exception as error:
                self._report(log, line, name, error)

    def _learn(self, log: Log, line: Line, key: bytes) -> _Shape:
        parts = line.parts
        text = b"\0".join(parts[::2])
        shape = self._known.get(text)
        if shape is None:
            if self._kept > _MAX_KEPT_BYTES:
                self._known.clear()
                self._patterns.clear()
                self._noise.clear()
                self._kept = 0
            shape = self._known[text] = _Shape(self._decide(log, line))
            self._kept += len(text) + 200
            if not shape.actions and len(parts) > 1 and not self._telling.search(line.text.lower()):
                # Nothing but counters' names in it: whatever the numbers, it will say nothing.
                self._noise.add(key)
            return shape
        if shape.pattern is None:
            prefix = line.whole[: len(line.whole) - len(line.raw)]
            shape.pattern = _compile(prefix, parts)
            shape.ranked = line.rank is not None
        similar = self._patterns.setdefault(key, [])
        # With another prefix the pattern does not fit; such lines are split each time.
        if len(similar) < _MAX_PATTERNS and shape.pattern.fullmatch(line.whole):
            similar.append(shape)
            self._kept += len(key) + 200
        return shape

    def _decide(self, log: Log, line: Line) -> tuple[_Action, ...]:
        lower = line.text.lower()
        if self._any.search(lower) is None:
            return ()
        actions: list[_Action] = []
        taken = stated = False
        for dialect, triggers in self._dialects:
            late = (taken and (dialect.metrics or dialect.leftover)) or (
                stated and dialect.statement
            )
            if late or not triggers.search(lower):
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

    def _report(self, log: Log, line: Line, dialect: str, error: Exception) -> None:
        if dialect not in self._failed:
            self._failed.add(dialect)
            text = f"the {dialect} dialect failed on this line: {type(error).__name__}: {error}"
            source = Source(log.path, line=line.number, excerpt=line.excerpt)
            log.out.append(Problem(text, source))


def _compile(prefix: bytes, parts: list[bytes]) -> re.Pattern[bytes]:
    """A pattern for lines that differ from a sample only in their numbers."""
    before = _SKIPPED_NUMBER.join(map(re.escape, SPLIT.split(prefix)[::2]))
    return re.compile(before + _NUMBER.join(map(re.escape, parts[::2])), re.DOTALL)
