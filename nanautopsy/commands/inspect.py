"""``nanautopsy inspect``: the health of checkpoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nanautopsy.commands import options
from nanautopsy.commands.printing import put, tell, terminal, wants_color
from nanautopsy.messages import FOUND_FAILURE, NOTHING_READ, fail

if TYPE_CHECKING:
    from nanautopsy.inspection import Inspection

FORMATS = ("text", "json", "csv")
SORT_KEYS = (
    *("worst", "forward", "name", "file", "nonfinite", "nan", "inf", "zero", "subnormal", "max"),
    *("min", "rms", "headroom", "fp16", "size"),
)
"""Of ``render._inspect_rows.SORTS``, which is too heavy to import for ``--help``."""
NEED_FULL = ("zero", "subnormal", "min", "rms")


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--against",
    metavar="PATH",
    help="Compare with PATH, an earlier checkpoint, instead: what turned, changed, came and went.",
)
@click.option(
    "--full", is_flag=True, help="Measure zeros, subnormals, RMS and smallest values too."
)
@click.option(
    "--all", "everything", is_flag=True, help="Measure every checkpoint, not O(log n) of n."
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="GLOB",
    help="Measure only tensors whose name matches, or contains a GLOB without *?[. May be "
    "repeated.",
)
@click.option(
    "--sort",
    type=click.Choice(SORT_KEYS),
    metavar="KEY",
    default="worst",
    show_default=True,
    help=f"Order of the tensors: {', '.join(SORT_KEYS)}. Those that --full measures imply it.",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show N tensors, 0 for all.  [default: 20 as text, all as json and csv]",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="What to write.  [default: text, or what FILE's suffix says]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write FILE (.txt, .json or .csv) instead of standard output, which '-' is.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when something is non-finite.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no problems on stderr.")
@options.no_color
@options.no_redact
@options.redact_urls
@click.pass_context
def inspect(
    context: click.Context,
    paths: tuple[str, ...],
    against: str | None,
    full: bool,
    everything: bool,
    filters: tuple[str, ...],
    sort: str,
    top: int | None,
    format_name: str | None,
    output: str | None,
    exit_code: bool,
    quiet: bool,
    no_color: bool,
    no_redact: bool,
    redact_urls: bool,
) -> None:
    """Say whether checkpoints are finite, and if not, which tensors turned and where.

    PATH is a file, a directory, a glob, or a URL that is read in ranges (https://, s3://, gs://,
    hf://). No pickle is executed.
    """
    from nanautopsy.checkpoint_diff import Unclear
    from nanautopsy.discover import NothingToRead
    from nanautopsy.inspection import inspect as run_inspection
    from nanautopsy.outputs import UnclearOutput, plan_one, refuse_to_replace_evidence
    from nanautopsy.progress_bar import ProgressBar

    try:
        target = plan_one(output, format_name, FORMATS)
        for path in paths:
            refuse_to_replace_evidence([target], path)
    except UnclearOutput as error:
        raise click.UsageError(str(error), context) from None
    try:
        with ProgressBar(color=not no_color) as bar:
            inspection = run_inspection(
                paths,
                depth="full" if full or sort in NEED_FULL else "finite",
                against=against,
                filters=filters,
                everything=everything,
                redact=not no_redact,
                redact_urls=redact_urls,
                progress=None if quiet else bar,
            )
    except Unclear as error:
        raise click.UsageError(str(error), context) from None
    except NothingToRead as error:
        fail(str(error))
    if not quiet:
        told = (f"{problem.source}: {problem.text}" for problem in inspection.problems)
        tell(told, elsewhere=" (--format json lists them all)")
    colored = not no_color and target.path is None and wants_color()
    text = _inspection_text(inspection, target.format, sort=sort, top=top, color=colored)
    put(text, target, quiet=quiet)
    if inspection.nothing_read:
        context.exit(NOTHING_READ)
    if exit_code and inspection.failed:
        context.exit(FOUND_FAILURE)


def _inspection_text(
    inspection: Inspection, format_name: str, *, sort: str, top: int | None, color: bool
) -> str:
    """The result in one format."""
    from nanautopsy.render import inspect_csv, inspect_json, inspect_text

    if format_name == "json":
        return inspect_json.render(inspection, sort=sort, top=top)
    if format_name == "csv":
        return inspect_csv.render(inspection, sort=sort, top=top)
    columns, _ = terminal() if color or sys.stdout.isatty() else (None, None)
    return inspect_text.render(inspection, width=columns, color=color, sort=sort, top=top)
