"""The Markdown says it all and stays text, whatever the artifacts held."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import factories
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nanautopsy.model import Autopsy, TimelineEntry
from nanautopsy.render._gfm import MAX_CHARACTERS, code, prose
from nanautopsy.render.markdown import render

ALL = [
    factories.failing,
    factories.healthy,
    factories.diverged,
    factories.undetermined,
    factories.no_cause,
    factories.all_nan,
    factories.empty,
    factories.hostile,
]
OURS = re.compile(r"</?(details|summary|sub|br)>|<!-- nanautopsy [\w.+]* -->|<!-- -->")


def html(markdown: str) -> str:
    """As GitHub would show it, but for its own additions."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    result: str = parser.render(markdown)
    return result


@pytest.mark.parametrize("make", ALL)
def test_only_our_own_html_comes_through(make: Callable[[], Autopsy]) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for token in parser.parse(render(make())):
        for part in [token, *(token.children or [])]:
            if part.type in ("html_block", "html_inline"):
                assert not OURS.sub("", part.content).replace("(", "").strip("\n )0123456789") or (
                    part.content.startswith("<details><summary>")
                ), part.content
            assert part.type not in ("image", "em_open", "s_open")
            if part.type == "link_open":
                assert part.attrGet("href") == "https://pytorch.org/docs/stable/amp.html"


@pytest.mark.parametrize("make", ALL)
def test_every_heading_is_ours(make: Callable[[], Autopsy]) -> None:
    shown = re.findall(r"<h(\d)>", html(render(make())))
    assert len(shown) <= 4
    assert "<h1>" not in html(render(make()))


def test_what_the_failing_run_says() -> None:
    text = render(factories.failing())
    for piece in (
        "## Non-finite: The gradient norm turned NaN at step 1204",
        "- **When:** step 1204 (last finite: 1202)",
        "### 1. 86% A value grew past 65504",
        "`checkpoint-1200/trainer_state.json:4012 grad_norm@1203`",
        "`[deepspeed] OVERFLOW! Rank 0 Skipping step.",
        "**Against it**",
        "<https://pytorch.org/docs/stable/amp.html>",
        "| torch | 2.1.0+cu118 | `train.log:3` |",
        "  - torch.autograd.set_detect_anomaly(True)",
        "| hardware-fault | not applicable | only one rank was logged |",
        "<details><summary>Timeline (6)</summary>",
    ):
        assert piece in text, piece


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("set `bf16=True` now", "set `bf16=True` now"),
        ("model.self_attn.q_proj", "model.self_attn.q_proj"),
        ("_a_ **b**", r"\_a\_ \*\*b\*\*"),
        ("[a](http://x)", r"\[a\](http:<!-- -->//x)"),
        ("1. first", r"1\. first"),
        ("2.1.0+cu118", "2.1.0+cu118"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("<b>", r"\<b\>"),
        ("a ` b", r"a \` b"),
        ("@someone and loss@12", "@<!-- -->someone and loss@12"),
        ("see #12 and x#12", "see #<!-- -->12 and x#<!-- -->12"),
        ("a | b", r"a \| b"),
        ("two\nlines", "two lines"),
        ("", ""),
    ],
)
def test_prose(text: str, shown: str) -> None:
    assert prose(text) == shown


@given(st.text())
def test_code_shows_its_text_and_nothing_else(text: str) -> None:
    shown = code(text)
    tokens = MarkdownIt().parse(shown)
    inner = [child for token in tokens for child in (token.children or [])]
    if shown:
        assert [child.type for child in inner] == ["code_inline"], shown


@given(st.text(alphabet="ab`*_[]()<>|~$&\\#@!-+=.1 \n:/", max_size=40))
def test_prose_is_inert(text: str) -> None:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(f"- **x:** {prose(text)}")
    kinds = {child.type for token in tokens for child in (token.children or [])}
    assert kinds <= {"text", "strong_open", "strong_close", "code_inline", "html_inline"}
    for token in tokens:
        for child in token.children or []:
            assert child.type != "html_inline" or child.content == "<!-- -->"


@given(st.text(alphabet="ab`|\\ ", max_size=20))
def test_a_cell_stays_one_cell(text: str) -> None:
    run = replace(factories.healthy().run, notes=())
    entry = TimelineEntry(1, None, text, factories.Source(f"p{text}"))
    shown = html(render(replace(factories.healthy(), run=run, timeline=(entry,))))
    assert shown.split("</details>")[0].count("<td>") == 4


def test_it_fits_into_a_comment() -> None:
    failing = factories.failing()
    config = factories.facts({f"key.{i}": "v" * 900 for i in range(500)}, factories.Source("c"))
    best = failing.causes[0]
    cause = replace(best, evidence=best.evidence * 50, remedies=("x" * 900,) * 60)
    text = render(replace(failing, run=replace(failing.run, config=config), causes=(cause,) * 5))
    assert len(text) < MAX_CHARACTERS + 500
    assert "left out: too long for a comment" in text


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=80))
def test_any_text_in_every_place(text: str) -> None:
    shown = html(render(factories.hostile(text)))
    assert "<script" not in shown
    assert "<img" not in shown
