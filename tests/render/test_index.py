"""The index page stands alone, says what the catalog holds, and lets no text out of its place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import HOSTILE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from render.pages import Page, assert_policy_fits
from scan.made_runs import SCANNED, archive_of_many, made, overview, states

from nanautopsy.languages import Language
from nanautopsy.render._long_table import PLAIN_ROWS
from nanautopsy.render.index import Linked, render
from nanautopsy.rewrite import Place, rewrite
from nanautopsy.scan.overview.overview import Overview
from nanautopsy.scan.results import ScanResult, Waste

STATES = states()


def shown(folder: Path, results: list[ScanResult], **options: Any) -> str:
    return render(overview(folder, results), version="0.1.0", **options)


def data(text: str) -> dict[str, Any]:
    """What the script is given."""
    (island,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    found: dict[str, Any] = json.loads(island)
    return found


def texts(text: str, column: int) -> list[str]:
    """A column of the table of runs, as the script knows it."""
    island = data(text)
    return [island["strings"][i] for i in island["columns"][column]["texts"]]


@pytest.mark.parametrize("state", STATES)
def test_it_stands_alone_and_is_well_formed(tmp_path: Path, state: str) -> None:
    text = shown(tmp_path, STATES[state])
    page = Page(text)
    kinds = {tag for tag, _ in page.elements}
    assert not kinds & {"link", "iframe", "object", "embed", "form", "base", "img", "video"}
    identities = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identities) == len(set(identities))
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    for attributes in page.all("a"):
        target = attributes["href"] or ""
        assert target[1:] in identities, target
    assert_policy_fits(text)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("many", "26 of 59 runs died."),
        ("empty", "No run fits."),
        ("all healthy", "All 3 runs are healthy."),
        ("all died", "3 of 3 runs died."),
        ("one died", "The one run died."),
        ("one healthy", "The one run is healthy."),
        ("one undetermined", "The one run is not known to have died."),
        ("one not read", "The one run is not known to have died."),
    ],
)
def test_the_headline(tmp_path: Path, state: str, words: str) -> None:
    assert f"<h1>{words}</h1>" in shown(tmp_path, STATES[state])


def test_what_it_shows(tmp_path: Path) -> None:
    text = shown(tmp_path, STATES["many"])
    page = Page(text)
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        *("summary", "causes", "time", "alike", "versions", "runs", "unread", "method"),
    ]
    for piece in (
        "<b>25</b>",
        "2,288 steps (26 of 26 runs tell)",
        "<code>fp16-overflow</code> 8 (31%)",
        "Of the runs with a version that died or are healthy",
        "training.lr",
        "0.01 (8)",
        "0.0001 (10)",
        "8 of these runs and 10 healthy runs, of the folder <code>exp0</code>",
        "not done in 60 s",
        "torn: nothing readable: &lt;b&gt;a.log&lt;/b&gt;",
        "What differs need not be what killed, and the fewer runs are compared,",
    ):
        assert piece in text, piece


def test_the_table_has_every_run_and_its_report(tmp_path: Path) -> None:
    many = overview(tmp_path, STATES["many"])
    first = many.runs[0]
    linked = Linked({first.id: "reports/a.html"}, (("the run was not analyzed", 2),))
    text = render(many, linked, version="0.1.0")
    assert texts(text, 0) == [run.root for run in many.runs]
    island = data(text)
    assert island["strings"][island["columns"][0]["links"][0]] == "reports/a.html"
    assert f'<a href="reports/a.html"><code>{first.root}</code></a>' in text
    assert "No report: the run was not analyzed (2 runs)." in text


def test_of_very_many_runs_the_first_are_plain(tmp_path: Path) -> None:
    results = [made(f"r{i:04}", "lr-spike" if i % 2 else None) for i in range(700)]
    text = shown(tmp_path, results)
    (table,) = re.findall(r'<table class="long".*?</table>', text, re.DOTALL)
    assert table.count("<tr") == PLAIN_ROWS + 1
    assert table.count(">Non-finite<") == PLAIN_ROWS
    assert f"{PLAIN_ROWS} rows are shown; {700 - PLAIN_ROWS} more are left out." in text
    assert len(texts(text, 0)) == 700


def test_rates_never_stand_without_their_runs(tmp_path: Path) -> None:
    results = [made("a", "lr-spike", packages={"torch": "2.1.0"})]
    results += [made(f"b{i}", packages={"torch": "2.2.0"}) for i in range(20)]
    text = shown(tmp_path, results)
    rows = re.findall(
        r"<tr><td><code>torch</code>.*?</tr>", text.split('id="versions"')[1], re.DOTALL
    )
    cells = [re.sub(r"<[^>]+>", "|", row) for row in rows]
    assert re.sub(r"\|+\s*", "|", cells[0]) == "|torch|2.1.0|1|1|100%|21% to 100%|few runs|"
    assert re.sub(r"\|+\s*", "|", cells[1]) == "|torch|2.2.0|0|20|0%|0% to 16%|"


def test_several_archives_are_told_apart(tmp_path: Path) -> None:
    text = shown(tmp_path, STATES["several archives"])
    assert texts(text, 0) == ["/shared/runs/r", "/shared/runs/torn", "/other"]
    assert "<code>/other</code> one run" in text


def test_chinese(tmp_path: Path) -> None:
    text = shown(tmp_path, STATES["many"], language=Language("zh"))
    assert '<html lang="zh-Hans">' in text
    assert "<h1>59 次训练中有 26 次失败。</h1>" in text
    visible = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    visible = visible.replace("/shared/runs", "").replace("`nanautopsy runs`", "")
    assert not re.search(r"\b(runs|healthy|died|steps|onset)\b", visible)


def test_a_figure_that_fails_does_not_take_the_page_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no <font>")

    monkeypatch.setattr("nanautopsy.render.figures.draw_overview", fail)
    text = shown(tmp_path, STATES["many"])
    assert "Causes over time could not be drawn: ValueError: no &lt;font&gt;" in text


# --- hostile text ---------------------------------------------------------------------------------

_OURS = {"basis", "kind", "unit", "outcome", "verdict", "periods"}


def hostile(folder: Path, text: str) -> Overview:
    """``text`` in every place that can hold a string."""

    def visit(leaf: object, place: Place) -> object:
        return f"{leaf} {text}" if isinstance(leaf, str) and place.field not in _OURS else leaf

    return rewrite(overview(folder, archive_of_many()), visit)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.text(max_size=60), st.just(HOSTILE)))
def test_any_text_in_every_place(tmp_path: Path, text: str) -> None:
    made_hostile = hostile(tmp_path, text)
    shown = render(made_hostile, version="0.1.0")
    page = Page(shown)
    assert len(page.all("script")) == 2
    assert len(page.all("style")) == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", shown)
    shown.encode()
    assert len(texts(shown, 0)) == len(made_hostile.runs)


@pytest.mark.parametrize("word", ["x", "word ", "<b>", "\u202e", "字"])
def test_endless_text_is_cut(tmp_path: Path, word: str) -> None:
    """In every place at once; each string alone would be as long as the page."""
    text = render(hostile(tmp_path, word * (1_000_000 // len(word))), version="0.1.0")
    Page(text)
    assert len(text.encode()) < 1_500_000


def test_absurd_numbers(tmp_path: Path) -> None:
    huge = 2**63 - 1
    results = [
        made(
            "a", "lr-spike", onset=huge, ended=1e300, waste=Waste(huge, huge, 1e300, 1e300, 1e300)
        ),
        made("b", "lr-spike", onset=-huge, ended=-1e18, waste=Waste(0, 0, -1e18, -1e18, 0.0)),
        made("c", settings={"x": 10**400, "y": float("1e308")}),
        made("d", "x" * 100_000),
    ]
    many = overview(tmp_path, results)
    runs = (replace(many.runs[0], probability=7.0, scanned_at=SCANNED), *many.runs[1:])
    Page(render(replace(many, runs=runs), version="0.1.0"))


def test_a_page_of_far_too_many_runs_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanautopsy.render._index_tables.MOST_ROWS", 20)
    text = shown(tmp_path, [made(f"r{i}") for i in range(30)])
    assert len(texts(text, 0)) == 20
    assert "20 rows are in the page; 10 more are left out." in text
    assert "All 30 runs are healthy." in text


def test_the_numbers_behind_the_figure(tmp_path: Path) -> None:
    results = [made(f"a{i}", "lr-spike", ended=SCANNED - 86_400 * i) for i in (0, 0, 1)]
    results = [replace(one, root=f"r{i}") for i, one in enumerate(results)]
    text = shown(tmp_path, [*results, made("fine", ended=SCANNED)])
    figure = text.split('<figure id="calendar">')[1].split("</figure>")[0]
    rows = re.findall(r"<tr><td>.*?</tr>", figure)
    cells = [re.findall(r">([^<]+)<", row) for row in rows]
    assert cells == [["2025-03-03", "lr-spike", "2", "3"], ["2025-03-02", "lr-spike", "1", "1"]]
