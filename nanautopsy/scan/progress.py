"""Progress of a scan on standard error: live where somebody watches, else a line at times."""

from __future__ import annotations

import sys
import time
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


class ScanProgress:
    """Called with the tally after each batch of results."""

    def __init__(self, *, color: bool = True, quiet: bool = False) -> None:
        self._quiet, self._color = quiet, color
        self._live = sys.stderr.isatty()
        self._told = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, tally: Tally) -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if now - self._told < (_REFRESH if self._live else _LINE_SECONDS):
            return
        self._told = now
        if self._live:
            self._show(tally)
        else:
            click.echo(f"{_counted(tally)} {_pace(tally)}: {_verdicts(tally)}", err=True)

    def _show(self, tally: Tally) -> None:
        if self._bar is None:
            self._bar = _bar(self._color)
            self._task = self._bar.add_task("", total=None, pace="", verdicts="")
            self._bar.start()
        if self._task is not None:
            self._bar.update(
                self._task,
                total=tally.found if tally.listed else None,
                completed=tally.unchanged + tally.scanned,
                description=_counted(tally),
                pace=_pace(tally),
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


def _counted(tally: Tally) -> str:
    more = "" if tally.listed else "+"
    return f"{tally.unchanged + tally.scanned}/{tally.found}{more} runs"


def _pace(tally: Tally) -> str:
    left = tally.remaining if tally.listed else None
    pace = f"{tally.rate:.1f}/s"
    return pace if left is None else f"{pace}, {duration(left)} left"


def _verdicts(tally: Tally) -> str:
    counts = [f"{tally.verdicts[name]} {name}" for name in VERDICTS if tally.verdicts[name]]
    counts += [f"{tally.unread} not read"] if tally.unread else []
    return ", ".join(counts)


def _bar(color: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[pace]}", markup=False),
        TextColumn("{task.fields[verdicts]}", markup=False),
        console=Console(stderr=True, no_color=not color),
        transient=True,
    )
