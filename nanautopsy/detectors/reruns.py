"""A step that was computed twice: what was NaN once and finite the next time, or NaN again; and
replicas whose parameters the program found to differ."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    yield from _stated(run)
    found = [
        (death, series, count)
        for series in run.by_role("grad_norm", "loss")
        for death, count in zip(series.earlier_deaths, series.replayed, strict=False)
        if count >= thresholds.AGREED_POINTS
    ]
    if found:
        death, series, count = min(found, key=lambda item: item[0])
        yield _replayed(run, series, death, count)


def _stated(run: Run) -> Iterator[Finding]:
    events = run.events_of("step-rerun")
    for reproducible, id in ((False, "not-reproducible"), (True, "reproducible")):
        said = [e for e in events if e.data.get("reproducible") is reproducible]
        if said:
            text = (
                phrase("computed again, the step gave the same: {line}", line=said[0].text)
                if reproducible
                else phrase(
                    "computed again, the step gave another result: {line}", line=said[0].text
                )
            )
            yield Finding(
                id=id, text=text, source=said[0].source, step=said[0].step, data={"stated": True}
            )
    for event in run.events_of("replicas-differ")[:1]:
        yield Finding(
            id="replicas-differ",
            text=phrase("the program found replicas that differ: {line}", line=event.text),
            source=event.source,
            step=event.step,
            data={} if event.rank is None else {"rank": event.rank},
        )


def _replayed(run: Run, series: Series, death: int, count: int) -> Finding:
    text = phrase(
        "{tag} turned non-finite at {place}; the attempt that resumed has the {count} values "
        "before it again, and a finite one there",
        tag=series.tag,
        place=position(series.axis, death),
        count=count,
    )
    host = _another_host(run, death)
    if host is not None:
        text = phrase("{text}, on {host}", text=text, host=host)
    return Finding(
        id="not-reproducible",
        text=text,
        source=series.source,
        step=death,
        data={"axis": series.axis, "elsewhere": host is not None},
    )


def _another_host(run: Run, death: int) -> str | None:
    """The machine that was named behind the death, and not before."""
    named = run.events_of("host-named")
    before = {e.data["host"] for e in named if e.step is None or e.step < death}
    after = [e.data["host"] for e in named if e.step is not None and e.step >= death]
    new = [str(host) for host in after if host not in before]
    return new[0] if before and new else None


DETECTOR = Detector("reruns", _detect)
