"""What a reader asks first, and the answers at the top of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy
from nanautopsy.quantities import position
from nanautopsy.render import _facts
from nanautopsy.render._clean import one_line
from nanautopsy.render._document import line
from nanautopsy.wording import counted, listed, phrase, shortlist

_MOST_MISSING = 4
"""Things not seen that are named at the top."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A label and a line."""

    label: str
    text: str
    href: str = ""
    """Where in the page more is said."""
    more: str = ""
    """The words of a second link, to the same place."""


def headline(autopsy: Autopsy, language: Language) -> str:
    """The headline without the verdict, which stands above it."""
    word = language.say(_facts.verdict_word(autopsy))
    text = one_line(language.say(autopsy.headline))
    for colon in (": ", "："):
        if text.startswith(word + colon):
            text = text[len(word + colon) :]
            text = text[:1].upper() + text[1:]
    return text.replace("non-finite", "non\N{NON-BREAKING HYPHEN}finite")


def answers(autopsy: Autopsy, best: str) -> list[Answer]:
    """What, when, where, why, how sure, what to do, what was not seen; ``best``: the id of the
    most probable cause's card, where there is one."""
    return [*_what(autopsy), *_why(autopsy, best), *_seen(autopsy)]


def _what(autopsy: Autopsy) -> Iterator[Answer]:
    onset, finding = autopsy.onset, _facts.initiating(autopsy)
    if onset is not None:
        yield Answer(phrase("What"), _facts.what(onset))
        yield Answer(phrase("When"), _facts.when(onset), "#onset")
        yield Answer(phrase("Where"), line(_facts.where(onset)))
    elif finding is not None:
        yield Answer(phrase("What"), line(finding.text))
        if finding.step is not None:
            when = position("step", finding.step)
            if finding.last_good is not None:
                when = phrase("{place} (last good: {before})", place=when, before=finding.last_good)
            yield Answer(phrase("When"), when)


def _why(autopsy: Autopsy, best: str) -> Iterator[Answer]:
    why = _facts.why(autopsy)
    if why:
        target = f"#{best}" if best else "#considered" if autopsy.considered else ""
        yield Answer(phrase("Why"), line(why), target)
    if autopsy.causes:
        yield Answer(phrase("How sure"), line(_facts.how_sure(autopsy)))
        remedies = autopsy.causes[0].remedies
        if remedies:
            others = len(remedies) - 1
            more = counted(others, "one more remedy", "{n} more remedies") if others else ""
            yield Answer(phrase("What to do"), remedies[0].split("\n")[0], f"#{best}", more)
    else:
        yield from _to_try(autopsy)


def _to_try(autopsy: Autopsy) -> Iterator[Answer]:
    """Of what would tell the causes apart the first."""
    experiments = [entry for entry in autopsy.coverage.missing if entry.experiment]
    if experiments:
        others = len(experiments) - 1
        more = counted(others, "one more experiment", "{n} more experiments") if others else ""
        first = experiments[0].how_to_collect.split("\n")[0]
        yield Answer(phrase("What to do"), first, "#experiments", more)


def _seen(autopsy: Autopsy) -> Iterator[Answer]:
    if not autopsy.failed and autopsy.coverage.seen:
        yield Answer(phrase("Seen"), line(listed(autopsy.coverage.seen, "; ")), "#read")
    missing = [entry.what for entry in autopsy.coverage.missing if not entry.experiment]
    if missing:
        yield Answer(phrase("Not seen"), line(shortlist(missing, _MOST_MISSING)), "#missing")
