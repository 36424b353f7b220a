"""``nanautopsy explain``: the pages of causes and known issues."""

from __future__ import annotations

from collections.abc import Mapping

import click

from nanautopsy.messages import fail

FORMATS = ("text", "md")


@click.command()
@click.argument("cause", metavar="[CAUSE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Print every page.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
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


def _list(titles: Mapping[str, str]) -> None:
    """A line for each, titles in one column."""
    width = max((len(name) for name in titles), default=0)
    for name, title in titles.items():
        click.echo(f"{name:<{width}}  {title}")
