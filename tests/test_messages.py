"""The catalogs are complete, current and true to their messages."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from messages import LOCALES, catalog_path, compiled, read, updated, written

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_CODE = re.compile(r"`[^`]*`|https?://\S+|--[a-z][\w-]+")


@pytest.mark.parametrize("code", LOCALES)
def test_the_catalog_holds_what_is_said_today(code):
    assert written(updated(code)) == catalog_path(code).read_bytes(), "run: make messages"


@pytest.mark.parametrize("code", LOCALES)
def test_every_message_is_translated(code):
    left = [m.id for m in updated(code) if m.id and (not m.string or m.fuzzy)]
    assert left == []


@pytest.mark.parametrize("code", LOCALES)
def test_the_compiled_catalog_is_current(code):
    current = catalog_path(code).with_suffix(".mo").read_bytes()
    assert current == compiled(read(code)), "run: make messages"


@pytest.mark.parametrize("code", LOCALES)
@pytest.mark.parametrize("kept", [_PLACEHOLDER, _CODE], ids=["placeholders", "code"])
def test_a_translation_keeps_what_is_no_word(code, kept):
    differ = {
        m.id: m.string
        for m in read(code)
        if m.id and Counter(kept.findall(m.id)) != Counter(kept.findall(m.string))
    }
    assert differ == {}
