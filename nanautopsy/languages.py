"""Saying the result in another language: gettext catalogs, under ``locale/``."""

from __future__ import annotations

import gettext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nanautopsy.rewrite import Place, T, rewrite
from nanautopsy.wording import Phrase

DOMAIN = "nanautopsy"
LOCALES = Path(__file__).parent / "locale"
LANGUAGES = ("en", "zh")
"""Codes of ``--lang``; English needs no catalog."""


@dataclass(frozen=True, slots=True)
class Language:
    """What a renderer speaks."""

    code: str

    def say(self, text: str) -> str:
        """A phrase in this language; what is no phrase as it is."""
        if not isinstance(text, Phrase):
            return text
        return str(text) if self.code == "en" else text.said(_catalog(self.code).gettext)


ENGLISH = Language("en")


@lru_cache(maxsize=len(LANGUAGES))
def _catalog(code: str) -> gettext.NullTranslations:
    """The catalog of a language; raises ``FileNotFoundError`` where there is none."""
    return gettext.translation(DOMAIN, LOCALES, [code])


def translated(value: T, language: Language) -> T:
    """A copy of a result in which every phrase is said in ``language``."""
    if language == ENGLISH:
        return value

    def visit(leaf: Any, place: Place) -> Any:
        return language.say(leaf) if isinstance(leaf, Phrase) else leaf

    return rewrite(value, visit)
