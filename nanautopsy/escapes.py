"""Terminal escapes in text: colors, cursor movements, titles."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colors, cursor movement
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
)


def without_escapes(text: str) -> str:
    """``text`` as it reads when a terminal has acted on them."""
    if text.isascii() and "\x1b" not in text:
        return text
    return _ESCAPES.sub("", text)
