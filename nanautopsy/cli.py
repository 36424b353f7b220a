"""The command line. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import gc
from typing import NoReturn

import click

from nanautopsy import __version__
from nanautopsy.commands.analyze import analyze
from nanautopsy.commands.explain import explain
from nanautopsy.commands.inspect import inspect
from nanautopsy.commands.issue import issue
from nanautopsy.messages import DEFECT, INTERRUPTED, fail
from nanautopsy.scan.cli import scan
from nanautopsy.scan.runs_cli import runs


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


for _command in (analyze, issue, inspect, scan, runs, explain):
    nanautopsy.add_command(_command)


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
