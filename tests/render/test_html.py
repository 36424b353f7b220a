"""The page is one file that requests nothing, and shows what the result holds."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import factories
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from render.pages import Page, assert_policy_fits

from nanautopsy.languages import Language
from nanautopsy.model import Autopsy, Fact, Source
from nanautopsy.render._document import _resource
from nanautopsy.render._older_browsers import with_fallbacks
from nanautopsy.render._page import MAX_SETTINGS
from nanautopsy.render.html import render

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


@pytest.mark.parametrize("make", ALL)
def test_it_stands_alone_and_is_well_formed(make: Callable[[], Autopsy]) -> None:
    page = Page(render(make()))
    kinds = {tag for tag, _ in page.elements}
    assert not kinds & {"link", "iframe", "object", "embed", "form", "base", "img", "video"}
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "data", "action", "xlink:href"):
            value = attributes.get(name) or ""
            allowed = value.startswith("#") or (tag, name) == ("a", "href")
            assert not value or allowed or value.startswith("data:image/png;base64,"), value
    identities = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    for attributes in page.all("a"):
        target = attributes["href"] or ""
        assert target.startswith("https://pytorch.org/") or target[1:] in identities, target


@pytest.mark.parametrize("make", ALL)
def test_the_policy_admits_exactly_what_is_there(make: Callable[[], Autopsy]) -> None:
    text = render(make())
    assert_policy_fits(text)


def test_what_the_failing_run_shows() -> None:
    text = render(factories.failing())
    page = Page(text)
    identities = {a["id"] for _, a in page.elements if "id" in a}
    assert {"verdict", "onset", "causes", "fp16-overflow", "attention-overflow"} <= identities
    assert {"figures", "tensors", "timeline", "missing", "environment", "read"} <= identities
    assert page.all("body")[0]["data-verdict"] == "non-finite"
    assert page.text["title"].startswith("llama-fp16: non-finite - nanautopsy")
    for piece in (
        "The gradient norm turned NaN at step 1204",
        "step 1204 (last finite: 1202)",
        "checkpoint-1200/trainer_state.json:4012 grad_norm@1203",
        "[deepspeed] OVERFLOW! Rank 0 Skipping step.",
        "<code>bf16=True</code>",
        'width="86.0"',
        "3 facts for it, 1 against",
        "the zip directory is missing: the file is truncated",
        "2.1.0+cu118; elsewhere 2.0.1 (requirements.txt:1)",
        "only one rank was logged",
        "sha256:" + "ab" * 32,
        "torch.autograd.set_detect_anomaly(True)",
        "Steps 900 to 950 were logged twice",
    ):
        assert piece in text, piece
    drawn = [a["id"] for a in page.all("figure") if "id" in a]
    assert drawn == ["curves0", "curves1", "loss-scale", "layers0", "health"]
    assert text.count("<svg") == 2 + len(drawn)  # a bar for each cause beside them


def test_only_web_references_become_links() -> None:
    page = Page(render(factories.failing()))
    outside = {a["href"] for a in page.all("a") if not (a["href"] or "").startswith("#")}
    assert outside == {"https://pytorch.org/docs/stable/amp.html"}


def test_the_tensor_table_is_worst_first_and_capped() -> None:
    failing = factories.failing()
    many = tuple(factories.tensor(f"t{i:04}", max_abs=float(i + 1)) for i in range(700))
    bad = factories.tensor("aaa", nan=1, first_nonfinite=(0, 0))
    zero = factories.tensor("bbb", zero=4096, max_abs=0.0)
    checkpoint = replace(failing.run.checkpoints[1], tensors=(*many, zero, bad))
    run = replace(failing.run, checkpoints=(checkpoint,), series=())
    text = render(replace(failing, run=run))
    shown = re.findall(r"<tr><td><code>(aaa|bbb|t\d{4})</code></td><td>F16", text)
    assert shown[:4] == ["aaa", "bbb", "t0699", "t0698"]
    assert len(shown) == 600
    assert "600 rows are shown; 102 more are left out." in text
    assert "<code>nanautopsy inspect --top 0 CHECKPOINT</code>" in text


def test_the_page_is_the_same_every_time(tmp_path: Path) -> None:
    code = (
        "import factories; from nanautopsy.render.html import render\n"
        "import hashlib; print(hashlib.sha256(render(factories.failing()).encode()).hexdigest())"
    )
    here = hashlib.sha256(render(factories.failing()).encode()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=factories.__file__.rpartition("/")[0],
        env={"PYTHONHASHSEED": "7", "MPLCONFIGDIR": str(tmp_path)},
    )
    assert there.stdout.strip() == here


def test_a_figure_that_fails_does_not_take_the_report_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(autopsy: Autopsy, language: Language) -> None:
        raise ValueError("no <font>")

    monkeypatch.setattr("nanautopsy.render.figures.draw", fail)
    text = render(factories.failing())
    assert "The curves could not be drawn: ValueError: no &lt;font&gt;" in text
    assert "fp16-overflow" in text


def test_an_onset_without_a_step() -> None:
    failing = factories.failing()
    assert failing.onset is not None
    onset = replace(failing.onset, step=None, last_finite=None, source=Source("a.npz"))
    text = render(replace(failing, onset=onset))
    assert "at a step that no artifact names" in text
    assert "<b>unknown</b>" in text


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=60))
def test_any_text_in_every_place(text: str) -> None:
    page = Page(render(factories.hostile(text)))
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1


@pytest.mark.parametrize("word", ["x", "word ", "<b>", "\u202e", "字"])
def test_endless_text_is_cut(word: str) -> None:
    """In every place at once; each string alone would be longer than the whole page."""
    text = render(factories.hostile(word * (40_000 // len(word))))
    Page(text)
    assert len(text.encode()) < 3_000_000


def test_a_megabyte_of_one_line_is_cut() -> None:
    failing = factories.failing()
    headline = "<script>" * 125_000
    text = render(replace(failing, headline=headline, verdict="non-finite"))
    assert "<script>" * 2 not in text
    assert len(text) < len(render(failing)) + 50_000


def test_cited_places_are_links_to_what_they_name() -> None:
    page = Page(render(factories.failing()))
    targets = {a["href"] for a in page.all("a")}
    assert {"#train.log-L90211", "#tensor-model.layers.17.self_attn.q_proj.weight"} <= targets
    lines = {a["data-line"]: a for a in page.all("mark")}
    assert lines["90211"]["id"] == "train.log-L90211"
    assert "first" in (lines["90211"]["class"] or "")


def test_a_cause_named_like_a_section_gets_an_id_of_its_own() -> None:
    failing = factories.failing()
    causes = (replace(failing.causes[0], id="onset"), failing.causes[1])
    page = Page(render(replace(failing, causes=causes)))
    assert [a["id"] for a in page.all("article")] == ["onset-2", "attention-overflow"]


def test_the_answers_come_first_and_in_their_order() -> None:
    text = render(factories.failing())
    labels = re.findall(r"<dt>([^<]*)</dt>", text)[:7]
    assert labels == ["What", "When", "Where", "Why", "How sure", "What to do", "Not seen"]
    sections = re.findall(r'<section[^>]*\bid="([a-z]+)"', text)
    assert sections[:6] == ["verdict", "causes", "missing", "onset", "figures", "lines"]


def test_cited_settings_are_rows_that_evidence_links_to() -> None:
    base = factories.failing()
    source = Source("args.json", excerpt="optimizer.eps: 1e-08")
    evidence = replace(base.causes[0].evidence[0], source=source)
    cause = replace(base.causes[0], evidence=(evidence,))
    many = factories.facts({f"training.x{i}": i for i in range(MAX_SETTINGS)}, Source("args.json"))
    config = {**many, "training.optimizer.eps": Fact(1e-08, Source("args.json"))}
    page = render(replace(base, causes=(cause,), run=replace(base.run, config=config)))
    (anchor,) = re.findall(r'<a class="cited" href="#(setting-[^"]*)">', page)
    assert f'<tr id="{anchor}"><td>training.optimizer.eps</td>' in page


def test_every_color_has_its_fallback() -> None:
    style = "\n".join(_resource(name) for name in ("base.css", "figures.css", "report.css"))
    old = with_fallbacks(style)[len(style) :]
    assert "light-dark(#000, #fff)" in old
    assert "light-dark" not in old.replace("light-dark(#000, #fff)", "")
    for name, light, dark in re.findall(r"(--[\w-]+): light-dark\((\S+), (\S+)\)", style):
        assert old.count(f"{name}: {light};") >= 1
        assert old.count(f"{name}: {dark};") >= 2
    assert ':root[data-theme=dark] [data-verdict="healthy"] { --accent' in old
    assert old.count("{") == old.count("}")
