"""Colors for browsers that do not know ``light-dark()``, which came in 2024."""

from __future__ import annotations

import re

_RULE = re.compile(r"([^{}]+)\{([^{}]*light-dark\([^{}]*)\}")
_COLOR = re.compile(r"(--[\w-]+): light-dark\(([^,()]+), ([^,()]+)\)")
_LIGHT, _DARK = 1, 2


def with_fallbacks(style: str) -> str:
    """The style sheet, and behind it the same colors without the function.

    They follow the system and the reader's choice, as ``color-scheme`` lets the function do.
    """
    bare = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    rules = [(selector.strip(), body) for selector, body in _RULE.findall(bare)]

    def colors(root: str, which: int) -> str:
        return "".join(
            f"{_under(root, selector)} {{ {_chosen(body, which)} }}\n" for selector, body in rules
        )

    return (
        f"{style}\n@supports not (color: light-dark(#000, #fff)) {{\n"
        f"{colors(':root', _LIGHT)}"
        "@media screen and (prefers-color-scheme: dark) {\n"
        f"{colors(':root:not([data-theme=light])', _DARK)}}}\n"
        f"@media screen {{\n{colors(':root[data-theme=dark]', _DARK)}}}\n}}\n"
    )


def _under(root: str, selector: str) -> str:
    return root if selector == ":root" else f"{root} {selector}"


def _chosen(body: str, which: int) -> str:
    return " ".join(f"{color[1]}: {color[1 + which].strip()};" for color in _COLOR.finditer(body))
