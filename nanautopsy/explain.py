"""The page that explains a cause: the docstring of the module that judges it; or a known issue."""

from __future__ import annotations

import inspect
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


def _causes() -> tuple[Any, ...]:
    return load_parts(("nanautopsy.causes",), "CAUSE", "nanautopsy.causes").parts
