"""The catalogs of translations: ``python -m tests.messages`` brings them up to date.

Messages are collected from the package's Python code (:mod:`nanautopsy.wording`), its templates
and its known issues, merged into each catalog, and what is translated is compiled. New messages
come without a translation, which a test then asks for; those that are no longer used are dropped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import yaml
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "nanautopsy"
LOCALES = {"zh": "zh_Hans_CN"}
"""Codes of ``--lang``, and the locale that each is written in."""

_METHODS = [("**.py", "python"), ("**.j2", "jinja2.ext.babel_extract")]
_KEYWORDS = {"phrase": None, "counted": (2, 3), "listed": (2,), "_": None, "_n": (2, 3)}
_SEPARATORS = (", ",)
"""What joins a list where nothing else is said."""


def catalog_path(code: str) -> Path:
    """The catalog of a language."""
    return PACKAGE / "locale" / code / "LC_MESSAGES" / "nanautopsy.po"


def messages() -> Iterator[tuple[str, str]]:
    """(message, file that holds it) of all that is said."""
    for separator in _SEPARATORS:
        yield separator, "wording.py"
    found = extract_from_dir(str(PACKAGE), _METHODS, keywords=_KEYWORDS)
    for name, _, message, *_ in found:
        parts = message if isinstance(message, tuple) else (message,)
        yield from ((part, name) for part in parts if part)
    for path in sorted((PACKAGE / "known_issues").glob("*.yaml")):
        issue = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts = [issue["title"], issue.get("what", ""), *issue["remedies"]]
        yield from ((text, f"known_issues/{path.name}") for text in texts if text)


def template() -> Catalog:
    """Every message once, without a translation."""
    made = Catalog()
    for message, name in messages():
        known = made.get(message)
        names = [place for place, _ in known.locations] if known is not None else []
        if name not in names:
            made.add(message, locations=[(name, None)])
    return made


def read(code: str) -> Catalog:
    """The catalog as it is kept."""
    with catalog_path(code).open("rb") as file:
        return read_po(file, locale=LOCALES[code])


def updated(code: str) -> Catalog:
    """The catalog with today's messages."""
    catalog = read(code)
    header, created = catalog.header_comment, catalog.creation_date
    catalog.update(template(), no_fuzzy_matching=True)
    catalog.header_comment, catalog.creation_date = header, created
    catalog.obsolete.clear()
    return catalog


def written(catalog: Catalog) -> bytes:
    """The text of the catalog's file."""
    file = io.BytesIO()
    write_po(file, catalog, width=100, sort_by_file=True, include_lineno=False)
    return file.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """The binary form, which is what the package reads."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def main() -> None:
    """Update and compile every catalog."""
    for code in LOCALES:
        catalog = updated(code)
        path = catalog_path(code)
        path.write_bytes(written(catalog))
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        left = sum(not message.string for message in catalog if message.id)
        print(f"{code}: {len(catalog)} messages, {left} without a translation")


if __name__ == "__main__":
    main()
