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
from nanautopsy.render._format import count, end_cut, moment, percent, scalar, size

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
    sections = [f"<!-- nanautopsy {_attribute(autopsy.version)} -->", *_sections(autopsy)]
    text, left_out = "", 0
    for section in sections:
        if len(text) + len(section) > MAX_CHARACTERS:
            left_out += 1
        else:
            text += section.strip("\n") + "\n\n"
    if left_out:
        text += f"*{count(left_out, 'section')} left out: too long for a comment.*\n\n"
    return text + _footer(autopsy)


def _sections(autopsy: Autopsy) -> Iterator[str]:
    yield _summary(autopsy)
    yield from _causes(autopsy)
    yield _missing(autopsy)
    yield _environment(autopsy)
    yield _timeline(autopsy)
    yield _artifacts(autopsy)
    yield _considered(autopsy)
    yield _configuration(autopsy)


# --- sections ---------------------------------------------------------------------------------


def _summary(autopsy: Autopsy) -> str:
    lines = [f"## {prose(_facts.headline(autopsy))}", ""]
    onset = autopsy.onset
    if onset is not None:
        lines += [
            f"- **What:** {prose(_facts.what(onset))}",
            f"- **When:** {prose(_facts.when(onset))}",
            f"- **Where:** {prose(_facts.where(onset))}",
            f"- **How this is known:** {prose(onset.how)} {_cite(onset.source)}",
        ]
        if len(onset.layers) > 1:
            names = ", ".join(code(layer) for layer in onset.layers[:MAX_ROWS])
            lines.append(f"- **First layers:** {names}{_more(onset.layers)}")
    else:
        finding = _facts.initiating(autopsy)
        if finding is not None:
            lines.append(f"- **Seen:** {prose(finding.text)} {_cite(finding.source)}")
    if _facts.why(autopsy):
        lines.append(f"- **Why:** {prose(_facts.why(autopsy))}")
    lines.append(f"- **Run:** {code(autopsy.run.path or 'run')}")
    lines += [f"- **Note:** {prose(note)}" for note in autopsy.run.notes[:MAX_ROWS]]
    return "\n".join(lines)


def _causes(autopsy: Autopsy) -> Iterator[str]:
    for i, cause in enumerate(autopsy.causes):
        lines = [f"### {i + 1}. {percent(cause.probability)} {prose(cause.title)}", ""]
        lines += [f"Cause {code(cause.id)}.", ""]
        lines += _evidence(cause)
        if cause.remedies:
            lines += ["", "**What to do**", ""]
            lines += [_item(remedy) for remedy in cause.remedies[:MAX_ROWS]]
        links = [_link(url) for url in cause.references[:MAX_ROWS]]
        if links:
            lines += ["", "References: " + ", ".join(links)]
        yield "\n".join(lines)


def _evidence(cause: RankedCause) -> list[str]:
    lines: list[str] = []
    for supports, title in ((True, "For it"), (False, "Against it")):
        side = _facts.by_strength(cause.evidence, supports)
        if side:
            lines += ["", f"**{title}**", ""] if lines else [f"**{title}**", ""]
            lines += [_fact(evidence) for evidence in side[:MAX_ROWS]]
            lines += [f"- …{_more(side)}"] if len(side) > MAX_ROWS else []
    return lines


def _fact(evidence: Evidence) -> str:
    line = f"- {prose(evidence.text)} {_cite(evidence.source)}"
    if evidence.source.excerpt:
        line += f"<br>{code(evidence.source.excerpt)}"
    return line


def _missing(autopsy: Autopsy) -> str:
    missing = autopsy.coverage.missing
    if not missing:
        return ""
    lines = ["### What could not be seen", ""]
    for entry in missing[:MAX_ROWS]:
        lines.append(f"- **{prose(entry.what)}**: {prose(entry.why_it_matters)}.")
        lines.append("  " + _item(entry.how_to_collect).replace("\n", "\n  "))
    return "\n".join(lines)


def _environment(autopsy: Autopsy) -> str:
    run = autopsy.run
    rows = [
        [name, package.version, _cite(package.source)] for name, package in run.packages.items()
    ]
    rows += [[key, scalar(fact.value), _cite(fact.source)] for key, fact in run.facts.items()]
    rows += [[key, scalar(fact.value), _cite(fact.source)] for key, fact in run.environment.items()]
    return _folded("Environment", ["What", "Value", "Source"], rows)


def _timeline(autopsy: Autopsy) -> str:
    rows = [
        ["" if e.step is None else str(e.step), moment(e.time), e.text, _cite(e.source)]
        for e in autopsy.timeline
    ]
    return _folded("Timeline", ["Step", "Time", "What happened", "Source"], rows)


def _artifacts(autopsy: Autopsy) -> str:
    rows = [
        [a.path, a.kind, size(a.bytes), a.status, prose("; ".join(a.problems) or "none")]
        for a in autopsy.run.artifacts
    ]
    headings = ["Artifact", "Kind", "Size", "Status", "Problems"]
    return _folded("What was read", headings, rows)


def _considered(autopsy: Autopsy) -> str:
    rows = [
        [cause.id, _facts.STATUS_WORDS.get(cause.status, cause.status), prose(cause.reason)]
        for cause in autopsy.considered
    ]
    return _folded("Causes considered and not found", ["Cause", "Result", "Reason"], rows)


def _configuration(autopsy: Autopsy) -> str:
    rows = [
        [key, scalar(fact.value), _cite(fact.source)] for key, fact in autopsy.run.config.items()
    ]
    return _folded("Configuration", ["Setting", "Value", "Source"], rows)


def _footer(autopsy: Autopsy) -> str:
    hidden = autopsy.redactions
    text = f"nanautopsy {prose(autopsy.version)}, from the artifacts alone"
    if hidden:
        text += f"; {count(hidden, 'piece')} of text hidden"
    return f"<sub>{text}.</sub>\n"


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


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - MAX_ROWS} more" if len(items) > MAX_ROWS else ""


def _folded(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table behind a disclosure; the last cell of a row is Markdown already."""
    if not rows:
        return ""
    lines = [f"<details><summary>{title} ({len(rows)})</summary>", ""]
    lines += ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    for row in rows[:MAX_ROWS]:
        cells = [*(_cell(prose(cell)) for cell in row[:-1]), _cell(row[-1])]
        lines.append("| " + " | ".join(cells) + " |")
    if len(rows) > MAX_ROWS:
        lines += ["", f"{len(rows) - MAX_ROWS} more rows left out."]
    return "\n".join([*lines, "", "</details>"])


def _cell(text: str) -> str:
    """A pipe splits cells even inside code, unless an odd number of backslashes precedes it."""
    return re.sub(r"(\\*)\|", lambda m: m[1] + ("|" if len(m[1]) % 2 else "\\|"), text)


def _attribute(text: str) -> str:
    """Safe inside an HTML comment."""
    return re.sub(r"[^\w.+]", "", text)
