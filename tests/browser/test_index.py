"""The index page in a real browser: Chromium, driven over its own driver, from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser.chromium import (
    CONTRAST,
    DARK,
    LIGHT,
    NEEDS_CHROMIUM,
    PAGE_COLOR,
    Browser,
    violations,
)
from factories import HOSTILE
from scan.made_runs import DAY, SCANNED, archive_of_many, made, overview, states

from nanautopsy.languages import Language
from nanautopsy.render.index import Linked, render
from nanautopsy.scan.results import ScanResult

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]
STATES = states()
ROWS = "return document.querySelectorAll('#runs tbody tr').length"
FIRST = "return document.querySelector('#runs tbody td').textContent"


def many_rows(count: int = 750) -> list[ScanResult]:
    return [
        made(
            f"exp{i % 7}/seed{i:04}",
            ("lr-spike", "fp16-overflow")[i % 2] if i % 3 == 0 else None,
            ended=SCANNED - DAY * (i % 300) if i % 5 else None,
            onset=i,
        )
        for i in range(count)
    ]


def shown(folder: Path, results: list[ScanResult], **options: Any) -> str:
    return render(overview(folder, results), version="0.1.0", **options)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every state's page, and one of very many runs with reports."""
    made_pages = {
        name: shown(tmp_path_factory.mktemp("c"), results) for name, results in STATES.items()
    }
    hostile = [made(f"{HOSTILE} {i}", HOSTILE[:40], layer=HOSTILE, model=HOSTILE) for i in range(3)]
    made_pages["hostile"] = shown(tmp_path_factory.mktemp("c"), hostile)
    long = overview(tmp_path_factory.mktemp("c"), many_rows())
    links = Linked({run.id: f"reports/{run.root[-8:]}.html" for run in long.failed})
    made_pages["long"] = render(long, links, version="0.1.0")
    made_pages["chinese"] = shown(
        tmp_path_factory.mktemp("c"), archive_of_many(), language=Language("zh")
    )
    return made_pages


ALL = [*STATES, "hostile", "long", "chinese"]


@pytest.mark.parametrize("name", ALL)
def test_it_loads_without_a_complaint_or_a_request(
    browser: Browser, pages: dict[str, str], name: str
) -> None:
    browser.open(pages[name])
    assert browser.complaints() == []
    asked = [url for url in browser.requests() if not url.startswith(("data:", "about:"))]
    assert asked == [(browser.directory / "page.html").as_uri()]
    assert browser.run("return document.title").endswith("nanautopsy")
    for width in (360, 768, 1280, 1920, 3840):
        browser.resize(width)
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert browser.run("return document.documentElement.scrollWidth") <= width, width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["many", "empty", "one died", "hostile", "long", "chinese"])
def test_nothing_hinders_access(
    browser: Browser, pages: dict[str, str], name: str, scheme: str
) -> None:
    browser.open(pages[name], scheme=scheme)
    assert browser.run(PAGE_COLOR) == {"light": LIGHT, "dark": DARK}[scheme]
    assert violations(browser) == []
    assert browser.run(CONTRAST) == []


def test_the_bars_follow_the_scheme(browser: Browser, pages: dict[str, str]) -> None:
    color = "return getComputedStyle(document.querySelector('.plot .f-c0')).fill"
    browser.open(pages["many"])
    assert browser.run(color) == "rgb(0, 114, 178)"
    browser.open(pages["many"], scheme="dark")
    assert browser.run(color) == "rgb(90, 180, 232)"


def test_a_page_of_rows_at_a_time(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"])
    assert browser.run(ROWS) == 100
    status = "return document.querySelector('.pager [role=status]').textContent"
    assert browser.run(status) == "1 to 100 of 750"
    assert browser.run("return document.querySelector('#runs .note')") is None
    previous, following = browser.run("return [...document.querySelectorAll('.pager button')]")
    assert not previous.is_enabled()
    for _ in range(7):
        browser.run("arguments[0].click()", following)
    assert browser.run(status) == "701 to 750 of 750"
    assert not following.is_enabled()
    browser.run("arguments[0].click()", previous)
    assert browser.run(status) == "601 to 700 of 750"


def test_few_rows_need_no_pages(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["many"])
    assert browser.run(ROWS) == 59
    assert not browser.run("return document.querySelector('.pager').checkVisibility()")


def test_filtering_by_words_and_choices(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"])
    field = browser.run("return document.querySelector('#runs .tools input')")
    field.send_keys("EXP3 seed0")
    shown = "return document.querySelector('#runs .tools [role=status]').textContent"
    assert browser.run(shown) == "107 of 750"
    cause = browser.run("return document.querySelectorAll('#runs .tools select')[1]")
    options = browser.run("return [...arguments[0].options].map((o) => o.text)", cause)
    assert options == ["All", "fp16-overflow (125)", "lr-spike (125)"]
    browser.run(
        "arguments[0].selectedIndex = 2; arguments[0].dispatchEvent(new Event('change'))", cause
    )
    assert browser.run(shown) == "18 of 750"
    assert browser.run(ROWS) == 18
    field.send_keys(" nothing like it")
    assert browser.run(ROWS) == 0
    assert "No run fits." in browser.run("return document.querySelector('#runs').innerText")


def test_sorting_with_the_keyboard_over_all_rows(browser: Browser, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(pages["long"])
    before = browser.run(FIRST)
    browser.run("document.querySelector('#runs th button').focus()")
    seen = []
    for _ in range(3):
        browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        order = browser.run("return document.activeElement.parentElement.getAttribute('aria-sort')")
        seen.append((order, browser.run(FIRST)))
    assert seen == [
        ("ascending", "exp0/seed0000"),
        ("descending", "exp6/seed0748"),
        (None, before),
    ]


def test_what_is_not_known_sorts_last_both_ways(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"])
    column = (
        "const hs = [...document.querySelectorAll('#runs th')];"
        "const c = hs.findIndex((h) => h.textContent === 'Onset step'); hs[c].firstChild.click();"
        "return document.querySelector('#runs tbody tr').cells[c].textContent"
    )
    assert [browser.run(column) for _ in range(2)] == ["0", "747"]


def test_rows_link_to_their_reports(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"])
    link = browser.run(
        "const a = document.querySelector('#runs tbody a'); return [a.textContent, "
        "a.getAttribute('href')]"
    )
    assert link[1] == f"reports/{link[0][-8:]}.html"
    total = "return document.querySelectorAll('#runs tbody a').length"
    assert browser.run(total) == 100


def test_a_groups_link_shows_its_runs(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"])
    field = browser.run("return document.querySelector('#runs .tools input')")
    field.send_keys("nothing")
    browser.run("document.querySelector('[data-choose]').click()")
    shown = "return document.querySelector('#runs .tools [role=status]').textContent"
    assert browser.run(shown) == "125 of 750"
    assert browser.run("return location.hash") == "#runs"


def test_every_anchor_leads_somewhere(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["many"])
    links = browser.run("return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash)")
    assert {"#causes", "#time", "#alike", "#versions", "#runs", "#method"} <= set(links)
    for link in links:
        assert browser.run(
            "return document.getElementById(arguments[0].slice(1)).checkVisibility()", link
        )


def test_hostile_text_stays_text(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["hostile"])
    assert browser.run(ROWS) == 3
    assert "<img src=x onerror=alert(1)>" in browser.run(FIRST)
    assert browser.run("return document.querySelectorAll('img, a[href^=javascript]').length") == 0


def test_without_script_the_runs_that_died_are_there(
    browser: Browser, pages: dict[str, str]
) -> None:
    browser.open(pages["long"], script=False)
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return document.querySelectorAll('button, .tools').length") == 0
    assert browser.run(ROWS) == 200
    assert browser.run("return document.querySelectorAll('#runs tbody a').length") == 200
    note = browser.run("return document.querySelector('#runs .note').textContent")
    assert note == "200 rows are shown; 550 more are left out. All of them: nanautopsy runs."
    assert browser.complaints() == []


def test_it_prints_light_with_all_that_fits(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["long"], scheme="dark")
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(PAGE_COLOR) == "rgb(255, 255, 255)"
    assert browser.run(ROWS) == 750
    browser.resize(720)
    assert browser.run("return document.documentElement.scrollWidth") <= 720
    assert not browser.run("return document.querySelector('.pager button').checkVisibility()")
    browser.run("dispatchEvent(new Event('afterprint'))")
    browser.command("Emulation.setEmulatedMedia", media="")
    assert browser.run(ROWS) == 100
