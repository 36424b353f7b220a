"""From matplotlib's SVG to one that a strict page can hold.

The page's policy forbids style attributes, and its colors follow the reader's theme. So styles
become presentation attributes, placeholder colors become classes, and ids are unique in a page
with several figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nanautopsy.render._table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "bad": "#040404",
    "band": "#050505",
    "page": "#0a0a0a",
    "sound": "#0b0b0b",
    "low": "#0c0c0c",
    "zero": "#0d0d0d",
    "c0": "#060606",
    "c1": "#070707",
    "c2": "#080808",
    "c3": "#090909",
}
"""Placeholders to draw with; each becomes the classes ``f-<name>`` and ``s-<name>`` (fill and
stroke), which the page's style sheet colors."""

WIDTH = 9.2
"""Inches of 72 units: the width of every figure's view box."""

_CLASSES = {color: name for name, color in COLORS.items()}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DROPPED = frozenset({f"{_SVG}metadata", f"{_SVG}style"})
_KEPT_STYLES = frozenset(
    """fill stroke stroke-width stroke-linejoin stroke-linecap stroke-dasharray stroke-dashoffset
    stroke-opacity fill-opacity opacity text-anchor font-size image-rendering""".split()
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure of the report."""

    name: str
    """Unique in the page: its id."""
    svg: str
    title: str
    caption: str
    """What to see in it."""
    data: Table
    """The numbers behind it."""


def to_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element; ``name`` makes its ids unique in the page."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(out.getvalue())
    _strip(root)
    _rename(root, name)
    _label(root, name, title, description)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
    return ET.tostring(root, encoding="unicode")


def _strip(root: ET.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        if element.text is not None and not element.text.strip():
            element.text = None
        element.tail = None
        _restyle(element)
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        if element.tag == f"{_SVG}path" and "d" in element.attrib:
            element.set("d", " ".join(element.attrib["d"].split()))


def _restyle(element: ET.Element) -> None:
    """Presentation attributes and classes instead of a style attribute."""
    classes = []
    for key, value in _styles(element.attrib.pop("style", "")):
        if key in ("fill", "stroke") and value in _CLASSES:
            classes.append(f"{key[0]}-{_CLASSES[value]}")
        elif key == "font":
            match = re.search(r"([\d.]+)px", value)
            if match:
                element.set("font-size", match[1])
        elif key in _KEPT_STYLES:
            element.set(key, value)
    # The ground of a hatching stands in attributes.
    grounds = [key for key in ("fill", "stroke") if element.get(key) in _CLASSES]
    classes += [f"{key[0]}-{_CLASSES[element.attrib.pop(key)]}" for key in grounds]
    if classes:
        element.set("class", " ".join(classes))


def _styles(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";"):
        key, colon, value = part.partition(":")
        if colon:
            yield key.strip(), value.strip()


def _rename(root: ET.Element, name: str) -> None:
    """Keep only the ids that something refers to, and make them the figure's own."""
    whole = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', whole))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")


def _label(root: ET.Element, name: str, title: str, description: str) -> None:
    """What a screen reader says of the figure."""
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{_SVG}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(i, element)
    root.set("xmlns", "http://www.w3.org/2000/svg")
