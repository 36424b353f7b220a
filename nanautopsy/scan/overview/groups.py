"""Runs that died alike: those whose failures have one signature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from nanautopsy.scan.overview.details import AllDetails
from nanautopsy.scan.overview.differences import Comparison, Neighbors, compared
from nanautopsy.scan.overview.runs import ListedRun

MOST_GROUPS = 40
"""The largest; of equally large ones the latest."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs with one signature."""

    signature: str
    runs: tuple[ListedRun, ...]
    """The latest first; never empty."""
    comparison: Comparison | None
    """``None``: no healthy run is like any of them."""

    @property
    def cause(self) -> str:
        """What the first of them died of; they all did."""
        return self.runs[0].died_of


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups that are told, and what is not."""

    groups: tuple[Group, ...]
    left_out: int
    """Groups beside these."""
    runs_left_out: int


def groups_of(runs: Sequence[ListedRun], details: AllDetails) -> Groups:
    """The groups among the runs that died; ``runs`` has the latest first."""
    by_signature: dict[str, list[ListedRun]] = defaultdict(list)
    for run in runs:
        if run.failed and run.signature:
            by_signature[run.signature].append(run)
    ordered = sorted(by_signature.items(), key=lambda item: -len(item[1]))
    neighbors = Neighbors(runs)
    told = tuple(
        Group(signature, tuple(alike), compared(alike, neighbors, details))
        for signature, alike in ordered[:MOST_GROUPS]
    )
    rest = ordered[MOST_GROUPS:]
    return Groups(told, len(rest), sum(len(alike) for _, alike in rest))
