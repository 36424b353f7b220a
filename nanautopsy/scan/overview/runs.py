"""A run of the catalog, as far as an overview needs it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from nanautopsy.scan.catalog.rows import given
from nanautopsy.scan.query import Filters, matching

FAILED = ("non-finite", "diverged")
"""Verdicts of runs that died."""
UNDETERMINED = "undetermined"
"""Stands for the cause where none was named, as in a scan's tally."""
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One row of ``runs``; what is not known is ``None``."""

    id: int
    """Its key in the catalog."""
    archive: str
    root: str
    outcome: str
    reason: str
    scanned_at: float
    verdict: str | None = None
    cause: str | None = None
    """The first cause."""
    probability: float | None = None
    onset_step: int | None = None
    onset_layer: str | None = None
    signature: str | None = None
    program: str | None = None
    model: str | None = None
    started: float | None = None
    ended: float | None = None
    wasted_steps: int | None = None
    wasted_seconds: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it died."""
        return self.verdict in FAILED

    @property
    def healthy(self) -> bool:
        """Whether it was read and did not die."""
        return self.verdict == "healthy"

    @property
    def died_of(self) -> str:
        """The first cause of a run that died."""
        return self.cause or UNDETERMINED

    @property
    def when(self) -> float | None:
        """Seconds since the Unix epoch: the last time that its artifacts state; ``None`` where
        they state none, or one after the scan, which no clock that was set right gives."""
        said = self.ended if self.ended is not None else self.started
        return said if said is not None and said < self.scanned_at + _DAY else None

    @property
    def folders(self) -> tuple[str, ...]:
        """The two folders above it within the archive, the nearest first: an experiment's and a
        project's; what lies further up holds anything. ``.`` is the archive."""
        if self.root == ".":
            return ()
        nearest = self.root.rpartition("/")[0]
        return (nearest, nearest.rpartition("/")[0] or ".") if nearest else (".",)


_TEXTS = ("outcome", "reason", "verdict", "cause", "onset_layer", "signature", "program", "model")
_WHOLE = ("onset_step", "wasted_steps")
_REAL = ("probability", "started", "ended", "wasted_seconds")


def listed(connection: Connection, filters: Filters) -> Sequence[ListedRun]:
    """The runs, those that died first, then what is undetermined or was not read, the latest
    first. Raises :class:`~nanautopsy.scan.query.UnclearQuery`."""
    runs = [_run(row) for row in matching(connection, filters)]
    return sorted(runs, key=lambda run: (not run.failed, run.healthy))


def _run(row: Any) -> ListedRun:
    """SQLite holds anything in any column, and a catalog may be somebody else's: what is not of
    its column's kind counts as not known."""
    values: dict[str, Any] = {name: _kept(getattr(row, name), str) for name in _TEXTS}
    values |= {name: _kept(getattr(row, name), int) for name in _WHOLE}
    values |= {name: _number(getattr(row, name)) for name in _REAL}
    return ListedRun(
        id=row.id,
        archive=given(str(row.archive)),
        root=given(str(row.root)),
        scanned_at=_number(row.scanned_at) or 0.0,
        **values | {"outcome": values["outcome"] or "", "reason": values["reason"] or ""},
    )


def _kept(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
