"""The ``runs`` command. Heavy imports happen inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from nanautopsy.messages import fail, say
from nanautopsy.scan import html_cli

if TYPE_CHECKING:
    from nanautopsy.scan.query import Filters
    from nanautopsy.scan.settings import Settings

FORMATS = ("table", "csv", "json", "parquet")
DEFAULT_COLUMNS = "root,verdict,cause,probability,onset_step,ended"


@click.command()
@click.option(
    "--catalog",
    metavar="URL",
    default="nanautopsy-catalog.db",
    show_default=True,
    help="The SQLite file, or postgresql://user@host/name.",
)
@click.option("--cause", metavar="ID", help="Runs for which this cause was named.")
@click.option("--verdict", type=click.Choice(("non-finite", "diverged", "healthy", "undetermined")))
@click.option("--outcome", metavar="NAME", help="analyzed, timed-out, out-of-memory, crashed, ...")
@click.option("--signature", metavar="TEXT", help="Runs that died alike.")
@click.option("--archive", metavar="PATH", help="Runs of this archive, as the catalog names it.")
@click.option("--since", metavar="DATE", help="Last seen alive in 2025, 2025-01, 2025-01-31 or on.")
@click.option(
    "--until", metavar="DATE", help="Last seen alive in this year, month or day, or before."
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="SPEC",
    help='Runs with this version, as in "deepspeed>=0.12.4,<0.14.3". May be repeated.',
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N runs.")
@click.option(
    "--columns", metavar="NAMES", help=f"Comma-separated, or 'all'.  [table: {DEFAULT_COLUMNS}]"
)
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="table")
@click.option(
    "-o", "--output", metavar="FILE", help="Write FILE instead of standard output, which '-' is."
)
@click.option("--no-redact", is_flag=True, help="Show home directories and names in paths.")
@html_cli.html_options
@click.pass_context
def runs(
    context: click.Context,
    /,
    catalog: str,
    columns: str | None,
    limit: int | None,
    format_name: str,
    output: str | None,
    no_redact: bool,
    html: str | None,
    reports: Literal["failed", "all", "none"],
    lang: str,
    **filters: Any,
) -> None:
    """List the runs of a catalog that `scan` filled, the latest first.

    The date of a run is the last time that its artifacts state.
    """
    from itertools import islice

    from nanautopsy.redact import redact_value
    from nanautopsy.scan import query
    from nanautopsy.scan.catalog import Catalog, CatalogTrouble
    from nanautopsy.scan.settings import Settings

    html_cli.check_options(context, html)
    if html is not None:
        if output is not None or columns is not None or limit is not None:
            raise click.UsageError("--html takes no --output, --columns or --limit", context)
        settings = Settings("", "", redact=not no_redact)
        _write_index(context, catalog, query.Filters(**filters), html, settings, reports, lang)
        return
    to_file = output not in (None, "-")
    if format_name == "parquet" and not to_file:
        raise click.UsageError("--format parquet needs -o FILE", context)
    try:
        names = _columns(columns, format_name, query.COLUMNS)
        with Catalog.open(catalog, create=False) as opened:
            found = query.rows(opened, query.Filters(**filters))
            listed = [{n: row[n] for n in names} for row in islice(found, limit)]
            if not no_redact:
                listed, _ = redact_value(listed)
    except query.UnclearQuery as error:
        raise click.UsageError(str(error), context) from None
    except CatalogTrouble as error:
        fail(str(error))
    if format_name == "parquet":
        _parquet(listed, names, str(output))
        return
    text = _RENDERERS[format_name](listed, names)
    if to_file:
        from pathlib import Path

        from nanautopsy.outputs import write_file

        try:
            write_file(Path(str(output)), text)
        except OSError as error:
            fail(f"{output}: cannot be written: {error.strerror or error}")
        say(f"{len(listed)} runs: {output}")
        return
    click.echo(text.encode("utf-8", "backslashreplace"), nl=False)


def _write_index(
    context: click.Context,
    catalog: str,
    filters: Filters,
    html: str,
    settings: Settings,
    reports: Literal["failed", "all", "none"],
    lang: str,
) -> None:
    """The page of the runs that fit, without scanning."""
    from nanautopsy.languages import Language
    from nanautopsy.scan.catalog import Catalog, CatalogTrouble
    from nanautopsy.scan.query import UnclearQuery
    from nanautopsy.scan.reports import Shelf

    try:
        with Catalog.open(catalog, create=False) as opened:
            place = html_cli.prepared(html)
            shelf = Shelf(place.reports, settings, reports, Language(lang))
            html_cli.write(opened, place.page, shelf, filters, quiet=False)
    except UnclearQuery as error:
        raise click.UsageError(str(error), context) from None
    except CatalogTrouble as error:
        fail(str(error))


def _columns(asked: str | None, format_name: str, known: Sequence[str]) -> Sequence[str]:
    from nanautopsy.scan.query import UnclearQuery

    if asked == "all" or (asked is None and format_name != "table"):
        return known
    names = [name.strip() for name in (asked or DEFAULT_COLUMNS).split(",")]
    for name in names:
        if name not in known:
            raise UnclearQuery(f"--columns {name}: known are {', '.join(known)}")
    return names


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """As wide as the terminal; whole where there is none."""
    import io
    import os
    import sys

    from rich.console import Console
    from rich.table import Table

    from nanautopsy.render._clean import clean, one_line

    if not rows:
        return "no such runs\n"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name.replace("_", " "), overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(one_line(clean(_cell(name, row[name]))) for name in names))
    wide = None if sys.stdout.isatty() else 100_000
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    to = Console(file=io.StringIO(), width=wide, markup=False, no_color=not color)
    with to.capture() as captured:
        to.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _cell(name: str, value: Any) -> str:
    from nanautopsy.render._format import moment, percent, size
    from nanautopsy.scan.query import TIMES

    if not isinstance(value, (int, float)):  # SQLite keeps text in any column
        return "" if value is None else str(value)
    if name in TIMES:
        return moment(value)
    if name == "probability":
        return percent(value)
    if name == "size":
        return size(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    import csv
    import io

    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _json(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    import json

    return json.dumps(rows, indent=1) + "\n"


def _parquet(rows: Sequence[Mapping[str, Any]], names: Sequence[str], path: str) -> None:
    import pandas as pd

    try:
        pd.DataFrame(list(rows), columns=list(names)).to_parquet(path)
    except ImportError:
        fail("--format parquet needs pyarrow: pip install 'nanautopsy[parquet]'")
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror or error}")
    say(f"{len(rows)} runs: {path}")


_RENDERERS = {"table": _table, "csv": _csv, "json": _json}
