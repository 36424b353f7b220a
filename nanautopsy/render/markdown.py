"""The whole result as GitHub-flavored Markdown, and the sections that an issue report shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy, Evidence, MissingEvidence, RankedCause
from nanautopsy.render import _facts
from nanautopsy.render._clean import cleaned
from nanautopsy.render._format import moment, percent, scalar, size
from nanautopsy.render._gfm import (
    MAX_ROWS,
    attribute,
    cite,
    code,
    fitted,
    folded,
    heading,
    item,
    link,
    more,
    prose,
)
from nanautopsy.wording import Phrase, listed, phrase, shortlist


def render(autopsy: Autopsy, *, language: Language = ENGLISH) -> str:
    """The document; sections from the end are left out when it grows too long for a comment."""
    autopsy = cleaned(autopsy)
    return (
        marker(autopsy) + fitted(_sections(autopsy, language), language) + footer(autopsy, language)
    )


def _sections(autopsy: Autopsy, language: Language) -> Iterator[str]:
    yield summary(autopsy, language)
    yield from causes(autopsy, language)
    yield missing(autopsy, language)
    yield environment(autopsy, language)
    yield timeline(autopsy, language)
    yield artifacts(autopsy, language)
    yield considered(autopsy, language)
    yield configuration(autopsy, language)


# --- sections ---------------------------------------------------------------------------------


def marker(autopsy: Autopsy) -> str:
    """A comment by which such a document is known."""
    return f"<!-- nanautopsy {attribute(autopsy.version)} -->\n\n"


def summary(autopsy: Autopsy, language: Language) -> str:
    """What died, when, where, why and which run."""

    def fact(label: Phrase, text: str, source: str = "") -> str:
        said = language.say(phrase("{label}:", label=label))
        return f"- **{said}** {prose(language.say(text))}" + (f" {source}" if source else "")

    lines = [f"## {prose(_facts.headline(autopsy, language))}", ""]
    onset = autopsy.onset
    if onset is not None:
        lines += [
            fact(phrase("What"), _facts.what(onset)),
            fact(phrase("When"), _facts.when(onset)),
            fact(phrase("Where"), _facts.where(onset)),
            fact(phrase("How this is known"), onset.how, cite(onset.source)),
        ]
        if len(onset.layers) > 1:
            names = shortlist([code(layer) for layer in onset.layers], MAX_ROWS)
            label = language.say(phrase("{label}:", label=phrase("First layers")))
            lines.append(f"- **{label}** {language.say(names)}")
    else:
        finding = _facts.initiating(autopsy)
        if finding is not None:
            lines.append(fact(phrase("Seen"), finding.text, cite(finding.source)))
    if _facts.why(autopsy):
        lines.append(fact(phrase("Why"), _facts.why(autopsy)))
    label = language.say(phrase("{label}:", label=phrase("Run")))
    lines.append(f"- **{label}** {code(autopsy.run.path or 'run')}")
    lines += [fact(phrase("Note"), note) for note in autopsy.run.notes[:MAX_ROWS]]
    return "\n".join(lines)


def causes(autopsy: Autopsy, language: Language) -> Iterator[str]:
    """A section a cause, most probable first."""
    say = language.say
    for i, cause in enumerate(autopsy.causes):
        lines = [f"### {i + 1}. {percent(cause.probability)} {prose(cause.title)}", ""]
        lines += [say(phrase("Cause {id}.", id=code(cause.id))), ""]
        lines += _evidence(cause, language)
        if cause.remedies:
            title = say(phrase("What to do"))
            lines += ["", f"**{title}**", ""]
            lines += [item(remedy) for remedy in cause.remedies[:MAX_ROWS]]
        links = [link(url) for url in cause.references[:MAX_ROWS]]
        if links:
            lines += ["", say(phrase("References: {links}", links=listed(links)))]
        yield "\n".join(lines)


def _evidence(cause: RankedCause, language: Language) -> list[str]:
    lines: list[str] = []
    for supports, label in ((True, phrase("For it")), (False, phrase("Against it"))):
        title = language.say(label)
        side = _facts.by_strength(cause.evidence, supports)
        if side:
            lines += ["", f"**{title}**", ""] if lines else [f"**{title}**", ""]
            lines += [_fact(evidence) for evidence in side[:MAX_ROWS]]
            lines += [f"- … {more(side, language)}"] if len(side) > MAX_ROWS else []
    return lines


def _fact(evidence: Evidence) -> str:
    line = f"- {prose(evidence.text)} {cite(evidence.source)}"
    if evidence.source.excerpt:
        line += f"<br>{code(evidence.source.excerpt)}"
    return line


def missing(autopsy: Autopsy, language: Language) -> str:
    """What would tell the causes apart; what could not be seen, and how to see it."""
    entries = autopsy.coverage.missing
    to_try = [entry for entry in entries if entry.experiment]
    unseen = [entry for entry in entries if not entry.experiment]
    parts = (
        _collected(phrase("What to try"), to_try, language),
        _collected(phrase("What could not be seen"), unseen, language),
    )
    return "\n\n".join(filter(None, parts))


def _collected(title: Phrase, entries: Sequence[MissingEvidence], language: Language) -> str:
    if not entries:
        return ""
    lines = [heading(title, language), ""]
    for entry in entries[:MAX_ROWS]:
        what = f"**{prose(entry.what)}**"
        lines.append(
            "- "
            + language.say(phrase("{what}: {why}.", what=what, why=prose(entry.why_it_matters)))
        )
        lines.append("  " + item(entry.how_to_collect).replace("\n", "\n  "))
    return "\n".join(lines)


def environment(autopsy: Autopsy, language: Language) -> str:
    """Versions, facts and the machine."""
    run = autopsy.run
    rows = [[name, package.version, cite(package.source)] for name, package in run.packages.items()]
    rows += [[key, scalar(fact.value), cite(fact.source)] for key, fact in run.facts.items()]
    rows += [[key, scalar(fact.value), cite(fact.source)] for key, fact in run.environment.items()]
    headings = [phrase("Name"), phrase("Value"), phrase("Source")]
    return folded(phrase("Environment"), headings, rows, language)


def timeline(autopsy: Autopsy, language: Language) -> str:
    """The run's story."""
    rows = [
        ["" if e.step is None else str(e.step), moment(e.time), e.text, cite(e.source)]
        for e in autopsy.timeline
    ]
    headings = [phrase("Step"), phrase("Time"), phrase("What happened"), phrase("Source")]
    return folded(phrase("Timeline"), headings, rows, language)


def artifacts(autopsy: Autopsy, language: Language) -> str:
    """What lay in the directory, and how far it was read."""
    say = language.say
    rows = [
        [
            a.path,
            a.kind,
            size(a.bytes),
            say(_facts.ARTIFACT_STATUS[a.status]),
            prose(say(listed(a.problems, "; ") or phrase("none"))),
        ]
        for a in autopsy.run.artifacts
    ]
    headings = [phrase("Artifact"), phrase("Kind"), phrase("Size"), phrase("Status")]
    return folded(phrase("What was read"), [*headings, phrase("Problems")], rows, language)


def considered(autopsy: Autopsy, language: Language) -> str:
    """The other causes, and why they are not named."""
    rows = [
        [cause.id, language.say(_facts.STATUS_WORDS[cause.status]), prose(cause.reason)]
        for cause in autopsy.considered
    ]
    headings = [phrase("Cause"), phrase("Result"), phrase("Reason")]
    return folded(phrase("Causes considered and not found"), headings, rows, language)


def configuration(autopsy: Autopsy, language: Language) -> str:
    """Every setting that was read."""
    rows = [
        [key, scalar(fact.value), cite(fact.source)] for key, fact in autopsy.run.config.items()
    ]
    headings = [phrase("Setting"), phrase("Value"), phrase("Source")]
    return folded(phrase("Configuration"), headings, rows, language)


def footer(autopsy: Autopsy, language: Language) -> str:
    """By what this was made, and how much is hidden."""
    hidden: str = ""
    if autopsy.hidden:
        hidden = phrase("; hidden: {things}", things=_facts.hidden(autopsy.hidden))
    text = phrase(
        "nanautopsy {version}, from the artifacts alone{hidden}.",
        version=prose(autopsy.version),
        hidden=hidden,
    )
    return f"<sub>{language.say(text)}</sub>\n"
