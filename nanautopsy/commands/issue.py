"""``nanautopsy issue``: the report that goes to an issue thread."""

from __future__ import annotations

import click

from nanautopsy.commands import options
from nanautopsy.commands.printing import put
from nanautopsy.messages import FOUND_FAILURE, fail

PROJECTS = ("deepspeed", "transformers", "pytorch", "megatron", "lightning", "jax", "generic")
"""As in ``render._open_questions``."""


@click.command()
@options.run_dir
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
    type=click.Choice(options.LANGUAGES),
    default="en",
    help="English, or Simplified Chinese; log lines stay as they are.",
)
@options.run_failed
@click.option("-q", "--quiet", is_flag=True, help="Do not say where FILE was written.")
@click.option("--no-redact", is_flag=True, help="Show what is hidden otherwise; needs --yes.")
@options.redact_urls
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
    redact_urls: bool,
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
        autopsy = run_autopsy(options.named(path), redact=not no_redact, redact_urls=redact_urls)
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
    put(text, target, quiet=quiet)
    if exit_code and autopsy.failed:
        context.exit(FOUND_FAILURE)
