"""The page that explains a cause: the docstring of the module that judges it."""

from __future__ import annotations

import inspect
from typing import Any

from nanautopsy.plugins import load_parts


def titles() -> dict[str, str]:
    """Every known cause's title by id."""
    return {cause.id: cause.title for cause in _causes()}


def page(cause_id: str) -> str:
    """The page of one cause; raises :class:`KeyError` for an unknown id."""
    for cause in _causes():
        if cause.id == cause_id:
            module = inspect.getmodule(cause.assess)
            text = inspect.cleandoc((module.__doc__ if module else None) or cause.title)
            links = "".join(f"\n  {url}" for url in cause.references)
            return f"{cause.id}\n\n{text}" + (f"\n\nReferences:{links}" if links else "")
    raise KeyError(cause_id)


def _causes() -> tuple[Any, ...]:
    return load_parts(("nanautopsy.causes",), "CAUSE", "nanautopsy.causes").parts
