"""Non-finite values that the program itself reports, and the errors that they end in."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run


def _detect(run: Run) -> Iterator[Finding]:
    for kind, words in (
        ("nonfinite-text", "the program reports a non-finite value"),
        ("backward-nonfinite", "anomaly mode names a backward function"),
        ("sampling-assert", "sampling met probabilities that are NaN, Inf or negative"),
        ("hardware-error", "the log shows a hardware error"),
    ):
        events = run.events_of(kind)
        if events:
            yield _finding(kind, words, events)


def _finding(kind: str, words: str, events: tuple[LogEvent, ...]) -> Finding:
    first = events[0]
    times = f" ({len(events)} times)" if len(events) > 1 else ""
    layer = next((e.data["layer"] for e in events if isinstance(e.data.get("layer"), str)), None)
    data = dict(first.data) | {"count": len(events), "step_exact": first.step_exact}
    return Finding(
        id="reported-nonfinite" if kind == "nonfinite-text" else kind,
        text=f"{words}{times}: {first.text}",
        source=first.source,
        step=first.step,
        layer=str(layer) if layer else None,
        data=data,
    )


DETECTOR = Detector("reported", _detect)
