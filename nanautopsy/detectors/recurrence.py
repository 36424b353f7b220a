"""Failures that came back: at the same step of another attempt, in the same batches of another
epoch, or with the same samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from nanautopsy import thresholds
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
    yield from _with_the_same_samples(run)


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
    """A guard that names the same number of a batch each time, at different steps; or the same few
    numbers in the same order, epoch by epoch."""
    said = [e for e in run.events_of("nonfinite-text") if isinstance(e.data.get("batch"), int)]
    said = [e for e in said if e.data.get("quantity") in ("loss", "gradient", "input", None)]
    lines = _apart(said)
    batches = [e.data["batch"] for e in lines if isinstance(e.data["batch"], int)]
    period = _cycle(batches)
    if period is None:
        return
    first = lines[0]
    yield Finding(
        id="same-batch",
        text=phrase(
            "the program says {n} times that batch {batch} is non-finite, and of no other: {line}",
            n=len(lines),
            batch=", ".join(map(str, batches[:period])),
            line=first.text,
        ),
        source=first.source,
        step=first.step,
    )


def _cycle(batches: Sequence[int]) -> int | None:
    """How many of them there are before they begin again, in the same order to the end."""
    if len(batches) < 2 or batches[0] not in batches[1:]:
        return None
    period = batches.index(batches[0], 1)
    cycle = batches[:period]
    alone = period <= thresholds.MOST_BAD_BATCHES and len(set(cycle)) == period
    again = all(batch == cycle[i % period] for i, batch in enumerate(batches))
    return period if alone and again and len(batches) >= 2 * period else None


def _with_the_same_samples(run: Run) -> Iterator[Finding]:
    """A guard or a check that names the samples: those of one epoch are those of the next."""
    for kind in ("odd-sample", "nonfinite-text"):
        said = [e for e in run.events_of(kind) if e.data.get("quantity") in (None, "input")]
        named = [(e, found) for e in said if (found := _samples_of(e.text))]
        places = {(e.source.path, e.source.line) for e, _ in named}
        often = Counter(sample for _, found in named for sample in found)
        again = {sample for sample, n in often.items() if n > 1}
        telling = [e for e, found in named if found & again]
        if len(places) < 2 or len(telling) < len(named) or len(again) > thresholds.MOST_BAD_BATCHES:
            continue
        yield Finding(
            id="same-batch",
            text=phrase(
                "the program names the same samples ({samples}) each of {n} times: {line}",
                samples=", ".join(sorted(again)[:4]),
                n=len(named),
                line=telling[0].text,
            ),
            source=telling[0].source,
            step=telling[0].step,
        )
        return


_SAMPLE = re.compile(
    r"\b(?:samples?|examples?|records?|rows?|items?|images?|clips?|utt(?:erance)?s?|files?|idx|ids?"
    r"|ind(?:ices|exes|ex)|uids?|keys?)(?:[ _-]?(?:ids?|idx|ind(?:ices|ex)|no|numbers?|names?))?"
    r"\s*[:=#]?\s*(?P<named>[\[({][^\])}]{1,200}[\])}]|['\"]?[\w./-]*\d[\w./-]*)",
    re.IGNORECASE,
)
_ID = re.compile(r"[\w./-]*\d[\w./-]*")


def _samples_of(text: str) -> frozenset[str]:
    """The samples that a line names by number or by file."""
    return frozenset(
        sample for named in _SAMPLE.finditer(text) for sample in _ID.findall(named["named"])
    )


def _apart(events: list[LogEvent]) -> list[LogEvent]:
    """One event of each step that the log stood at; where it names none, of neighboring lines
    that name one batch."""
    kept: dict[object, LogEvent] = {}
    last: LogEvent | None = None
    for event in events:
        beside = last is not None and last.data.get("batch") == event.data.get("batch")
        if event.step is not None:
            kept.setdefault(event.step, event)
        elif not (beside and last is not None and _lines_between(last, event) <= 1):
            kept[event.source] = event
        last = event
    return list(kept.values())


def _lines_between(before: LogEvent, after: LogEvent) -> float:
    one, other = before.source, after.source
    if one.path != other.path or one.line is None or other.line is None:
        return float("inf")
    return other.line - one.line


DETECTOR = Detector("recurrence", _detect)
