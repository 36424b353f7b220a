"""Where a command's results go: standard output or a file, and how wide and colored they are."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from nanautopsy.messages import fail, say

if TYPE_CHECKING:
    from nanautopsy.outputs import Output

MOST_PROBLEMS = 20
"""Lines on standard error."""


def put(text: str, output: Output, *, quiet: bool) -> None:
    """Print the text, or write it to the output's file."""
    from nanautopsy.outputs import write_file

    if output.path is None:
        _print(text, output.format)
        return
    try:
        write_file(output.path, text)
    except OSError as error:
        fail(f"{output.path}: cannot be written: {error.strerror or error}")
    if not quiet:
        say(f"Report: {output.path}")


def _print(text: str, format_name: str) -> None:
    """Write to standard output: text in its encoding, documents in UTF-8.

    When the reader has gone (``| head``), what is left is dropped quietly.
    """
    try:
        if format_name == "text":
            encoding = sys.stdout.encoding or "utf-8"
            shown = text.encode(encoding, "backslashreplace").decode(encoding)
            click.echo(shown, nl=False)
        else:
            click.echo(text.encode("utf-8"), nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        import os

        # What is still buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_color() -> bool:
    """Whether standard output is a terminal that nobody asked to be plain."""
    import os

    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def terminal() -> tuple[int | None, int | None]:
    """Columns and lines of the terminal, one line left for the prompt; nothing where the output is
    none."""
    import shutil

    if not sys.stdout.isatty():
        return None, None
    size = shutil.get_terminal_size()
    return size.columns, size.lines - 1


def tell(lines: Iterable[str], elsewhere: str = "") -> None:
    """The first of the lines on standard error, how many more there are, and where they stand."""
    told = list(lines)
    for line in told[:MOST_PROBLEMS]:
        say(line)
    if len(told) > MOST_PROBLEMS:
        say(f"... and {len(told) - MOST_PROBLEMS} more problems{elsewhere}")
