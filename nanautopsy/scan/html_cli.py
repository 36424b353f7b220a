"""What ``scan`` and ``runs`` share: the options of the index page, and writing it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nanautopsy.commands.options import LANGUAGES
from nanautopsy.messages import fail

if TYPE_CHECKING:
    from pathlib import Path

    from nanautopsy.scan.catalog import Catalog
    from nanautopsy.scan.index_page import Place
    from nanautopsy.scan.query import Filters
    from nanautopsy.scan.reports import Shelf

F = TypeVar("F", bound=Callable[..., Any])
_LINE_SECONDS = 10.0
"""Between two lines where nobody watches."""
_OPTIONS = (
    click.option(
        "--html",
        metavar="DIR_OR_FILE",
        help="Write an index page: DIR/index.html, or FILE.html, with the runs' reports beside it.",
    ),
    click.option(
        "--reports",
        type=click.Choice(("failed", "all", "none")),
        default="failed",
        show_default=True,
        help="Runs whose reports --html writes.",
    ),
    click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        default="en",
        help="Language of --html: English, or Simplified Chinese.",
    ),
)


def html_options(command: F) -> F:
    """The options, added to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_options(context: click.Context, html: str | None) -> None:
    """Raise ``click.UsageError`` where there are options for a page that is not asked for."""
    for name in ("reports", "lang"):
        source = context.get_parameter_source(name)
        if html is None and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is for the page that --html writes", context)


def prepared(html: str) -> Place:
    """Where the page goes; ends the program where it cannot be written."""
    from nanautopsy.outputs import UnclearOutput
    from nanautopsy.scan.index_page import Place

    try:
        place = Place.of(html)
        place.prepare()
    except UnclearOutput as error:
        fail(f"--html {error}")
    except (OSError, ValueError) as error:
        fail(f"--html {html}: cannot be written: {getattr(error, 'strerror', None) or error}")
    return place


def write(catalog: Catalog, page: Path, shelf: Shelf, filters: Filters, *, quiet: bool) -> None:
    """Write the page and say where it is; ends the program where it cannot be written."""
    from nanautopsy.scan.index_page import write_index
    from nanautopsy.scan.workers import WorkerTrouble

    try:
        with _Progress(quiet) as progress:
            linked = write_index(catalog, page, shelf, filters, progress)
    except WorkerTrouble as trouble:
        fail(str(trouble))
    except OSError as error:
        fail(f"{error.filename or page}: cannot be written: {error.strerror or error}")
    if not quiet:
        count = len(linked.hrefs)
        click.echo(f"Index: {page} ({count} {'report' if count == 1 else 'reports'})")


class _Progress:
    """How many reports are done, on standard error: live where somebody watches."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._live = quiet, sys.stderr.isatty()
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._quiet or (not self._live and now - self._told < _LINE_SECONDS):
            return
        self._told = now
        start = "\r" if self._live else ""
        click.echo(f"{start}{done}/{total} reports", nl=not self._live, err=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and not self._quiet:
            click.echo("\r\x1b[K", nl=False, err=True)
