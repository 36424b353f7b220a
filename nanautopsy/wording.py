"""Our own words, apart from those of the artifacts, so that they can be said in another language.

A :class:`Phrase` is a string that remembers the template and the values it was made of. Whatever
this package says of a run is one; a plain string is what an artifact holds (a tag, a path, a log
line) and is never translated. To everything else a phrase is its English text.

Templates are written out where they are used, as arguments of :func:`phrase` and
:func:`counted`, so that a tool can collect them; :mod:`nanautopsy.languages` says them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


class Phrase(str):
    """A text of ours: English as a string, and the parts to say it otherwise."""

    __slots__ = ("template", "values")

    template: str
    """English, with ``{name}`` for each value; without values, the text itself."""
    values: Mapping[str, object]
    """Strings in it that are phrases are translated too."""

    def __new__(cls, template: str, values: Mapping[str, object] | None = None) -> Phrase:
        values = values or {}
        made = super().__new__(cls, template.format(**values) if values else template)
        made.template, made.values = template, values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.template, dict(self.values))

    def said(self, translate: Callable[[str], str]) -> str:
        """The text with its template, and the phrases among its values, translated."""
        template = translate(self.template) if self.template else ""
        if not self.values:
            return template
        return template.format(**{name: _said(v, translate) for name, v in self.values.items()})

    def mapped(self, change: Callable[[str], Any]) -> Phrase:
        """The same phrase with ``change`` applied to each string among its values."""
        values = {name: _mapped(value, change) for name, value in self.values.items()}
        return type(self)(self.template, values) if values else self


class Listing(Phrase):
    """Texts joined by a separator, which is the template."""

    __slots__ = ()

    def __new__(cls, template: str, values: Mapping[str, object] | None = None) -> Listing:
        values = values or {}
        made = str.__new__(cls, template.join(str(value) for value in values.values()))
        made.template, made.values = template, values
        return made

    def said(self, translate: Callable[[str], str]) -> str:
        parts = [str(_said(value, translate)) for value in self.values.values()]
        if self.template == " ":
            return sentences(parts)
        return translate(self.template).join(parts)


def phrase(template: str, /, **values: object) -> Phrase:
    """A sentence, or a part of one: ``phrase("{tag} is NaN at step {step}", tag=..., step=...)``.

    What is neither number nor string is kept as the string that it prints as.
    """
    kept = {
        name: value if isinstance(value, (str, int, float)) else str(value)
        for name, value in values.items()
    }
    return Phrase(template, kept)


def counted(n: int, one: str, many: str, /, **values: object) -> Phrase:
    """``one`` or ``many``, whichever fits ``n``; both may hold ``{n}``."""
    return phrase(one if n == 1 else many, n=n, **values)


def listed(parts: Iterable[str], separator: str = ", ") -> Phrase:
    """The parts in a row. Separators are phrases too (``", "``, ``"; "``, ``" and "``)."""
    return Listing(separator, {f"part{i}": part for i, part in enumerate(parts)})


def sentences(parts: Iterable[str]) -> str:
    """Sentences in a row: a full-width stop leaves the space that a space would be."""
    text = ""
    for part in parts:
        text += part if not text or text[-1] in _WIDE_STOPS else f" {part}"
    return text


_WIDE_STOPS = "。！？；："


def shortlist(names: Sequence[str], most: int = 5) -> Phrase:
    """The names in a row, and how many more there are."""
    row, more = listed(names[:most]), len(names) - most
    return phrase("{names} and {more} more", names=row, more=more) if more > 0 else row


def _said(value: object, translate: Callable[[str], str]) -> object:
    return value.said(translate) if isinstance(value, Phrase) else value


def _mapped(value: object, change: Callable[[str], Any]) -> object:
    if isinstance(value, Phrase):
        return value.mapped(change)
    return change(value) if isinstance(value, str) else value


def rephrased(text: str, change: Callable[[str], str]) -> str:
    """``text`` with ``change`` applied: to the values of a phrase, which stays one, unless its
    words and values together still hold something to change."""
    if not isinstance(text, Phrase):
        return change(text)
    new = text.mapped(change)
    whole = change(str(new))
    return new if whole == new else whole
