"""What launches a run: shell and batch scripts, and the overrides that Hydra was given.

A script beside a run need not be the one that was used, and its variables may come from elsewhere:
what it says counts only where nothing else does, and an option whose value is not known is left
out. Hydra keeps its overrides as a list in ``.hydra/overrides.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.command_line import settings_in
from nanautopsy.model import (
    Artifact,
    Claim,
    ConfigRecord,
    FileHead,
    Record,
    Scalar,
    Skipped,
    Source,
)
from nanautopsy.readers import _yaml
from nanautopsy.readers._decode import decode_text
from nanautopsy.wording import phrase

_MOST_BYTES = 1 << 20
_MOST_COMMANDS = 20
_MOST_VALUE = 4096
"""Characters of a variable; some lines can make it double each time."""
_SCRIPT_NAME = re.compile(r".*\.(?:sh|bash|sbatch|slurm|pbs|qsub|lsf|job)", re.IGNORECASE)
_SHEBANG = re.compile(rb"#!\s*/(?:usr/)?bin/(?:env )?(?:ba|z|k|da)?sh\b")
_LAUNCH = re.compile(
    r"(?:^|[\s;&|(])(?:[A-Z_]+=\S+\s+)*((?:[\w./-]*/)?(?:python[\d.]*|torchrun|deepspeed|accelerate"
    r"|srun|mpirun|horovodrun|llamafactory-cli|swift|axolotl|tune|litgpt|fairseq-(?:hydra-)?train)"
    r"\s.*)"
)
_NOT_TRAINING = re.compile(r"\s-m (?:pip|venv|ensurepip)\b|\s-c\s|\s(?:setup|download\w*)\.py\b")
_ASSIGNED = re.compile(
    r"""\s*(?:export\s+|readonly\s+|local\s+)?([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;#]*)\s*;?\s*(?:\#.*)?"""
)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)(?::-([^}]*))?\}|([A-Za-z_]\w*))")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_UNKNOWN = "\ue000"
"""Stands for what the script alone does not tell."""


class LaunchReader:
    """Claims scripts that start a program, and Hydra's list."""

    name = "launch"

    def claim(self, file: FileHead) -> Claim | None:
        if file.path.endswith(".hydra/overrides.yaml"):
            return Claim("hydra-overrides", 80)
        if b"\0" in file.head or not file.size:
            return None
        if not (_SCRIPT_NAME.fullmatch(file.name) or _SHEBANG.match(file.head)):
            return None
        return Claim("launch-script", 60) if _commands(decode_text(file.head)) else None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """The settings of each command that starts a program with options."""
        if artifact.bytes > _MOST_BYTES:
            yield Skipped(
                phrase("{bytes} bytes is too much for a script; not parsed", bytes=artifact.bytes)
            )
            return
        text = decode_text(artifact.location.read_bytes())
        if artifact.kind == "hydra-overrides":
            settings = _overrides(text)
            if settings:
                yield ConfigRecord("command", settings, Source(artifact.path))
            else:
                yield Skipped(phrase("no override in it"))
            return
        found = False
        for line, command in _commands(text):
            known = {
                name: value
                for name, value in settings_in(command).items()
                if _UNKNOWN not in f"{name}{value}"
            }
            if known:
                found = True
                shown = " ".join(command.replace(_UNKNOWN, "...").split())[:500]
                source = Source(artifact.path, line=line, excerpt=shown)
                yield ConfigRecord("script", known, source)
        if not found:
            yield Skipped(phrase("no command with options in it"))


READER = LaunchReader()


def _overrides(text: str) -> dict[str, Scalar]:
    try:
        values = _yaml.load(text)
    except ValueError:
        return {}
    entries = [str(value) for value in values] if isinstance(values, list) else []
    settings: dict[str, Scalar] = {}
    for entry in entries:
        name, sign, value = entry.lstrip("+~").partition("=")
        if sign and name:
            settings[name] = value
    return settings


def _commands(text: str) -> list[tuple[int, str]]:
    """(line, command) of every line that starts a program, variables that are known filled in."""
    known: dict[str, str] = {}
    commands: list[tuple[int, str]] = []
    for number, line in _logical_lines(text):
        assigned = _ASSIGNED.fullmatch(line)
        if assigned is not None:
            known[assigned[1]] = _filled(assigned[2].strip("\"'"), known)[:_MOST_VALUE]
            continue
        launch = _LAUNCH.search(_COMMENT.sub("", line))
        if launch is not None and not _NOT_TRAINING.search(launch[1]):
            commands.append((number, _filled(launch[1], known).strip()))
    return commands[:_MOST_COMMANDS]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with those that they go on in; comments are none."""
    pending, first = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if not pending:
            first = number
        if line.rstrip().endswith("\\") and len(pending) < _MOST_BYTES:
            pending += line.rstrip()[:-1] + " "
            continue
        whole, pending = pending + line, ""
        if whole.strip() and not whole.lstrip().startswith("#"):
            yield first, whole
    if pending:
        yield first, pending


def _filled(text: str, known: dict[str, str]) -> str:
    """With the values of variables; what they come to is bounded, and the rest unknown."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return known.get(name, match[2] if match[2] else _UNKNOWN)

    filled = _VARIABLE.sub(value, text)[:_MOST_BYTES]
    return re.sub(r"\$[@*\d(]|`", _UNKNOWN, filled)
