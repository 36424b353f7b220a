"""The ``scan`` command. Heavy imports happen inside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import click

from nanautopsy.commands.options import redact_urls
from nanautopsy.commands.printing import tell
from nanautopsy.messages import FOUND_FAILURE, INTERRUPTED, fail
from nanautopsy.scan import html_cli

if TYPE_CHECKING:
    from nanautopsy.model import Problem
    from nanautopsy.scan.index_page import Place
    from nanautopsy.scan.limits import Limits
    from nanautopsy.scan.scan import Options, Scan
    from nanautopsy.scan.tally import Tally

DEFAULT_CATALOG = "nanautopsy-catalog.db"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class _Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``2G``, ``500 MiB``, ``1.5gb``."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
        try:
            size = float(match[1]) * _UNITS[match[2]] if match else 0.0
        except ValueError:
            size = 0.0
        if size < 1:
            self.fail(f"{value!r} is no size; say it like 2G or 500M", param, ctx)
        return int(size)


@click.command()
@click.argument("archive", metavar="ARCHIVE", type=click.Path())
@click.option(
    "--catalog",
    metavar="URL",
    default=DEFAULT_CATALOG,
    show_default=True,
    help="Keep the results in this SQLite file, or in a database: postgresql://user@host/name.",
)
@click.option("--list", "only_list", is_flag=True, help="Only list the runs and why they are such.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: cores]"
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up on a run after so long.  [default: never]",
)
@click.option(
    "--memory-limit",
    type=_Size(),
    metavar="SIZE",
    help="Give up on a run that takes more (2G, 500M).  [default: 4/5 of the memory / N]",
)
@click.option(
    "--run-glob",
    metavar="GLOB",
    help="Take the folders that match for the runs, and nothing else: 'exp*/seed*', 'run-*'.",
)
@click.option(
    "--exclude",
    "excluded",
    multiple=True,
    metavar="GLOB",
    help="Leave out files and folders whose path or name matches. May be repeated.",
)
@click.option(
    "--max-depth",
    type=click.IntRange(min=0),
    metavar="N",
    help="Look for runs at most N folders deep; what lies deeper belongs to the run there.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Scan on the cluster of this scheduler: tcp://host:8786. All workers see the archive.",
)
@click.option(
    "--check-content",
    is_flag=True,
    help="Tell unchanged runs by the content of their files instead of their times.",
)
@click.option("--retry", is_flag=True, help="Try unchanged runs again that could not be read.")
@click.option("--prune", is_flag=True, help="Forget runs that are no longer in the archive.")
@click.option("--role", "roles", multiple=True, metavar="ROLE=PATTERN", help="As for analyze.")
@click.option("--known-issues", metavar="DIR", type=click.Path(), help="As for analyze.")
@html_cli.html_options
@click.option("--exit-code", is_flag=True, help="Exit with 1 when a run that was scanned failed.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no tally.")
@click.option("--no-color", is_flag=True, help="Print no color, as with NO_COLOR set.")
@click.option(
    "--no-redact", is_flag=True, help="Keep home directories, names, addresses and secrets."
)
@redact_urls
@click.pass_context
def scan(
    context: click.Context,
    archive: str,
    catalog: str,
    only_list: bool,
    jobs: int | None,
    timeout: float | None,
    memory_limit: int | None,
    run_glob: str | None,
    excluded: tuple[str, ...],
    max_depth: int | None,
    dask: str | None,
    check_content: bool,
    retry: bool,
    prune: bool,
    roles: tuple[str, ...],
    known_issues: str | None,
    html: str | None,
    reports: Literal["failed", "all", "none"],
    lang: str,
    exit_code: bool,
    quiet: bool,
    no_color: bool,
    no_redact: bool,
    redact_urls: bool,
) -> None:
    """Analyze every run below ARCHIVE, a directory or URL, and keep the results in a catalog.

    Runs that did not change since they were scanned are not read again.
    """
    from nanautopsy.discover import NothingToRead
    from nanautopsy.role_patterns import UnclearRole
    from nanautopsy.scan.limits import Limits
    from nanautopsy.scan.scan import Options

    html_cli.check_options(context, html)
    limits = Limits(run_glob, excluded, max_depth)
    options = Options(
        jobs=jobs,
        timeout=timeout,
        memory_limit=memory_limit,
        limits=limits,
        dask=dask,
        redact=not no_redact,
        redact_urls=redact_urls,
        roles=roles,
        known_issues=known_issues,
        check_content=check_content,
        retry=retry,
        prune=prune,
    )
    try:
        if only_list:
            _list(archive, limits)
            return
        place = None if html is None else html_cli.prepared(html)
        tally = _scan(archive, catalog, options, quiet=quiet, color=not no_color)
    except (UnclearRole, NotADirectoryError) as error:
        raise click.UsageError(str(error), context) from None
    except NothingToRead as error:
        fail(str(error))
    if not tally.found:
        fail(f"{archive}: no run was found in it (--list says what is looked at)")
    if place is not None:
        _write_index(archive, catalog, options, place, reports, lang, quiet=quiet)
    if exit_code and tally.failed:
        context.exit(FOUND_FAILURE)


def _scan(archive: str, catalog: str, options: Options, *, quiet: bool, color: bool) -> Tally:
    """Scan, and print the tally, also of a scan that was interrupted."""
    from nanautopsy.scan.catalog import Catalog, CatalogTrouble
    from nanautopsy.scan.dask_pool import ClusterTrouble
    from nanautopsy.scan.interrupts import Interrupts
    from nanautopsy.scan.progress import ScanProgress
    from nanautopsy.scan.scan import open_scan
    from nanautopsy.scan.workers import WorkerTrouble

    opened: Scan | None = None
    try:
        with (
            Interrupts() as interrupts,
            Catalog.open(catalog) as kept,
            ScanProgress(color=color, quiet=quiet) as progress,
        ):

            def between(tally: Tally) -> None:
                progress(tally)
                interrupts.check()

            opened = open_scan(archive, options, kept, between)
            for _ in opened.results():
                pass
    except (CatalogTrouble, ClusterTrouble, WorkerTrouble) as trouble:
        if opened is not None and opened.tally.scanned and not quiet:
            _print_tally(opened.tally, catalog)
        fail(str(trouble))
    except KeyboardInterrupt:
        if opened is not None and not quiet:
            _print_tally(opened.tally, catalog)
        fail("interrupted; what is done is kept, and the next scan goes on from there", INTERRUPTED)
    _tell_problems(opened.tree.problems, quiet)
    if opened.tally.found and not quiet:
        _print_tally(opened.tally, catalog)
    return opened.tally


def _write_index(
    archive: str,
    catalog: str,
    options: Options,
    place: Place,
    reports: Literal["failed", "all", "none"],
    lang: str,
    *,
    quiet: bool,
) -> None:
    """The page of this archive's runs, those that did not change included."""
    from nanautopsy.languages import Language
    from nanautopsy.scan.catalog import Catalog, CatalogTrouble
    from nanautopsy.scan.catalog.rows import stored
    from nanautopsy.scan.query import Filters
    from nanautopsy.scan.reports import Shelf
    from nanautopsy.scan.settings import Settings
    from nanautopsy.scan.tree import open_tree

    address = open_tree(archive).address
    settings = Settings(
        archive,
        address,
        redact=options.redact,
        redact_urls=options.redact_urls,
        known_issues=options.known_issues,
    )
    shelf = Shelf(place.reports, settings, reports, Language(lang), options.jobs)
    filters = Filters(archive=stored(address))
    try:
        with Catalog.open(catalog, create=False) as kept:
            html_cli.write(kept, place.page, shelf, filters, quiet=quiet)
    except CatalogTrouble as trouble:
        fail(str(trouble))


def _list(archive: str, limits: Limits) -> None:
    from nanautopsy.render._clean import clean, one_line
    from nanautopsy.scan.scan import list_runs

    runs, problems = list_runs(archive, limits)
    count = 0
    for run in runs:
        count += 1
        click.echo(one_line(clean(f"{run.root}  ({len(run.files)} files: {run.why})")))
    _tell_problems(problems, quiet=False)
    if not count:
        fail(f"{archive}: no run was found in it")


def _tell_problems(problems: list[Problem], quiet: bool) -> None:
    if quiet:
        return
    tell(f"{problem.source}: {problem.text}" for problem in problems)


def _print_tally(tally: Tally, catalog: str) -> None:
    for line in _tally_lines(tally, catalog):
        click.echo(line)


def _tally_lines(tally: Tally, catalog: str) -> Iterator[str]:
    from nanautopsy.render._format import duration
    from nanautopsy.scan.tally import VERDICTS

    again = f" ({tally.judged_again} from what was read before)" if tally.judged_again else ""
    runs = "1 run" if tally.found == 1 else f"{tally.found} runs"
    yield f"{runs}: {tally.scanned} scanned{again}, {tally.unchanged} unchanged"
    yield from _table((name, tally.verdicts[name]) for name in VERDICTS)
    yield from _table((name, n) for name, n in tally.outcomes.most_common() if name != "analyzed")
    if tally.causes:
        yield "Causes:"
        yield from _table(tally.causes.most_common(10))
        hours = f", {duration(tally.wasted_seconds)}" if tally.wasted_seconds >= 1 else ""
        yield f"Spent after the onset: {tally.wasted_steps} steps{hours}"
    if tally.gone:
        yield f"{tally.gone} runs of the catalog are gone from the archive (--prune forgets them)"
    yield f"Catalog: {catalog}"


def _table(rows: Iterable[tuple[str, int]]) -> Iterator[str]:
    for name, count in rows:
        if count:
            yield f"  {count:>7}  {name}"
