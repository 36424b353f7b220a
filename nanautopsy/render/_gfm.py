"""GitHub-flavored Markdown around what artifacts hold, which stays inert text.

Quoted pieces stand in code spans or blocks whose fence is longer than any in them, everything else
is escaped, and no mention or issue link comes alive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nanautopsy.languages import Language
from nanautopsy.model import Source
from nanautopsy.render import _facts
from nanautopsy.render._clean import one_line
from nanautopsy.render._format import end_cut
from nanautopsy.wording import Phrase, counted, phrase

MAX_CHARACTERS = 60_000
"""GitHub refuses comments above 65536 characters."""
MAX_ROWS = 40
"""Rows of one table or list; what is left out is counted."""
MAX_PIECE = 600
"""Characters of one quoted piece."""

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINKING = re.compile(r"(?<![A-Za-z0-9])([@#])(?=\w)|(?<=\w)(#)(?=\d)|(?<=\bGH)(-)(?=\d)|(:)(?=//)")
_LINE_START = re.compile(r"^(\d{0,9})([#+=-]|(?<=\d)[.)](?=\s|$))")


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


def block(text: str, indent: str = "") -> str:
    """``text`` as a fenced block, whatever it holds."""
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    lines = [fence, *text.split("\n"), fence]
    return "\n".join(indent + line for line in lines)


def item(text: str) -> str:
    """A list item; a text of several lines is followed by its lines as code."""
    first, *rest = text.split("\n")
    return f"- {prose(first)}" + (f"\n{block(chr(10).join(rest), '  ')}" if rest else "")


def cite(source: Source) -> str:
    return code(_facts.place(source))


def link(url: str) -> str:
    return f"<{url}>" if _facts.safe_link(url) and not re.search(r"[<>]", url) else code(url)


def more(items: Sequence[object], language: Language) -> str:
    return language.say(phrase("and {n} more", n=len(items) - MAX_ROWS))


def folded(
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


def attribute(text: str) -> str:
    """Safe inside an HTML comment."""
    return re.sub(r"[^\w.+]", "", text)


def fitted(sections: Iterable[str], language: Language) -> str:
    """The sections in a row; those that would make it too long for a comment are left out."""
    text, left_out = "", 0
    for section in sections:
        if len(text) + len(section) > MAX_CHARACTERS:
            left_out += 1
        elif section:
            text += section.strip("\n") + "\n\n"
    if left_out:
        note = counted(
            left_out,
            "1 section left out: too long for a comment.",
            "{n} sections left out: too long for a comment.",
        )
        text += f"*{language.say(note)}*\n\n"
    return text


def heading(text: Phrase, language: Language) -> str:
    """A heading of the third level."""
    return f"### {language.say(text)}"
