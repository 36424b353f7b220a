"""A real browser for the tests of pages: Chromium, over its own driver, from a local file."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
NEEDS_CHROMIUM = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="neither chromium nor its driver is installed"
)
PAGE_COLOR = "return getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(250, 249, 247)", "rgb(19, 21, 23)"
"""Color of a page, and what it is in either scheme."""


class Browser:
    """A headless Chromium."""

    def __init__(self, directory: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            f"--user-data-dir={directory / 'profile'}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        self.driver.set_script_timeout(120)  # axe-core goes through every row of a long table
        self.directory = directory

    def open(
        self, text: str, *, width: int = 1200, scheme: str = "light", script: bool = True
    ) -> None:
        """Show a page, after forgetting what was logged before."""
        path = self.directory / "page.html"
        path.write_text(text, encoding="utf-8")
        self.command("Emulation.setScriptExecutionDisabled", value=not script)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # jump, do not glide
        ]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.resize(width)
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())

    def resize(self, width: int) -> None:
        """Another width of the window."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )

    def soon(self, script: str, wanted: object) -> bool:
        """Whether a script gives this within two seconds."""
        for _ in range(100):
            if self.run(script) == wanted:
                return True
            time.sleep(0.02)
        return False

    def command(self, name: str, **arguments: object) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns. It runs in the driver's world, which the policy spares."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Errors and violations of the policy that the page caused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Everything that the page asked for."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


CONTRAST = """
const channel = (v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = parse(getComputedStyle(node).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const poor = [];
for (const node of document.querySelectorAll('main *, header *, footer *')) {
  if (node.closest('svg') || !node.checkVisibility()) continue;
  if (![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const a = luminance(parse(getComputedStyle(node).color));
  const b = luminance(behind(node));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(node.tagName + '.' + node.className + ' ' + ratio.toFixed(2));
}
return poor;
"""
"""Text that does not stand out from its ground by WCAG's 4.5."""

AXE = Path(str(importlib.util.find_spec("axe_core_python").origin)).parent / "axe.min.js"  # type: ignore[union-attr]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(browser: Browser) -> list[str]:
    """What axe-core finds wrong with the page, everything opened."""
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.run(AXE.read_text(encoding="utf-8"))
    found = browser.driver.execute_async_script(
        "axe.run(document, {runOnly: arguments[0]}).then((r) => arguments[1](r.violations.map("
        "(v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(' | '))),"
        "(e) => arguments[1]([String(e)]))",
        RULES,
    )
    return list(found)
