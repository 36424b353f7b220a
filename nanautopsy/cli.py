"""The command line. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from nanautopsy import __version__
from nanautopsy.messages import DEFECT, FOUND_FAILURE, INTERRUPTED, NOTHING_READ, fail, say
from nanautopsy.scan.cli import scan
from nanautopsy.scan.runs_cli import runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanautopsy.inspection import Inspection
    from nanautopsy.model import Autopsy
    from nanautopsy.outputs import Output

FORMATS = ("text", "html", "md", "json")
LANGUAGES = ("en", "zh")
"""As in :mod:`nanautopsy.languages`."""
PROJECTS = ("deepspeed", "transformers", "pytorch", "megatron", "lightning", "jax", "generic")
"""As in ``render._open_questions``."""
EXPLAIN_FORMATS = ("text", "md")
INSPECT_FORMATS = ("text", "json", "csv")
SORT_KEYS = (
    *("worst", "forward", "name", "file", "nonfinite", "nan", "inf", "zero", "subnormal", "max"),
    *("min", "rms", "headroom", "fp16", "size"),
)
"""Of ``render._inspect_rows.SORTS``, which is too heavy to import for ``--help``."""
NEED_FULL = ("zero", "subnormal", "min", "rms")
MOST_PROBLEMS = 20
"""Lines on standard error."""


class _Group(click.Group):
    """Ends an interruption with one line."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def nanautopsy() -> None:
    """Say when, where and why a training run went NaN, from what it left behind."""


@nanautopsy.command()
@click.argument("path", metavar="RUN_DIR", type=click.Path())
@click.option(
    "-o",
    "--output",
    "files",
    multiple=True,
    metavar="FILE",
    help="Write FILE; its suffix says the format: .html, .md, .json or .txt. '-' is standard "
    "output, in the one --format given, or as text. May be repeated.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    help="Write this format instead of the verdict and the report. One of text, md and json "
    "alone goes to standard output; html, and several at once, go to reports/RUN.*; only text "
    "is still printed. May be repeated.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE=PATTERN",
    help="Take the metrics whose names fit PATTERN for ROLE (loss, eval_loss, grad_norm, "
    "learning_rate, loss_scale, layer_gradient, ...); '*' stands for anything, '{layer}' for the "
    "layer. May be repeated.",
)
@click.option(
    "--known-issues",
    "issues_directory",
    metavar="DIR",
    type=click.Path(),
    help="Consult the library defects in DIR (one YAML file each) beside the known ones.",
)
@click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    default="en",
    help="Language of text, md and html: English, or Simplified Chinese; JSON stays English.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when the run failed.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing that was not asked for.")
@click.option("-v", "--verbose", is_flag=True, help="Tell progress and problems on stderr.")
@click.option("--no-color", is_flag=True, help="Print no color, as with NO_COLOR set.")
@click.option(
    "--no-redact", is_flag=True, help="Show home directories, names, addresses and secrets."
)
@click.pass_context
def analyze(
    context: click.Context,
    path: str,
    files: tuple[str, ...],
    formats: tuple[str, ...],
    roles: tuple[str, ...],
    issues_directory: str | None,
    lang: str,
    exit_code: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
    no_redact: bool,
) -> None:
    """Diagnose RUN_DIR, a run's directory or a single file of it.

    Prints the verdict and writes reports/RUN.html under the current directory.
    """
    from nanautopsy.autopsy import analyze as run_autopsy
    from nanautopsy.discover import NothingToRead
    from nanautopsy.known_issues import Catalog, read_directory
    from nanautopsy.outputs import UnclearOutput, plan, refuse_to_replace_evidence
    from nanautopsy.role_patterns import UnclearRole, parse_roles

    try:
        parse_roles(roles)
        outputs = plan(path, files, formats, quiet=quiet)
        refuse_to_replace_evidence(outputs, path)
        own = read_directory(issues_directory) if issues_directory else Catalog((), ())
    except (UnclearOutput, UnclearRole, NotADirectoryError) as error:
        raise click.UsageError(str(error), context) from None
    _tell(own.problems)
    try:
        autopsy = run_autopsy(
            _named(path),
            redact=not no_redact,
            progress=say if verbose and not quiet else None,
            roles=roles,
            known_issues=own.issues,
        )
    except NothingToRead as error:
        fail(str(error))
    if verbose and not quiet:
        _tell_problems(autopsy)
    for output in outputs:
        _deliver(autopsy, output, lang=lang, color=not no_color, quiet=quiet)
    if exit_code and autopsy.failed:
        context.exit(FOUND_FAILURE)


@nanautopsy.command()
@click.argument("path", metavar="RUN_DIR", type=click.Path())
@click.option(
    "--for",
    "project",
    type=click.Choice(PROJECTS),
    help="Order it as this project's maintainers ask.  [default: that of the run's framework]",
)
@click.option("--title", "only_title", is_flag=True, help="Print a title for the issue, alone.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write FILE instead of standard output, which '-' is."
)
@click.option(
    "--lang",
    type=click.Choice(LANGUAGES),
    default="en",
    help="English, or Simplified Chinese; log lines stay as they are.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when the run failed.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say where FILE was written.")
@click.option("--no-redact", is_flag=True, help="Show what is hidden otherwise; needs --yes.")
@click.option("--yes", is_flag=True, help="Really show names, addresses and secrets.")
@click.pass_context
def issue(
    context: click.Context,
    path: str,
    project: str | None,
    only_title: bool,
    output: str | None,
    lang: str,
    exit_code: bool,
    quiet: bool,
    no_redact: bool,
    yes: bool,
) -> None:
    """Print a report on RUN_DIR as Markdown, ready for an issue thread.

    Log lines around the onset, versions, precision, settings, causes with evidence, what was ruled
    out, and what maintainers will still ask. Secrets and names are hidden.
    """
    from pathlib import Path

    from nanautopsy.autopsy import analyze as run_autopsy
    from nanautopsy.discover import NothingToRead
    from nanautopsy.languages import Language, translated
    from nanautopsy.outputs import Output, UnclearOutput, refuse_to_replace_evidence
    from nanautopsy.render import issue as report

    if no_redact and not yes:
        raise click.UsageError("--no-redact publishes names and secrets; add --yes", context)
    target = Output("md", None if output in (None, "-") else Path(str(output)))
    try:
        refuse_to_replace_evidence([target], path)
        autopsy = run_autopsy(_named(path), redact=not no_redact)
    except UnclearOutput as error:
        raise click.UsageError(str(error), context) from None
    except NothingToRead as error:
        fail(str(error))
    language = Language(lang)
    said = translated(autopsy, language)
    if only_title:
        text = report.title(said, language=language) + "\n"
    else:
        text = report.render(said, language=language, project=project)
    _put(text, target, quiet=quiet)
    if exit_code and autopsy.failed:
        context.exit(FOUND_FAILURE)


@nanautopsy.command()
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
    type=click.Choice(INSPECT_FORMATS),
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
@click.option("--no-color", is_flag=True, help="Print no color, as with NO_COLOR set.")
@click.option(
    "--no-redact", is_flag=True, help="Show home directories, names, addresses and secrets."
)
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
        target = plan_one(output, format_name, INSPECT_FORMATS)
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
                progress=None if quiet else bar,
            )
    except Unclear as error:
        raise click.UsageError(str(error), context) from None
    except NothingToRead as error:
        fail(str(error))
    if not quiet:
        _tell(f"{problem.source}: {problem.text}" for problem in inspection.problems)
    colored = not no_color and target.path is None and _wants_color()
    text = _inspection_text(inspection, target.format, sort=sort, top=top, color=colored)
    _put(text, target, quiet=quiet)
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
    width = _width() if color or sys.stdout.isatty() else None
    return inspect_text.render(inspection, width=width, color=color, sort=sort, top=top)


@nanautopsy.command()
@click.argument("cause", metavar="[CAUSE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Print every page.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(EXPLAIN_FORMATS),
    default="text",
    help="With --all: plain pages, or one Markdown document.",
)
@click.pass_context
def explain(context: click.Context, cause: str | None, everything: bool, format_name: str) -> None:
    """Print the page of one CAUSE or known issue, or the list of all."""
    from nanautopsy import explain as pages
    from nanautopsy.explain import issue_titles, page, titles

    if (cause is not None and everything) or (format_name == "md" and not everything):
        raise click.UsageError("--all prints every page, and --format md needs it", context)
    if everything:
        whole = pages.handbook() if format_name == "md" else "\n\n\n".join(pages.everything())
        click.echo(whole.rstrip("\n"))
        return
    if cause is None:
        _list(titles())
        click.echo("\nKnown issues of libraries (version-bug):\n")
        _list(issue_titles())
        return
    try:
        click.echo(page(cause))
    except KeyError:
        near = f"; known are {', '.join(titles())}, and the known issues that `explain` lists"
        fail(f"{cause}: no such cause{near}")


nanautopsy.add_command(scan)
nanautopsy.add_command(runs)


def _list(titles: Mapping[str, str]) -> None:
    """A line for each, titles in one column."""
    width = max((len(name) for name in titles), default=0)
    for name, title in titles.items():
        click.echo(f"{name:<{width}}  {title}")


def _named(path: str) -> str:
    """The path as it was given; of ``.`` and ``..``, where they lead: a report needs a name."""
    from pathlib import Path

    return path if Path(path).name not in ("", "..") else str(Path(path).resolve())


def _deliver(autopsy: Autopsy, output: Output, *, lang: str, color: bool, quiet: bool) -> None:
    """Render one output and put it where it belongs."""
    from nanautopsy.languages import Language
    from nanautopsy.outputs import render

    to_terminal = output.path is None and output.format == "text"
    colored = color and to_terminal and _wants_color()
    width = _width() if to_terminal else None
    language = Language(lang)
    text = render(autopsy, output.format, width=width, color=colored, language=language)
    _put(text, output, quiet=quiet)


def _put(text: str, output: Output, *, quiet: bool) -> None:
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


def _wants_color() -> bool:
    import os

    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _width() -> int | None:
    """Columns of the terminal; ``None`` when the output is none."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _tell_problems(autopsy: Autopsy) -> None:
    for artifact in autopsy.run.artifacts:
        for problem in artifact.problems:
            say(f"{artifact.path}: {problem}")
    for note in autopsy.run.notes:
        say(note)


def _tell(lines: Iterable[str]) -> None:
    """The first of the lines on standard error, and how many more there are."""
    told = list(lines)
    for line in told[:MOST_PROBLEMS]:
        say(line)
    if len(told) > MOST_PROBLEMS:
        say(f"... and {len(told) - MOST_PROBLEMS} more problems (--format json lists them all)")


def main() -> None:
    """Run the command line and exit with its status."""
    # Tensors by the hundred thousand are kept to the end: looking for garbage among them so often
    # takes as long as the work itself.
    gc.set_threshold(50_000, 20, 50)
    try:
        status = nanautopsy(prog_name="nanautopsy", standalone_mode=False)
    except click.ClickException as error:
        _show(error)
    except Exception as error:
        fail(_defect(error), DEFECT)
    if isinstance(status, int):
        raise SystemExit(status)


def _show(error: click.ClickException) -> NoReturn:
    """Wrong usage in one line; the help when nothing at all was asked."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        raise SystemExit(error.exit_code)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" ({context.command_path} --help says more)" if context else ""
    fail(error.format_message().rstrip(".") + hint)


def _defect(error: Exception) -> str:
    """One line to report: what failed, and where in this package."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if "nanautopsy" in f.filename]
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"a defect of nanautopsy, please report it: {type(error).__name__}{place}: {error}"
