"""A bar on standard error for work that takes long: bytes, speed, remaining time."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 1.0
"""Seconds of work before a bar appears."""
_REFRESH = 0.1
"""Seconds between two updates: a checkpoint may have a million tensors."""


class ProgressBar:
    """What ``checkpoints.examine`` tells, shown when it takes long and somebody watches."""

    def __init__(self, *, color: bool = True) -> None:
        self._color = color
        self._watched = sys.stderr.isatty()
        self._born = self._told = time.monotonic()
        self._path, self._total, self._done = "", 0, 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, path: str, nbytes: int) -> None:
        """A checkpoint of ``nbytes`` is about to be measured."""
        self._path = path
        self._total = self._done + nbytes
        self._told = 0.0
        self.advance(0)

    def advance(self, nbytes: int) -> None:
        """So many bytes more were measured."""
        self._done += nbytes
        now = time.monotonic()
        if self._watched and now - self._born > PATIENCE and now - self._told > _REFRESH:
            self._told = now
            self._show()

    def _show(self) -> None:
        from nanautopsy.render._clean import clean, one_line
        from nanautopsy.render._format import middle_cut

        if self._bar is None:
            self._bar = _bar(self._color)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        if self._task is not None:
            name = middle_cut(one_line(clean(self._path)), 32, "...")
            self._bar.update(
                self._task, description=name, total=self._total or None, completed=self._done
            )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _bar(color: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, no_color=not color),
        transient=True,
    )
