"""Failures that came back: at the same step of another attempt, or in the same batch of another
epoch."""

from __future__ import annotations

from collections.abc import Iterator

from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import first_nonfinite
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("loss", "grad_norm"):
        index = first_nonfinite(series)
        if index is not None and series.earlier_deaths:
            yield _died_again(series, index)
            break
    yield from _in_the_same_batch(run)


def _died_again(series: Series, index: int) -> Finding:
    step = int(series.steps[index])
    same = set(series.earlier_deaths) == {step}
    place = position(series.axis, step)
    others = ", ".join(str(death) for death in dict.fromkeys(series.earlier_deaths))
    return Finding(
        id="died-again",
        text=phrase(
            "{tag} turned non-finite at {place} in {n} attempts, each time from finite values",
            tag=series.tag,
            place=place,
            n=len(series.earlier_deaths) + 1,
        )
        if same
        else phrase(
            "{tag} turned non-finite at {place}, and at {others} in attempts before",
            tag=series.tag,
            place=place,
            others=position(series.axis, others),
        ),
        source=series.at(index),
        step=step,
        data={"same": same, "axis": series.axis},
    )


def _in_the_same_batch(run: Run) -> Iterator[Finding]:
    """A guard that names the same number of a batch each time, at different steps."""
    said = [e for e in run.events_of("nonfinite-text") if isinstance(e.data.get("batch"), int)]
    said = [e for e in said if e.data.get("quantity") in ("loss", "gradient", "input", None)]
    lines = _apart(said)
    if len(lines) < 2 or len({e.data["batch"] for e in lines}) > 1:
        return
    first = lines[0]
    yield Finding(
        id="same-batch",
        text=phrase(
            "the program says {n} times that batch {batch} is non-finite, and of no other: {line}",
            n=len(lines),
            batch=first.data["batch"],
            line=first.text,
        ),
        source=first.source,
        step=first.step,
    )


def _apart(events: list[LogEvent]) -> list[LogEvent]:
    """One event of each step that the log stood at."""
    return list({e.step: e for e in reversed(events)}.values())[::-1]


DETECTOR = Detector("recurrence", _detect)
