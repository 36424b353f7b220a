"""Progress of a scan on standard error: live where somebody watches, else a line at times."""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

import click

from nanautopsy.render._format import duration
from nanautopsy.scan.tally import VERDICTS, Tally

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REFRESH = 0.2
_LINE_SECONDS = 10.0
"""Between two lines where nobody watches: a log of hours stays short."""
_WINDOW_SECONDS, _SURE_SECONDS = 30.0, 5.0
"""How far back the pace looks, and how far it must before it says what is to come."""


class ScanProgress:
    """Called with the tally after each batch of results."""

    def __init__(self, *, color: bool = True, quiet: bool = False) -> None:
        self._quiet, self._color = quiet, color
        self._live = sys.stderr.isatty()
        self._pace = _Pace()
        # Who watches sees at once that something goes on; a log tells of what took a while.
        self._told = -_REFRESH if self._live else time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, tally: Tally) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        self._pace.note(now, tally.done)
        if now - self._told < (_REFRESH if self._live else _LINE_SECONDS):
            return
        self._told = now
        if self._live:
            self._show(tally)
        else:
            click.echo(self._line(tally), err=True)

    def _line(self, tally: Tally) -> str:
        told = f"{_counted(tally)}, {self._pace.text(tally)}".removesuffix(", ")
        return f"{told}: {_verdicts(tally)}".removesuffix(": ")

    def _show(self, tally: Tally) -> None:
        if self._bar is None:
            self._bar = _bar(self._color)
            self._task = self._bar.add_task("", total=None, pace="", verdicts="")
            self._bar.start()
        if self._task is not None:
            self._bar.update(
                self._task,
                total=tally.found if tally.listed else None,
                completed=tally.done,
                description=_counted(tally),
                pace=self._pace.text(tally),
                verdicts=_verdicts(tally),
            )

    def __enter__(self) -> ScanProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class _Pace:
    """Runs a second over the last while: neither a slow start nor runs that were skipped in a
    moment say how long the others take."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, now: float, done: int) -> None:
        """At ``now``, seconds of the monotonic clock, so many runs were done."""
        if not self._noted or now - self._noted[-1][0] >= _REFRESH:
            self._noted.append((now, done))
        while len(self._noted) > 2 and now - self._noted[0][0] > _WINDOW_SECONDS:
            self._noted.popleft()

    def text(self, tally: Tally) -> str:
        """The rate and, once all runs are found, the time left; empty while nothing tells."""
        (then, before), (now, done) = self._noted[0], self._noted[-1]
        if done == before:
            return ""
        rate = (done - before) / (now - then)
        pace = f"{rate:.1f}/s"
        if not tally.listed or now - then < _SURE_SECONDS:
            return pace
        return f"{pace}, {duration((tally.found - done) / rate)} left"


def _counted(tally: Tally) -> str:
    if not tally.found and not tally.listed:
        return "Looking for runs"
    return f"{tally.done}/{tally.found}{'' if tally.listed else '+'} runs"


def _verdicts(tally: Tally) -> str:
    counts = [f"{tally.verdicts[name]} {name}" for name in VERDICTS if tally.verdicts[name]]
    counts += [f"{tally.unread} not read"] if tally.unread else []
    return ", ".join(counts)


def _bar(color: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def text(name: str) -> TextColumn:
        column = Column(no_wrap=True, overflow="ellipsis")
        return TextColumn(f"{{task.{name}}}", markup=False, table_column=column)

    return Progress(
        text("description"),
        BarColumn(bar_width=20),
        text("fields[pace]"),
        text("fields[verdicts]"),
        console=Console(stderr=True, no_color=not color),
        transient=True,
    )
