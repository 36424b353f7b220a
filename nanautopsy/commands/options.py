"""Options that several commands have."""

from __future__ import annotations

import click

LANGUAGES = ("en", "zh")
"""As in :mod:`nanautopsy.languages`."""

no_color = click.option("--no-color", is_flag=True, help="Print no color, as with NO_COLOR set.")
no_redact = click.option(
    "--no-redact", is_flag=True, help="Show home directories, names, addresses and secrets."
)
redact_urls = click.option(
    "--redact-urls", is_flag=True, help="Hide buckets and internal URLs too."
)
run_failed = click.option("--exit-code", is_flag=True, help="Exit with 1 when the run failed.")
run_dir = click.argument("path", metavar="RUN_DIR", type=click.Path())


def named(path: str) -> str:
    """The path as it was given; of ``.`` and ``..``, where they lead: a report needs a name."""
    from pathlib import Path

    return path if Path(path).name not in ("", "..") else str(Path(path).resolve())
