"""Non-finite values that the program itself reports, and the errors that they end in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run

_KINDS = (
    ("backward-nonfinite", "anomaly mode names a backward function"),
    ("sampling-assert", "sampling met probabilities that are NaN, Inf or negative"),
    ("hardware-error", "the log shows a hardware error"),
)
_WEAK = {
    "warning": "an arithmetic warning",
    "value": "the program prints a non-finite value",
}
"""Statements that need not be about training, by the quantity that they name."""

_SKIPS = re.compile(r"\bskip(?:s|ped|ping)?\b", re.IGNORECASE)


def _detect(run: Run) -> Iterator[Finding]:
    for kind, said in _KINDS:
        events = run.events_of(kind)
        if events:
            yield _finding(kind, said, events)
    statements = run.events_of("nonfinite-text")
    plain = tuple(e for e in statements if e.data.get("quantity") not in _WEAK)
    if plain:
        yield _finding("reported-nonfinite", "the program reports a non-finite value", plain)
    for quantity, said in _WEAK.items():
        events = tuple(e for e in statements if e.data.get("quantity") == quantity)
        if events:
            yield _finding("reported-nonfinite", said, events)


def _finding(kind: str, said: str, events: tuple[LogEvent, ...]) -> Finding:
    first = events[0]
    times = f" ({len(events)} times)" if len(events) > 1 else ""
    layer = next((e.data["layer"] for e in events if isinstance(e.data.get("layer"), str)), None)
    data = dict(first.data) | {"count": len(events), "step_exact": first.step_exact}
    if all(_SKIPS.search(e.text) for e in events):
        data["skipped"] = True
    return Finding(
        id=kind,
        text=f"{said}{times}: {first.text}",
        source=first.source,
        step=first.step,
        layer=str(layer) if layer else None,
        data=data,
    )


DETECTOR = Detector("reported", _detect)
