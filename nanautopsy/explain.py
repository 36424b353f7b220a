"""The page that explains a cause: the docstring of the module that judges it; or a known issue."""

from __future__ import annotations

import inspect
import re
from typing import Any

from nanautopsy.plugins import load_parts


def titles() -> dict[str, str]:
    """Every known cause's title by id."""
    return {cause.id: cause.title for cause in _causes()}


def issue_titles() -> dict[str, str]:
    """Every known issue's package and title by id."""
    from nanautopsy.known_issues import load

    return {issue.id: f"{issue.package} {issue.affected}: {issue.title}" for issue in load()}


def page(cause_id: str) -> str:
    """The page of one cause or known issue; raises :class:`KeyError` for an unknown id."""
    for cause in _causes():
        if cause.id == cause_id:
            module = inspect.getmodule(cause.assess)
            text = inspect.cleandoc((module.__doc__ if module else None) or cause.title)
            links = "".join(f"\n  {url}" for url in cause.references)
            return f"{cause.id}\n\n{text}" + (f"\n\nReferences:{links}" if links else "")
    from nanautopsy.known_issues import load
    from nanautopsy.known_issues import page as issue_page

    for issue in load():
        if issue.id == cause_id:
            return issue_page(issue)
    raise KeyError(cause_id)


def everything() -> list[str]:
    """Every page: the causes', then the known issues'."""
    return [page(name) for name in (*titles(), *issue_titles())]


def handbook() -> str:
    """Every page as one Markdown document."""
    causes, issues = titles(), issue_titles()
    blocks = [
        "# Causes and known issues",
        "What nanautopsy knows of why training runs go NaN, as `nanautopsy explain ID` prints it.",
        "## Causes",
        "\n".join(f"- [`{name}`](#{name}): {title}" for name, title in causes.items()),
        *(_as_markdown(page(name)) for name in causes),
        "## Known issues of libraries",
        "A version in range alone is context: the settings and the signature must be there too.",
        *(_as_markdown(page(name)) for name in issues),
    ]
    return "\n\n".join(blocks) + "\n"


_LABEL = re.compile(r"([A-Z][a-z ]+):( |$)")
_FACTS = re.compile(r"(?:Package|Needs|Shows as|Alone): ")
"""Lines of a known issue's page that stand one below the other."""


def _as_markdown(text: str) -> str:
    """A page with its id as a heading, its labels in bold, and its links as links."""
    name, *lines = text.split("\n")
    shown = [f"### {name}"]
    for line in lines:
        word = line.strip()
        if word.startswith(("https://", "http://")):
            shown.append(f"- <{word}>")
            continue
        item = "- " if _FACTS.match(line) else ""
        ends = "\n" if word in ("Fix:", "References:") else ""
        shown.append(item + _LABEL.sub(r"**\1:**\2", word, count=1) + ends)
    return "\n".join(shown)


def _causes() -> tuple[Any, ...]:
    return load_parts(("nanautopsy.causes",), "CAUSE", "nanautopsy.causes").parts
