"""Headings that name the data of the metrics below them, until a line counts again.

Samples::

    ----- Epoch 3 -----
    Train:
        loss     : 0.5120
    Validation results:
        loss     : 0.6120
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log

_HEADING = re.compile(
    r"[-=*#>\[\s]*(train|training|val|valid|validation|test|testing|eval|evaluation|dev)"
    r"(?:[ _](?:set|phase|stats|results?|metrics|loss(?:es)?))?\s*(?::|[-=*#\]]+)?[-=*#\]\s]*",
    re.IGNORECASE,
)


def _on_heading(log: Log, line: Line) -> None:
    match = _HEADING.fullmatch(line.text)
    if match is not None:
        log.begin_section("" if match[1].lower().startswith("train") else match[1].lower(), line)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if _HEADING.fullmatch(line.text) else None


DIALECT = Dialect(
    name="sections", triggers=("train", "val", "valid", "test", "eval", "dev"), plan=_plan
)
