"""What a scan counted so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nanautopsy.scan.results import ScanResult

VERDICTS = ("non-finite", "diverged", "undetermined", "healthy")


@dataclass(slots=True)
class Tally:
    """Grows while the scan goes on."""

    found: int = 0
    listed: bool = False
    """All runs are found: ``found`` grows no more."""
    unchanged: int = 0
    judged_again: int = 0
    """Of the scanned ones, by new rules from what was read before."""
    outcomes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    """First causes of the failed runs; ``undetermined`` where none was named."""
    signatures: Counter[str] = field(default_factory=Counter)
    wasted_steps: int = 0
    wasted_seconds: float = 0.0
    gone: int = 0
    """Runs of the catalog that are no longer in the archive."""

    @property
    def done(self) -> int:
        """Runs that are behind us, scanned or unchanged."""
        return self.scanned + self.unchanged

    @property
    def scanned(self) -> int:
        """Runs with a result of this scan."""
        return self.outcomes.total()

    @property
    def unread(self) -> int:
        """Runs that were not analyzed."""
        return self.scanned - self.outcomes["analyzed"]

    @property
    def failed(self) -> int:
        """Runs that are non-finite or diverged."""
        return self.verdicts["non-finite"] + self.verdicts["diverged"]

    def add(self, result: ScanResult) -> None:
        """One more result."""
        self.outcomes[result.outcome] += 1
        self.judged_again += result.again
        document = result.document
        if document is None:
            return
        verdict = document["verdict"]
        self.verdicts[verdict] += 1
        if verdict in ("non-finite", "diverged"):
            causes = document["causes"]
            self.causes[causes[0]["id"] if causes else "undetermined"] += 1
            self.signatures[result.signature] += 1
            self.wasted_steps += result.waste.steps or 0
            self.wasted_seconds += result.waste.seconds or 0.0
