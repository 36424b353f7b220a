"""The result for an issue thread: GitHub-flavored Markdown.

Whatever the artifacts hold stays text: quoted pieces stand in code spans whose fence is longer
than any in them, everything else is escaped, and no mention or issue link comes alive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy, Evidence, RankedCause, Source
from nanautopsy.render import _facts
from nanautopsy.render._clean import cleaned, one_line
from nanautopsy.render._format import end_cut, moment, percent, scalar, size
from nanautopsy.wording import Phrase, counted, listed, phrase, shortlist

MAX_CHARACTERS = 60_000
"""GitHub refuses comments above 65536 characters."""
MAX_ROWS = 40
"""Rows of one table or list; what is left out is counted."""
MAX_PIECE = 600
"""Characters of one quoted piece."""

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINKING = re.compile(r"(?<![A-Za-z0-9])([@#])(?=\w)|(?<=\w)(#)(?=\d)|(?<=\bGH)(-)(?=\d)|(:)(?=//)")
_LINE_START = re.compile(r"^(\d{0,9})([#+=-]|(?<=\d)[.)](?=\s|$))")


def render(autopsy: Autopsy, *, language: Language = ENGLISH) -> str:
    """The document; sections from the end are left out when it grows too long for a comment."""
    autopsy = cleaned(autopsy)
    sections = [f"<!-- nanautopsy {_attribute(autopsy.version)} -->", *_sections(autopsy, language)]
    text, left_out = "", 0
    for section in sections:
        if len(text) + len(section) > MAX_CHARACTERS:
            left_out += 1
        else:
            text += section.strip("\n") + "\n\n"
    if left_out:
        more = counted(
            left_out,
            "1 section left out: too long for a comment.",
            "{n} sections left out: too long for a comment.",
        )
        text += f"*{language.say(more)}*\n\n"
    return text + _footer(autopsy, language)


def _sections(autopsy: Autopsy, language: Language) -> Iterator[str]:
    yield _summary(autopsy, language)
    yield from _causes(autopsy, language)
    yield _missing(autopsy, language)
    yield _environment(autopsy, language)
    yield _timeline(autopsy, language)
    yield _artifacts(autopsy, language)
    yield _considered(autopsy, language)
    yield _configuration(autopsy, language)


# --- sections ---------------------------------------------------------------------------------


def _summary(autopsy: Autopsy, language: Language) -> str:
    def item(label: Phrase, text: str, source: str = "") -> str:
        said = language.say(phrase("{label}:", label=label))
        return f"- **{said}** {prose(language.say(text))}" + (f" {source}" if source else "")

    lines = [f"## {prose(_facts.headline(autopsy, language))}", ""]
    onset = autopsy.onset
    if onset is not None:
        lines += [
            item(phrase("What"), _facts.what(onset)),
            item(phrase("When"), _facts.when(onset)),
            item(phrase("Where"), _facts.where(onset)),
            item(phrase("How this is known"), onset.how, _cite(onset.source)),
        ]
        if len(onset.layers) > 1:
            names = shortlist([code(layer) for layer in onset.layers], MAX_ROWS)
            label = language.say(phrase("{label}:", label=phrase("First layers")))
            lines.append(f"- **{label}** {language.say(names)}")
    else:
        finding = _facts.initiating(autopsy)
        if finding is not None:
            lines.append(item(phrase("Seen"), finding.text, _cite(finding.source)))
    if _facts.why(autopsy):
        lines.append(item(phrase("Why"), _facts.why(autopsy)))
    label = language.say(phrase("{label}:", label=phrase("Run")))
    lines.append(f"- **{label}** {code(autopsy.run.path or 'run')}")
    lines += [item(phrase("Note"), note) for note in autopsy.run.notes[:MAX_ROWS]]
    return "\n".join(lines)


def _causes(autopsy: Autopsy, language: Language) -> Iterator[str]:
    say = language.say
    for i, cause in enumerate(autopsy.causes):
        lines = [f"### {i + 1}. {percent(cause.probability)} {prose(cause.title)}", ""]
        lines += [say(phrase("Cause {id}.", id=code(cause.id))), ""]
        lines += _evidence(cause, language)
        if cause.remedies:
            lines += ["", f"**{say(phrase('What to do'))}**", ""]
            lines += [_item(remedy) for remedy in cause.remedies[:MAX_ROWS]]
        links = [_link(url) for url in cause.references[:MAX_ROWS]]
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
            lines += [f"- … {_more(side, language)}"] if len(side) > MAX_ROWS else []
    return lines


def _fact(evidence: Evidence) -> str:
    line = f"- {prose(evidence.text)} {_cite(evidence.source)}"
    if evidence.source.excerpt:
        line += f"<br>{code(evidence.source.excerpt)}"
    return line


def _missing(autopsy: Autopsy, language: Language) -> str:
    missing = autopsy.coverage.missing
    if not missing:
        return ""
    lines = [f"### {language.say(phrase('What could not be seen'))}", ""]
    for entry in missing[:MAX_ROWS]:
        what = f"**{prose(entry.what)}**"
        lines.append(
            "- "
            + language.say(phrase("{what}: {why}.", what=what, why=prose(entry.why_it_matters)))
        )
        lines.append("  " + _item(entry.how_to_collect).replace("\n", "\n  "))
    return "\n".join(lines)


def _environment(autopsy: Autopsy, language: Language) -> str:
    run = autopsy.run
    rows = [
        [name, package.version, _cite(package.source)] for name, package in run.packages.items()
    ]
    rows += [[key, scalar(fact.value), _cite(fact.source)] for key, fact in run.facts.items()]
    rows += [[key, scalar(fact.value), _cite(fact.source)] for key, fact in run.environment.items()]
    headings = [phrase("Name"), phrase("Value"), phrase("Source")]
    return _folded(phrase("Environment"), headings, rows, language)


def _timeline(autopsy: Autopsy, language: Language) -> str:
    rows = [
        ["" if e.step is None else str(e.step), moment(e.time), e.text, _cite(e.source)]
        for e in autopsy.timeline
    ]
    headings = [phrase("Step"), phrase("Time"), phrase("What happened"), phrase("Source")]
    return _folded(phrase("Timeline"), headings, rows, language)


def _artifacts(autopsy: Autopsy, language: Language) -> str:
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
    return _folded(phrase("What was read"), [*headings, phrase("Problems")], rows, language)


def _considered(autopsy: Autopsy, language: Language) -> str:
    rows = [
        [cause.id, language.say(_facts.STATUS_WORDS[cause.status]), prose(cause.reason)]
        for cause in autopsy.considered
    ]
    headings = [phrase("Cause"), phrase("Result"), phrase("Reason")]
    return _folded(phrase("Causes considered and not found"), headings, rows, language)


def _configuration(autopsy: Autopsy, language: Language) -> str:
    rows = [
        [key, scalar(fact.value), _cite(fact.source)] for key, fact in autopsy.run.config.items()
    ]
    headings = [phrase("Setting"), phrase("Value"), phrase("Source")]
    return _folded(phrase("Configuration"), headings, rows, language)


def _footer(autopsy: Autopsy, language: Language) -> str:
    hidden: str = ""
    if autopsy.redactions:
        hidden = counted(
            autopsy.redactions, "; 1 piece of text hidden", "; {n} pieces of text hidden"
        )
    text = phrase(
        "nanautopsy {version}, from the artifacts alone{hidden}.",
        version=prose(autopsy.version),
        hidden=hidden,
    )
    return f"<sub>{language.say(text)}</sub>\n"


# --- pieces -----------------------------------------------------------------------------------


def prose(text: str) -> str:
    """``text`` on one line; its balanced backtick spans stay code, all else is inert."""
    parts = re.split(r"(`[^`]+`)", end_cut(one_line(text), MAX_PIECE))
    shown = [
        code(part[1:-1]) if len(part) > 2 and part[0] == part[-1] == "`" else _escaped(part)
        for part in parts
    ]
    return _LINE_START.sub(r"\1\\\2", "".join(shown)) if shown else ""


def _escaped(text: str) -> str:
    text = _SPECIAL.sub(r"\\\g<0>", text)
    return _LINKING.sub(lambda match: f"{match[0]}<!-- -->", text)


def code(text: str) -> str:
    """``text`` as a code span, whatever it holds."""
    text = end_cut(one_line(text), MAX_PIECE)
    if not text:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _block(text: str, indent: str = "") -> str:
    """``text`` as a fenced block, whatever it holds."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    lines = [fence, *text.split("\n"), fence]
    return "\n".join(indent + line for line in lines)


def _item(text: str) -> str:
    """A list item; a text of several lines is followed by its lines as code."""
    first, *rest = text.split("\n")
    return f"- {prose(first)}" + (f"\n{_block(chr(10).join(rest), '  ')}" if rest else "")


def _cite(source: Source) -> str:
    return code(_facts.place(source))


def _link(url: str) -> str:
    return f"<{url}>" if _facts.safe_link(url) and not re.search(r"[<>]", url) else code(url)


def _more(items: Sequence[object], language: Language) -> str:
    return language.say(phrase("and {n} more", n=len(items) - MAX_ROWS))


def _folded(
    title: Phrase,
    headings: Sequence[Phrase],
    rows: Sequence[Sequence[str]],
    language: Language,
) -> str:
    """A table behind a disclosure; the last cell of a row is Markdown already."""
    if not rows:
        return ""
    lines = [f"<details><summary>{language.say(title)} ({len(rows)})</summary>", ""]
    lines += ["| " + " | ".join(map(language.say, headings)) + " |", "|" + " --- |" * len(headings)]
    for row in rows[:MAX_ROWS]:
        cells = [*(_cell(prose(cell)) for cell in row[:-1]), _cell(row[-1])]
        lines.append("| " + " | ".join(cells) + " |")
    if len(rows) > MAX_ROWS:
        lines += ["", language.say(phrase("{n} more rows left out.", n=len(rows) - MAX_ROWS))]
    return "\n".join([*lines, "", "</details>"])


def _cell(text: str) -> str:
    """A pipe splits cells even inside code, unless an odd number of backslashes precedes it."""
    return re.sub(r"(\\*)\|", lambda m: m[1] + ("|" if len(m[1]) % 2 else "\\|"), text)


def _attribute(text: str) -> str:
    """Safe inside an HTML comment."""
    return re.sub(r"[^\w.+]", "", text)
