"""A report ready for an issue thread, in the order in which a project's maintainers ask.

The sections are those of CASES' checklist: what died, versions, precision, command and settings,
the log around the onset, causes and what was ruled out, data and checkpoints, open questions. Long
parts are folded, and the whole fits a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy, Quote, Source
from nanautopsy.quantities import position
from nanautopsy.quotes import AFTER, BEFORE
from nanautopsy.render import _facts, _issue_facts, markdown
from nanautopsy.render._clean import cleaned, one_line
from nanautopsy.render._format import end_cut, percent
from nanautopsy.render._gfm import MAX_ROWS, block, cite, code, fitted, folded, heading, item, prose
from nanautopsy.render._issue_facts import Row
from nanautopsy.render._open_questions import project_of, questions
from nanautopsy.wording import Phrase, counted, phrase
from nanautopsy.wording import sentences as in_a_row

Section: TypeAlias = Callable[[Autopsy, Language], str]

TITLE_CHARACTERS = 120
MOST_CAUSES = 3
"""Told in full; the others are a line each among the considered."""
MOST_EVIDENCE = 5


def render(autopsy: Autopsy, *, language: Language = ENGLISH, project: str | None = None) -> str:
    """The document. ``autopsy`` is in ``language`` already; ``project``: one of
    :data:`nanautopsy.render._open_questions.PROJECTS`, the run's own if not given."""
    autopsy = cleaned(autopsy)
    project = project or project_of(autopsy)
    sections = [_summary, *(_SECTIONS[name] for name in _ORDER.get(project, _GENERIC))]
    texts = [section(autopsy, language) for section in sections]
    texts.append(_questions(autopsy, language, project))
    texts += [markdown.considered(autopsy, language), markdown.timeline(autopsy, language)]
    texts += [markdown.artifacts(autopsy, language), markdown.configuration(autopsy, language)]
    whole = markdown.marker(autopsy) + fitted(texts, language)
    return whole + markdown.footer(autopsy, language)


def title(autopsy: Autopsy, *, language: Language = ENGLISH) -> str:
    """One line that says what died, when and of what, for the field above the text."""
    autopsy = cleaned(autopsy)
    text = re.split("[;；]", autopsy.headline)[0].rstrip(".。 ")
    if autopsy.causes:
        text = language.say(
            phrase("{headline} ({cause})", headline=text, cause=autopsy.causes[0].id)
        )
    versions = [
        f"{name} {autopsy.run.packages[name].version}"
        for name in ("deepspeed", "transformers", "lightning", "torch", "jax")
        if name in autopsy.run.packages
    ]
    with_versions = f"{text} [{', '.join(versions[:2])}]" if versions else text
    short = with_versions if len(with_versions) <= TITLE_CHARACTERS else text
    return end_cut(one_line(short), TITLE_CHARACTERS)


# --- sections -------------------------------------------------------------------------------------


def _summary(autopsy: Autopsy, language: Language) -> str:
    """One paragraph: what died, when, where, of what, how sure, from which artifacts."""
    sentences: list[str] = [_facts.headline(autopsy, language)]
    if autopsy.onset is not None:
        how = autopsy.onset.how.rstrip(".。")
        sentences.append(language.say(phrase("How this is known: {how}.", how=how)))
    if autopsy.causes:
        best = autopsy.causes[0]
        cause = phrase(
            "Most probable cause: {cause}, {title} ({probability}).",
            cause=best.id,
            title=best.title.rstrip("."),
            probability=percent(best.probability),
        )
        sentences.append(language.say(cause))
    elif autopsy.failed:
        sentences.append(language.say(phrase("{text}.", text=_facts.undetermined(autopsy))))
    read = sum(a.status != "skipped" for a in autopsy.run.artifacts)
    told = counted(
        read,
        "Read after the fact from {n} artifact; nothing was run again.",
        "Read after the fact from {n} artifacts; nothing was run again.",
    )
    sentences.append(language.say(told))
    return _paragraph(sentences)


def _paragraph(sentences: Iterable[str]) -> str:
    """Sentences in a row; each is bounded and inert on its own."""
    return in_a_row(prose(sentence) for sentence in sentences)


def _versions(autopsy: Autopsy, language: Language) -> str:
    return _rows(phrase("Environment"), _issue_facts.versions(autopsy), language)


def _precision(autopsy: Autopsy, language: Language) -> str:
    return _rows(phrase("Precision"), _issue_facts.precision(autopsy), language)


def _settings(autopsy: Autopsy, language: Language) -> str:
    rows = _rows(phrase("Settings that matter"), _issue_facts.settings(autopsy), language)
    command = _issue_facts.command(autopsy)
    if command is None:
        return rows
    label = language.say(phrase("Command ({place}):", place=cite(command.source)))
    return f"{rows}\n\n{label}\n\n{block(_bounded(command.value))}".lstrip()


def _where(autopsy: Autopsy, language: Language) -> str:
    onset = autopsy.onset
    if onset is None or onset.step is None:
        return ""
    say = language.say
    lines = [heading(phrase("First non-finite"), language), ""]
    place = position(onset.axis, onset.step)
    step = phrase("{place}, {what}", place=place, what=_facts.what(onset))
    lines.append(f"- {prose(say(step))} {cite(onset.source)}")
    if onset.last_finite is not None:
        before = phrase("last finite: {place}", place=position(onset.axis, onset.last_finite))
        lines.append(f"- {prose(say(before))}")
    lines.append(f"- {prose(say(_facts.where(onset)))}")
    lines += [f"- {code(layer)}" for layer in onset.layers[1:6]]
    return "\n".join(lines)


def _log(autopsy: Autopsy, language: Language) -> str:
    quote = next((q for q in autopsy.quotes if q.onset is not None), None)
    if quote is None or quote.onset is None:
        return ""
    start = max(quote.first, quote.onset - BEFORE)
    end = min(quote.first + len(quote.lines) - 1, quote.onset + AFTER)
    lines = _lines_of(quote, start, end)
    place = cite(Source(quote.path, line=quote.onset))
    title_ = heading(phrase("Log around it ({place})", place=place), language)
    return f"{title_}\n\n{block(lines)}"


def _lines_of(quote: Quote, start: int, end: int) -> str:
    """Numbered lines; the one of the onset is marked."""
    width = len(str(end))
    return "\n".join(
        f"{'>' if number == quote.onset else ' '} {number:>{width}}  "
        f"{one_line(quote.lines[number - quote.first])}"
        for number in range(start, end + 1)
    )


def _causes(autopsy: Autopsy, language: Language) -> str:
    named = list(markdown.causes(autopsy, language))[:MOST_CAUSES]
    if not named:
        return ""
    return "\n\n".join([heading(phrase("Probable causes"), language), *map(_deeper, named)])


def _deeper(section: str) -> str:
    """A cause's section, its heading one level below."""
    return section.replace("### ", "#### ", 1) if section.startswith("### ") else section


def _data(autopsy: Autopsy, language: Language) -> str:
    facts = [*_issue_facts.batch_facts(autopsy), *_issue_facts.checkpoint_facts(autopsy)]
    if not facts:
        return ""
    rows = [f"- {prose(language.say(text))} {cite(source)}" for text, source in facts[:MAX_ROWS]]
    return "\n".join([heading(phrase("Data and checkpoints"), language), "", *rows])


def _questions(autopsy: Autopsy, language: Language, project: str) -> str:
    if not autopsy.failed:
        return ""
    say = language.say
    lines = [heading(phrase("Open questions"), language), ""]
    for question in questions(autopsy, project):
        if question.answer:
            answer = phrase("{question}: {answer}", question=question.text, answer=question.answer)
            lines.append(f"- [x] {prose(say(answer))}")
        else:
            lines.append(f"- [ ] {prose(say(question.text))}")
            lines.append("  " + item(say(question.how)).replace("\n", "\n  "))
    return "\n".join(lines)


def _rows(title_: Phrase, rows: Sequence[Row], language: Language) -> str:
    """A table that stays open: it is what is asked first."""
    headings = [phrase("Name"), phrase("Value"), phrase("Source")]
    told = [[language.say(row.name), row.value, cite(row.source)] for row in rows]
    table = folded(title_, headings, told, language)
    if not table:
        return ""
    _, _, rest = table.partition("\n\n")
    return f"{heading(title_, language)}\n\n{rest.rpartition('</details>')[0].rstrip()}"


def _bounded(text: str) -> str:
    return end_cut(one_line(text), 2000)


_SECTIONS: Mapping[str, Section] = {
    "versions": _versions,
    "precision": _precision,
    "settings": _settings,
    "where": _where,
    "log": _log,
    "causes": _causes,
    "data": _data,
}
_GENERIC = ("where", "causes", "log", "versions", "precision", "settings", "data")
_ORDER: Mapping[str, Sequence[str]] = {
    "deepspeed": ("versions", "settings", "precision", "where", "log", "causes", "data"),
    "transformers": ("versions", "precision", "settings", "where", "log", "causes", "data"),
    "pytorch": ("versions", "where", "data", "log", "causes", "precision", "settings"),
    "megatron": ("settings", "versions", "precision", "where", "log", "causes", "data"),
    "lightning": ("versions", "settings", "precision", "where", "log", "causes", "data"),
    "jax": ("versions", "where", "causes", "data", "log", "precision", "settings"),
    "generic": _GENERIC,
}
"""What comes first is what the project's template and its maintainers ask first."""
