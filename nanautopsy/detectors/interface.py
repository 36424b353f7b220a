"""What a detector is: a module here that defines ``DETECTOR``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nanautopsy.model import Finding, Run


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of observation."""

    id: str
    detect: Callable[[Run], Iterable[Finding]]
    """A pure function of the run."""
