"""A notebook shows the report in a frame that reaches nothing around it."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser

import factories

from nanautopsy.render.html import render


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_the_report_is_the_only_content_of_one_frame() -> None:
    for make in (factories.failing, factories.hostile):
        parser = _Tags()
        parser.feed(make()._repr_html_())
        ((tag, attributes),) = parser.found
        assert tag == "iframe"
        assert attributes["sandbox"] == "allow-scripts"
        assert unescape(attributes["srcdoc"] or "") == unescape(render(make()))
