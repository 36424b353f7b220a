"""Lines of styled text as a string, for a terminal or for none."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def console(width: int, *, color: bool = False) -> Console:
    """A console that knows nothing of the environment and writes to a string."""
    from rich.console import Console

    return Console(
        file=io.StringIO(),
        width=width,
        color_system="standard" if color else None,
        force_terminal=color,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )


def printed(lines: Iterable[Text], to: Console) -> str:
    """The lines as they are, without spaces at their ends; none is wrapped."""
    for line in lines:
        to.print(line, soft_wrap=True)
    out = to.file
    assert isinstance(out, io.StringIO)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
