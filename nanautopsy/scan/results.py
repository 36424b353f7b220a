"""What a scan knows of one run: from the workers to the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Outcome: TypeAlias = Literal["analyzed", "unreadable", "timed-out", "out-of-memory", "crashed"]


@dataclass(frozen=True, slots=True)
class Known:
    """What a catalog holds of a run already, so that an unchanged one is not read again."""

    fingerprint: str
    """Of its artifacts: paths, sizes, times."""
    rules: str
    """Of the readers and rules that judged it."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Waste:
    """What a failed run went on to spend after its onset; ``None`` where nothing tells."""

    last_step: int | None = None
    steps: int | None = None
    """Steps from the onset to the last one logged."""
    started: float | None = None
    """Seconds since the Unix epoch, of the first point or log line with a time."""
    ended: float | None = None
    seconds: float | None = None
    """From the onset to the end."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """One run of an archive, analyzed or not."""

    archive: str
    """Path or URL of the archive, absolute."""
    root: str
    """The run's directory relative to the archive, with forward slashes; ``.`` is the archive."""
    fingerprint: str
    rules: str
    outcome: Outcome
    scanned_at: float
    """Seconds since the Unix epoch."""
    seconds: float
    """Spent on this run."""
    size: int
    """Bytes of its artifacts."""
    reason: str = ""
    """One line: why it was not analyzed."""
    again: bool = False
    """Judged by what was read of it before, not read."""
    document: Mapping[str, Any] | None = None
    """The result of schema version 1, as ``analyze --format json`` prints it."""
    packed: bytes = b""
    """The document as a catalog keeps it: many workers pack faster than the one that writes."""
    signature: str = ""
    """Fingerprint of the failure: runs that died alike share it. Empty for one that did not."""
    waste: Waste = field(default_factory=Waste)
    records: bytes = b""
    """What was read, packed, so that new rules can judge it without the artifacts; never a
    pickle, since a catalog may be shared."""
