"""Which formats go where, and writing them: the command line's rules, apart from its parsing.

- Nothing asked: the verdict as text on standard output, and ``reports/<run>.html``.
- ``-o FILE``: that file, in the format of its suffix; the verdict is still printed.
- ``--format F``: F takes the place of both. One of text, md and json goes to standard output;
  html, and everything but text when there are several, goes to ``reports/<run>.<suffix>``.
- ``-o -``: standard output, in the one format that no file takes, or as text.
- Standard output holds one format, never two.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from nanautopsy.languages import ENGLISH, Language, translated
from nanautopsy.model import Autopsy
from nanautopsy.own_reports import is_own_report

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".json": "json", ".txt": "text"}
_MODULES = {"html": "html", "md": "markdown", "json": "json", "text": "text"}
_EXTENSIONS = {"html": ".html", "md": ".md", "json": ".json", "text": ".txt"}


class UnclearOutput(ValueError):
    """The options do not say what is to be written where."""


@dataclass(frozen=True, slots=True)
class Output:
    """One rendered result."""

    format: str
    path: Path | None
    """``None``: standard output."""


def plan(
    run: str, files: Sequence[str], formats: Sequence[str], *, quiet: bool = False
) -> tuple[Output, ...]:
    """What is to be written where; raises :class:`UnclearOutput`."""
    outputs: list[Output] = []
    unnamed: list[str] = []
    for file in files:
        known = SUFFIXES.get(Path(file).suffix.lower())
        if file == "-" or known is None:
            unnamed.append(file)
        else:
            outputs.append(Output(known, Path(file)))
    written = {output.format for output in outputs}
    left = [f for f in dict.fromkeys(formats) if f not in written]
    if unnamed:
        outputs.append(_named(unnamed, left))
        left = []
    if formats:
        outputs += _by_format(run, left)
    elif not unnamed:
        outputs += [] if quiet else [Output("text", None)]
        outputs += [] if files else [Output("html", default_path(run, "html"))]
    return tuple(outputs)


def _named(files: Sequence[str], left: Sequence[str]) -> Output:
    """The output whose name does not say its format."""
    if len(files) > 1:
        raise UnclearOutput(f"-o {files[1]}: only one output can go without a known suffix")
    file = files[0]
    if len(left) > 1:
        raise UnclearOutput(f"-o {file}: which of --format {', '.join(left)} is it?")
    if file == "-":
        return Output(left[0] if left else "text", None)
    if not left:
        known = ", ".join(SUFFIXES)
        raise UnclearOutput(f"-o {file}: say the format by its suffix ({known}) or with --format")
    return Output(left[0], Path(file))


def plan_one(file: str | None, format_name: str | None, known: Sequence[str]) -> Output:
    """Where the only output goes, and in which of the ``known`` formats.

    Raises :class:`UnclearOutput` for a suffix that says another format, or none where none is
    given.
    """
    if file is None or file == "-":
        return Output(format_name or "text", None)
    said = {**SUFFIXES, ".csv": "csv"}.get(Path(file).suffix.lower())
    if format_name is None and said not in known:
        raise UnclearOutput(f"-o {file}: say the format with --format ({', '.join(known)})")
    return Output(format_name or said or "text", Path(file))


def _by_format(run: str, formats: Sequence[str]) -> list[Output]:
    """Where formats without a file of their own go."""
    alone = len(formats) == 1 and formats[0] != "html"
    return [Output(f, None if alone or f == "text" else default_path(run, f)) for f in formats]


def default_path(run: str, format_name: str) -> Path:
    """``reports/<run>.<suffix>`` under the current directory."""
    name = re.sub(r"[^\w.+-]", "_", Path(os.path.realpath(run)).name).strip(".") or "run"
    return Path("reports") / (name + _EXTENSIONS[format_name])


def refuse_to_replace_evidence(outputs: Sequence[Output], run: str) -> None:
    """Raise :class:`UnclearOutput` for a file of the run that is no report of ours."""
    # Path.resolve raises for a link that leads to itself; realpath gives the link.
    root = Path(os.path.realpath(run))
    for output in outputs:
        if output.path is None or not output.path.is_file():
            continue
        target = output.path.resolve()
        if (target == root or root in target.parents) and not is_ours(target):
            raise UnclearOutput(f"-o {output.path}: would replace a file of the run")


def is_ours(path: Path) -> bool:
    """Whether a file is a report of ours, which may be replaced."""
    try:
        with open(path, "rb") as file:
            return is_own_report(file.read(1024))
    except OSError:
        return False


def render(
    autopsy: Autopsy,
    format_name: str,
    *,
    width: int | None = None,
    height: int | None = None,
    color: bool = False,
    language: Language = ENGLISH,
) -> str:
    """The result in one format; ``width``, ``height`` and ``color`` are for text alone.

    JSON is for machines and stays English.
    """
    renderer = import_module(f"nanautopsy.render.{_MODULES[format_name]}")
    if format_name == "json":
        text: str = renderer.render(autopsy)
        return text
    autopsy = translated(autopsy, language)
    if format_name == "text":
        text = renderer.render(autopsy, width=width, height=height, color=color, language=language)
    else:
        text = renderer.render(autopsy, language=language)
    return text


def write_file(path: Path, text: str) -> None:
    """Put ``text`` into ``path`` as a whole or not at all; directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        path.write_bytes(text.encode("utf-8"))
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
