"""Wrapping lines that hold Chinese: between any two characters, but for punctuation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NOT_FIRST = frozenset("，。、；：？！）》」』】…%,.;:?!)]}")
_NOT_LAST = frozenset("（《「『【([{")


def wrapped_lines(text: Text, console: Console, width: int) -> list[Text]:
    """``text`` in lines of at most ``width`` columns."""
    from rich.cells import cell_len

    if cell_len(text.plain) == len(text.plain):
        return list(text.wrap(console, width, tab_size=1))
    lines = list(text.divide(_breaks(text.plain, width)))
    for line in lines:
        line.rstrip()
    return lines


def _breaks(text: str, width: int) -> list[int]:
    """Offsets at which a new line begins."""
    from rich.cells import cell_len

    breaks: list[int] = []
    begin, used, last = 0, 0, 0
    for i, char in enumerate(text):
        if i > begin and _may_break(text, i):
            last = i
        used += cell_len(char)
        if used > width and char != " ":
            begin = last if last > begin else i
            breaks.append(begin)
            used = sum(cell_len(c) for c in text[begin : i + 1])
    return breaks


def _may_break(text: str, i: int) -> bool:
    """Whether a line may begin with character ``i``."""
    from rich.cells import cell_len

    before, char = text[i - 1], text[i]
    if char in _NOT_FIRST or before in _NOT_LAST or char == " ":
        return False
    return before == " " or cell_len(before) > 1 or cell_len(char) > 1
