"""What an index page says first: how many died, of what, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from nanautopsy.render._answers import Answer
from nanautopsy.render._facts import VERDICT_WORDS
from nanautopsy.render._format import duration, moment, percent, thousands
from nanautopsy.render._index_tables import UNDETERMINED
from nanautopsy.wording import Phrase, counted, listed, phrase

if TYPE_CHECKING:
    from nanautopsy.scan.overview.overview import Overview

_MOST_CAUSES = 4
_DAY = len("2025-01-31")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the bar of verdicts."""

    name: str
    """Its class: a verdict, or ``unread``."""
    word: str
    count: int
    start: float
    """Percent of the bar before it."""
    width: float


def headline(overview: Overview) -> Phrase:
    """How many died."""
    all_runs, died, healthy = len(overview.runs), len(overview.failed), overview.verdicts["healthy"]
    if not all_runs:
        return phrase("No run fits.")
    if died:
        return counted(
            all_runs,
            "The one run died.",
            "{died} of {all} runs died.",
            died=thousands(died),
            all=thousands(all_runs),
        )
    if healthy == all_runs:
        return counted(
            all_runs,
            "The one run is healthy.",
            "All {all} runs are healthy.",
            all=thousands(all_runs),
        )
    return counted(
        all_runs,
        "The one run is not known to have died.",
        "None of {all} runs is known to have died.",
        all=thousands(all_runs),
    )


def bar(overview: Overview) -> list[Part]:
    """The verdicts as parts of a bar, those that died first."""
    counts = [(name, word, overview.verdicts[name]) for name, word in VERDICT_WORDS.items()]
    order = ("non-finite", "diverged", "undetermined", "healthy")
    counts.sort(key=lambda part: order.index(part[0]))
    counts.append(("unread", phrase("Not read"), len(overview.unread)))
    parts, before = [], 0.0
    for name, word, count in counts:
        if count:
            width = 100 * count / len(overview.runs)
            parts.append(Part(name, word, count, round(before, 3), round(width, 3)))
            before += width
    return parts


def answers(overview: Overview, links: Iterable[str]) -> list[Answer]:
    """The lines under the headline; ``links``: the sections that the page has."""
    sections = set(links)
    found = [*_only(overview), *_when(overview), *_causes(overview), *_waste(overview)]
    return [
        one if one.href.removeprefix("#") in sections else Answer(one.label, one.text)
        for one in found
    ]


def _only(overview: Overview) -> Iterator[Answer]:
    given = [
        (field.name.removesuffix("s"), value)
        for field in fields(overview.filters)
        if (value := getattr(overview.filters, field.name))
    ]
    told = [
        f"{name}={', '.join(value) if isinstance(value, tuple) else value}"
        for name, value in given
        if name != "archive"
    ]
    if told:
        yield Answer(phrase("Only"), listed(told, "; "))


def _when(overview: Overview) -> Iterator[Answer]:
    times = [when for run in overview.runs if (when := run.when) is not None]
    if times:
        first, last = moment(min(times))[:_DAY], moment(max(times))[:_DAY]
        known: str = first if first == last else phrase("{a} to {b}", a=first, b=last)
        silent = len(overview.runs) - len(times)
        if silent:
            known = phrase("{known}; {n} runs tell no time", known=known, n=thousands(silent))
        yield Answer(phrase("Last alive"), known)


def _causes(overview: Overview) -> Iterator[Answer]:
    causes, died = overview.causes, len(overview.failed)
    if not died:
        return
    named = [
        phrase(
            "{cause} {n} ({share})",
            cause=UNDETERMINED if cause == UNDETERMINED else f"`{cause}`",
            n=thousands(count),
            share=percent(count / died),
        )
        for cause, count in causes.most_common(_MOST_CAUSES)
    ]
    more = len(causes) - len(named)
    words = phrase("and {n} more", n=more) if more > 0 else ""
    yield Answer(phrase("Causes"), listed(named), "#causes" if words else "", words)


def _waste(overview: Overview) -> Iterator[Answer]:
    failed = overview.failed
    if not failed:
        return
    steps = [run.wasted_steps for run in failed if run.wasted_steps is not None]
    seconds = [run.wasted_seconds for run in failed if run.wasted_seconds is not None]
    told: list[str] = []
    if steps:
        told.append(
            phrase(
                "{steps} steps ({n} of {all} runs tell)",
                steps=thousands(sum(steps)),
                n=thousands(len(steps)),
                all=thousands(len(failed)),
            )
        )
    if seconds:
        told.append(
            phrase(
                "{time} ({n} of {all} runs tell)",
                time=duration(sum(seconds)),
                n=thousands(len(seconds)),
                all=thousands(len(failed)),
            )
        )
    if not told:
        told.append(phrase("no run tells"))
    words = phrase("How that is reckoned")
    yield Answer(phrase("Spent after the onset"), listed(told), "#method", words)
