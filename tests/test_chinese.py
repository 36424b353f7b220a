"""Every sample in Simplified Chinese: no sentence of ours is left in English."""

from __future__ import annotations

import re
from functools import cache

import factories
import pytest
from gallery import SAMPLE_RUNS, sample_names
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import messages

from nanautopsy import analyze
from nanautopsy.languages import Language, translated
from nanautopsy.model import Autopsy
from nanautopsy.outputs import render
from nanautopsy.render._console import console
from nanautopsy.render._wide_lines import wrapped_lines
from nanautopsy.render.text import HEIGHT
from nanautopsy.wording import Phrase

CHINESE = Language("zh")
_VALUE = re.compile(r"\{[^{}]*\}")
_FEWEST_LETTERS = 12
"""Shorter pieces of a message may be an artifact's words too."""


@cache
def autopsy(name: str) -> Autopsy:
    return analyze(SAMPLE_RUNS / name)


@cache
def pieces() -> frozenset[str]:
    """The words of every message between its values, where they are more than a word or two."""
    texts = {message for message, _ in messages()}
    found = {piece.strip() for text in texts for piece in _VALUE.split(text)}
    return frozenset(p for p in found if len(p) >= _FEWEST_LETTERS and p.count(" ") >= 2)


def english(text: str) -> list[str]:
    """The pieces of messages that stand in ``text``, but for those that are code."""
    shown = " ".join(text.split())
    kept = translations()
    return sorted(p for p in pieces() if p in shown and not any(p in one for one in kept))


@cache
def translations() -> frozenset[str]:
    """What the catalog says; code that it keeps stands in it too."""
    return frozenset(CHINESE.say(Phrase(message)) for message, _ in messages())


@pytest.mark.parametrize("format_name", ["text", "md", "html"])
@pytest.mark.parametrize("name", sample_names())
def test_no_english_is_left(name, format_name):
    assert english(render(autopsy(name), format_name, language=CHINESE)) == []


@pytest.mark.parametrize("name", sample_names())
def test_json_stays_english(name):
    plain = render(autopsy(name), "json")
    assert render(autopsy(name), "json", language=CHINESE) == plain


def test_what_artifacts_say_is_left_alone():
    one = autopsy("minigemini-deepspeed")
    other = translated(one, CHINESE)
    assert other.headline != one.headline
    assert other.run.events == one.run.events
    assert [e.source for c in other.causes for e in c.evidence] == [
        e.source for c in one.causes for e in c.evidence
    ]


def test_lines_keep_to_the_width():
    from rich.cells import cell_len

    for name in sample_names():
        text = render(autopsy(name), "text", width=60, language=CHINESE)
        assert max(map(cell_len, text.splitlines())) <= 60


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=80), st.integers(32, 100))
def test_any_text_in_every_place(text, width):
    hostile = factories.hostile(text)
    assert len(render(hostile, "text", width=width, language=CHINESE).splitlines()) <= HEIGHT
    assert "<!-- nanautopsy" in render(hostile, "md", language=CHINESE)


@given(st.text(alphabet="损失变为，。（） abc/.0123456789", max_size=120), st.integers(12, 60))
def test_wrapping_loses_nothing_but_spaces(text, width):
    from rich.cells import cell_len
    from rich.text import Text

    lines = [line.plain for line in wrapped_lines(Text(text), console(width, color=False), width)]
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(line) <= width for line in lines)
