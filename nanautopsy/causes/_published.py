"""Whether what was trained is a library's model with the library's own loss."""

from __future__ import annotations

import re

from nanautopsy.causes.interface import Case
from nanautopsy.model import Fact

_HEAD = re.compile(r"For[A-Z]|LMHead|DoubleHeads")
"""In the names of classes that hold a head and its loss: ``BertForMaskedLM``."""


def published(case: Case) -> Fact | None:
    """The kind of model, where no class of the program's own is known to stand around it.

    A config keeps the ``model_type`` of its base whatever is built on it. The class of one's own,
    named apart from it or without a head, says that the loss is the program's.
    """
    kind, built = case.fact("model_type"), case.fact("architecture")
    if kind is None or built is None:
        return kind
    family, name = _letters(str(kind.value)), str(built.value)
    return kind if family in _letters(name) and _HEAD.search(name) else None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
