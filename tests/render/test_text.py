"""The verdict fits on one screen and says what it must, in any terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import factories
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanautopsy.model import Autopsy
from nanautopsy.render._clean import clean, cleaned
from nanautopsy.render.text import HEIGHT, render

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


@pytest.mark.parametrize("width", [20, 36, 80, 100, 300])
@pytest.mark.parametrize("make", ALL)
def test_it_fits_on_one_screen(make: Callable[[], Autopsy], width: int) -> None:
    from rich.cells import cell_len

    lines = render(make(), width=width).splitlines()
    assert len(lines) <= HEIGHT
    assert max(cell_len(line) for line in lines) <= max(32, min(width, 100))
    assert all(line == line.rstrip() for line in lines)


def test_what_the_failing_run_says() -> None:
    text = render(factories.failing())
    for piece in (
        "NON-FINITE: The gradient norm turned NaN at step 1204",
        "step 1204 (last finite: 1202); it stayed so; the logged loss hid it",
        "model.layers.17.self_attn.q_proj (first of 3 layers)",
        "86% A value grew past 65504",
        "fp16-overflow, 9% attention-overflow",
        "+ the gradient norm was Inf at step 1203",
        "[trainer_state.json:4012",
        "- 67 of 73 tensors",
        "* Train in bfloat16",
        "only in part: train.log",
        "torch.autograd.set_detect_anomaly(True)",
    ):
        assert piece in text, piece


def test_the_strongest_evidence_comes_first() -> None:
    failing = factories.failing()
    best = failing.causes[0]
    shuffled = replace(failing, causes=(replace(best, evidence=best.evidence[::-1]),))
    text = render(shuffled)
    assert text.index("was Inf at step 1203") < text.index("halved 7 times")


def test_an_unexplained_failure_says_so() -> None:
    text = " ".join(render(factories.no_cause()).split())
    assert (
        "Undetermined: no cause has enough evidence; the nearest is fp16-overflow with 86%" in text
    )
    none = replace(factories.no_cause(), considered=())
    assert "Why Undetermined: no cause has enough evidence\n" in re.sub(" +", " ", render(none))


def test_color_only_adds() -> None:
    plain = render(factories.failing())
    colored = render(factories.failing(), color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in colored
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_our_own_words_are_ascii() -> None:
    assert render(factories.failing()).isascii()


def test_hostile_text_is_inert() -> None:
    text = render(factories.hostile())
    assert "\x1b" not in text
    assert "[bold]x[/bold]" in text  # markup is text
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")} - {"\n"}
    assert not hidden
    text.encode("utf-8")


@given(st.text(alphabet=st.characters(), max_size=60))
def test_clean_leaves_nothing_hidden(text: str) -> None:
    shown = clean(text)
    assert not {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
        "\n"
    }
    assert clean(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x9b2Jx", "x"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\tb", "a b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("z\u200bw", "z\\u200bw"),
        ("\x00\x07", "\\x00\\x07"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("中文 é ß", "中文 é ß"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_cleaning_what_is_clean_copies_nothing() -> None:
    failing = factories.failing()
    assert cleaned(failing) is failing


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=200), st.integers(1, 120))
def test_any_text_in_every_place(text: str, width: int) -> None:
    assert len(render(factories.hostile(text), width=width).splitlines()) <= HEIGHT
