"""What every command says on standard error, and the statuses it ends with."""

from __future__ import annotations

from typing import NoReturn

import click

FOUND_FAILURE, NOTHING_READ, DEFECT, INTERRUPTED = 1, 2, 70, 130
"""Exit statuses beside 0."""


def say(text: str) -> None:
    """One line on standard error."""
    from nanautopsy.render._clean import clean, one_line

    click.echo(one_line(clean(text)), err=True)


def fail(text: str, status: int = NOTHING_READ) -> NoReturn:
    """One line on standard error, and the exit status for it."""
    say(f"nanautopsy: {text}")
    raise SystemExit(status)
