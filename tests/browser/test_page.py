"""The page in a real browser: Chromium, driven over its own driver, from a local file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import factories
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
from gallery import sample_names

from nanautopsy import analyze
from nanautopsy.languages import Language, translated
from nanautopsy.model import Autopsy
from nanautopsy.render.html import render

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]
ALL: list[Callable[[], Autopsy]] = [
    factories.failing,
    factories.healthy,
    factories.diverged,
    factories.undetermined,
    factories.all_nan,
    factories.empty,
    factories.hostile,
]


@pytest.mark.parametrize("make", ALL)
def test_it_loads_without_a_complaint_or_a_request(
    browser: Browser, make: Callable[[], Autopsy]
) -> None:
    browser.open(render(make()))
    assert browser.complaints() == []
    asked = [url for url in browser.requests() if not url.startswith(("data:", "about:"))]
    assert asked == [(browser.directory / "page.html").as_uri()]
    assert browser.run("return document.title").endswith("nanautopsy")
    assert browser.run("return document.querySelectorAll('h1').length") == 1
    assert browser.run("return window.getComputedStyle(document.body).margin") == "0px"


@pytest.mark.parametrize("width", [360, 768, 1280, 3840])
@pytest.mark.parametrize("make", ALL)
def test_nothing_overflows_sideways(
    browser: Browser, make: Callable[[], Autopsy], width: int
) -> None:
    browser.open(render(make()), width=width)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "make", [factories.failing, factories.healthy, factories.diverged, factories.undetermined]
)
def test_text_stands_out_in_both_schemes(
    browser: Browser, make: Callable[[], Autopsy], scheme: str
) -> None:
    browser.open(render(make()), scheme=scheme)
    page = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert page == {"light": "rgb(250, 249, 247)", "dark": "rgb(19, 21, 23)"}[scheme]
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run(CONTRAST) == []


def test_curves_follow_the_scheme(browser: Browser) -> None:
    color = "return getComputedStyle(document.querySelector('.plot .s-c0')).stroke"
    text = render(factories.failing())
    browser.open(text)
    light = browser.run(color)
    browser.open(text, scheme="dark")
    assert light == "rgb(0, 114, 178)"
    assert browser.run(color) not in (light, "none")


def test_every_anchor_leads_somewhere_and_opens_what_hides_it(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    links = browser.run("return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash)")
    assert "#fp16-overflow" in links
    for link in links:
        browser.run("location.hash = arguments[0]", link)
        assert browser.run(
            "const t = document.getElementById(location.hash.slice(1));"
            "return t.checkVisibility() && Math.abs(t.getBoundingClientRect().top) < innerHeight"
            " || document.documentElement.scrollTop + innerHeight >= "
            "document.documentElement.scrollHeight - 2"
        ), link


def test_filtering_a_table(browser: Browser) -> None:
    from selenium.webdriver.common.by import By

    browser.open(render(factories.failing()))
    tools = browser.driver.find_element(By.CSS_SELECTOR, "#tensors details[open] .tools")
    rows = (
        "return document.querySelectorAll('#tensors details[open] tbody tr:not([hidden])').length"
    )
    assert browser.run(rows) == 73
    field = tools.find_element(By.TAG_NAME, "input")
    field.send_keys("Q_PROJ layers.17")
    assert browser.run(rows) == 1
    assert tools.text == "1 of 73"
    field.clear()
    field.send_keys("nothing like it")
    assert browser.run(rows) == 0
    browser.run("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", field)
    assert browser.run(rows) == 73


def test_sorting_a_table(browser: Browser) -> None:
    from selenium.webdriver.common.by import By

    browser.open(render(factories.failing()))
    table = browser.driver.find_element(By.CSS_SELECTOR, "#tensors details[open] table")
    button = table.find_element(By.XPATH, ".//th/button[text()='Largest']")
    column = "return [...arguments[0].tBodies[0].rows].map(r => Number(r.cells[6].dataset.value))"
    sorted_by = "return arguments[0].querySelector('[aria-sort]')?.getAttribute('aria-sort')"
    before = browser.run(column, table)
    button.click()
    up = browser.run(column, table)
    assert up == sorted(up) != before
    assert browser.run(sorted_by, table) == "ascending"
    button.click()
    assert browser.run(column, table) == sorted(up, reverse=True)
    assert browser.run(sorted_by, table) == "descending"
    button.click()
    assert browser.run(column, table) == before
    assert browser.run(sorted_by, table) is None


def test_sorting_with_the_keyboard_alone(browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(render(factories.failing()))
    browser.run("document.querySelector('#tensors th button').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "ascending"
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.textContent") == "Step"
    browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "ascending"


def test_what_is_not_known_sorts_last_both_ways(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    column = (
        "const t = document.querySelector('#timeline table'); t.querySelectorAll('th button')[1]"
        ".click(); return [...t.tBodies[0].rows].map(r => r.cells[1].textContent)"
    )
    for _ in range(2):
        times = browser.run(column)
        assert [bool(time) for time in times] == [True] * 5 + [False]


def test_copying_a_snippet(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    browser.command(
        "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
    )
    browser.run("document.querySelector('#missing .copy').click()")
    assert browser.soon("return document.querySelector('#missing .copy').textContent", "Copied")
    copied = browser.driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
    )
    assert copied == "for name, value in batch.items():\n    print(name, value.float().abs().max())"


def test_copied_log_lines_have_no_numbers(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    browser.run("document.querySelector('#lines .copy').click()")
    assert browser.soon("return document.querySelector('#lines .copy').textContent", "Copied")
    copied = browser.driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
    )
    (quote,) = factories.failing().quotes
    assert copied.rstrip("\n").split("\n") == list(quote.lines)


def test_evidence_leads_to_the_very_line_point_and_tensor(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    links = browser.run(
        "return [...document.querySelectorAll('.cause a.cited')].map((a) => [a.textContent, "
        "document.getElementById(a.hash.slice(1)).textContent])"
    )
    places = dict(links)
    assert places["train.log:90211"].startswith("[deepspeed] OVERFLOW! Rank 0")
    tensor = "model.layers.17.self_attn.q_proj.weight"
    assert places[f"checkpoint-1200/model.safetensors {tensor}[0, 3]"].startswith(tensor)


def test_a_link_shows_a_row_that_the_filter_hides(browser: Browser) -> None:
    browser.open(render(factories.failing()))
    browser.run(
        "const i = document.querySelector('#tensors details[open] .tools input');"
        "i.value = 'nothing'; i.dispatchEvent(new Event('input'))"
    )
    row = "document.getElementById('tensor-model.layers.17.self_attn.q_proj.weight')"
    assert not browser.run(f"return {row}.checkVisibility()")
    browser.run(f"location.hash = {row}.id")
    assert browser.soon(f"return {row}.checkVisibility()", True)


def test_the_theme_is_the_readers_choice_and_is_remembered(browser: Browser) -> None:
    text = render(factories.healthy())
    browser.open(text, scheme="dark")
    toggle = "document.querySelector('button.theme')"
    assert browser.run(PAGE_COLOR) == DARK
    browser.run(f"{toggle}.click()")
    assert browser.run(f"return {toggle}.textContent") == "Theme: light"
    assert browser.run(PAGE_COLOR) == LIGHT
    # Chromium hands what a page stores to the next one a moment later, by another process.
    deadline = time.monotonic() + 10
    browser.open(text, scheme="dark")
    while browser.run("return document.documentElement.dataset.theme") is None:
        assert time.monotonic() < deadline, "the chosen theme was forgotten"
        time.sleep(0.1)
        browser.open(text, scheme="dark")
    assert browser.run("return document.documentElement.dataset.theme") == "light"
    assert browser.run(PAGE_COLOR) == LIGHT
    browser.run(f"{toggle}.click(); {toggle}.click()")
    assert browser.run(PAGE_COLOR) == DARK
    assert browser.run("return localStorage.getItem('nanautopsy-theme')") == "auto"


def test_it_prints_whole_and_light(browser: Browser) -> None:
    browser.open(render(factories.failing()), scheme="dark")
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(PAGE_COLOR) == "rgb(255, 255, 255)"
    assert browser.run("return document.querySelectorAll('details:not([open])').length") == 0
    clipped = browser.run(
        "return [...document.querySelectorAll('.scroll, pre, .plot')].filter("
        "(e) => getComputedStyle(e).overflowY !== 'visible').map((e) => e.className)"
    )
    assert clipped == []
    assert not browser.run("return document.querySelector('nav').checkVisibility()")
    pdf = browser.command("Page.printToPDF", printBackground=True)["data"]
    browser.command("Emulation.setEmulatedMedia", media="")
    assert len(pdf) > 50_000


def test_without_script_everything_is_there(browser: Browser) -> None:
    text = render(factories.failing())
    browser.open(text, script=False)
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return document.querySelectorAll('button, .tools').length") == 0
    assert browser.run("return document.querySelector('#tensors table').checkVisibility()")
    assert browser.run("return document.querySelector('#lines mark').checkVisibility()")
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", ALL)
def test_nothing_hinders_access(browser: Browser, make: Callable[[], Autopsy], scheme: str) -> None:
    browser.open(render(make()), scheme=scheme)
    assert violations(browser) == []


@pytest.mark.parametrize("code", ["en", "zh"])
@pytest.mark.parametrize("name", sample_names())
def test_the_samples(browser: Browser, name: str, code: str) -> None:
    language = Language(code)
    browser.open(render(translated(analyze(f"sample_runs/{name}"), language), language=language))
    assert browser.complaints() == []
    if code == "en":  # what axe-core looks at is the same in every language, and it takes long
        assert violations(browser) == []
    for width in (360, 1280, 3840):
        browser.resize(width)
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_an_injected_script_or_style_is_refused(browser: Browser) -> None:
    """The policy, not only the escaping: what slipped in would not run."""
    evil = (
        "<script>document.title = 'owned'</script><p id=evil style='color: red' "
        "onclick='x()'>x</p><img src='https://example.org/x.png'>"
    )
    browser.open(render(factories.healthy()).replace("</main>", evil + "</main>"))
    assert browser.run("return document.title") != "owned"
    color = browser.run("return getComputedStyle(document.getElementById('evil')).color")
    assert color != "rgb(255, 0, 0)"
    assert len([m for m in browser.complaints() if "Content Security Policy" in m]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("theme", ["light", "dark", None])
def test_a_browser_without_light_dark_shows_the_same_colors(
    browser: Browser, scheme: str, theme: str | None
) -> None:
    """One that knows no such function is one to which it is called otherwise."""
    colors = (
        f"document.documentElement.dataset.theme = {json.dumps(theme)} || ''; "
        "return ['body', '.hero', '.badge', '.cause', '.plot .s-c0'].map((one) => { const style = "
        "getComputedStyle(document.querySelector(one)); "
        "return [style.color, style.backgroundColor, style.stroke]; })"
    )
    policy = r'<meta http-equiv="Content-Security-Policy"[^>]*>'
    page = re.sub(policy, "", render(factories.failing()))
    browser.open(page, scheme=scheme)
    known = browser.run(colors)
    browser.open(page.replace("light-dark(", "of-a-later-year("), scheme=scheme)
    assert browser.run(colors) == known
