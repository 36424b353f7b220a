"""``nanautopsy analyze``: the verdict and the report of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanautopsy.commands import options
from nanautopsy.commands.printing import put, tell, terminal, wants_color
from nanautopsy.messages import FOUND_FAILURE, fail, say

if TYPE_CHECKING:
    from nanautopsy.model import Autopsy
    from nanautopsy.outputs import Output

FORMATS = ("text", "html", "md", "json")


@click.command()
@options.run_dir
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
    type=click.Choice(options.LANGUAGES),
    default="en",
    help="Language of text, md and html: English, or Simplified Chinese; JSON stays English.",
)
@options.run_failed
@click.option("-q", "--quiet", is_flag=True, help="Print nothing that was not asked for.")
@click.option("-v", "--verbose", is_flag=True, help="Tell progress and problems on stderr.")
@options.no_color
@options.no_redact
@options.redact_urls
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
    redact_urls: bool,
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
    tell(own.problems)
    try:
        autopsy = run_autopsy(
            options.named(path),
            redact=not no_redact,
            redact_urls=redact_urls,
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


def _deliver(autopsy: Autopsy, output: Output, *, lang: str, color: bool, quiet: bool) -> None:
    """Render one output and put it where it belongs."""
    from nanautopsy.languages import Language
    from nanautopsy.outputs import render

    to_terminal = output.path is None and output.format == "text"
    colored = color and to_terminal and wants_color()
    columns, lines = terminal() if to_terminal else (None, None)
    language = Language(lang)
    text = render(
        autopsy, output.format, width=columns, height=lines, color=colored, language=language
    )
    put(text, output, quiet=quiet)


def _tell_problems(autopsy: Autopsy) -> None:
    for artifact in autopsy.run.artifacts:
        for problem in artifact.problems:
            # What has a place in the file names the file itself.
            say(problem if problem.startswith(artifact.path) else f"{artifact.path}: {problem}")
    for note in autopsy.run.notes:
        say(note)
