"""From a line to what is to be done with it, decided once for each shape of line.

Lines of a log repeat: the same words around other numbers. The text around the numbers is the
shape; the dialects are asked about the first line of a shape, and all further ones cost a split
and a look-up.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanautopsy.model import Problem, Source
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, find_any

_MAX_SHAPES = 8192
_MAX_SHAPE_BYTES = 2048
"""Longer lines are decided each time, so that the memory stays small."""

_Action = tuple[str, Handler]


class Shapes:
    """Asks the dialects, and remembers."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = [(dialect, find_any(dialect.triggers)) for dialect in dialects]
        self._any = find_any(tuple({t for d in dialects for t in d.triggers}))
        self._known: dict[bytes, tuple[_Action, ...]] = {}
        self._failed: set[str] = set()

    def handle(self, log: Log, line: Line) -> None:
        """Give the line to the dialects that want it; one that fails does not stop the others."""
        shape = b"\0".join(line.parts[::2])
        actions = self._known.get(shape)
        if actions is None:
            actions = self._decide(log, line)
            if len(shape) <= _MAX_SHAPE_BYTES:
                if len(self._known) >= _MAX_SHAPES:
                    self._known.clear()
                self._known[shape] = actions
        for name, handler in actions:
            try:
                handler(log, line)
            except Exception as error:
                self._report(log, line, name, error)

    def _decide(self, log: Log, line: Line) -> tuple[_Action, ...]:
        lower = line.text.lower()
        if self._any.search(lower) is None:
            return ()
        actions: list[_Action] = []
        taken = False
        for dialect, triggers in self._dialects:
            if (taken and (dialect.metrics or dialect.leftover)) or not triggers.search(lower):
                continue
            try:
                handler = dialect.plan(line, lower)
            except Exception as error:
                self._report(log, line, dialect.name, error)
                continue
            if handler is not None:
                actions.append((dialect.name, handler))
                taken = taken or dialect.metrics
        return tuple(actions)

    def _report(self, log: Log, line: Line, dialect: str, error: Exception) -> None:
        if dialect not in self._failed:
            self._failed.add(dialect)
            text = f"the {dialect} dialect failed on this line: {type(error).__name__}: {error}"
            source = Source(log.path, line=line.number, excerpt=line.excerpt)
            log.out.append(Problem(text, source))
