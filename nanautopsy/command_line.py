"""The settings that a launch command states, as if they stood in a file."""

from __future__ import annotations

import re
import shlex

from nanautopsy.model import Scalar

_MOST_WORDS = 10_000
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", re.DOTALL)
_ASSIGNED = re.compile(r"\+{0,2}([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
"""Hydra's and OmegaConf's overrides: ``trainer.precision=bf16-mixed``."""
_NEGATIVE = re.compile(r"-\.?\d")


def settings_in(command: str) -> dict[str, Scalar]:
    """``--lr 1e-4 --fp16 optimizer.eps=1e-6`` to ``{"lr": "1e-4", "fp16": True, ...}``.

    An option without a value is a flag that is set; ``--no-x`` sets ``x`` to false. The last of
    several counts, as it does for argparse.
    """
    words = _words(command)
    settings: dict[str, Scalar] = {}
    for i, word in enumerate(words):
        option = _OPTION.fullmatch(word)
        if option is None or _NEGATIVE.match(word):
            assigned = _ASSIGNED.fullmatch(word)
            if assigned is not None:
                settings[assigned[1]] = assigned[2]
            continue
        name, value = option[1].replace("-", "_"), option[2]
        following = words[i + 1] if i + 1 < len(words) else "-"
        if value is not None:
            settings[name] = value
        elif not following.startswith("-") or _NEGATIVE.match(following):
            settings[name] = following
        elif name.startswith("no_"):
            settings[name.removeprefix("no_")] = False
        else:
            settings[name] = True
    return settings


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command[: 100 * _MOST_WORDS])[:_MOST_WORDS]
    except ValueError:
        # An open quotation mark: the command was cut, or was never quoted.
        return command.split()[:_MOST_WORDS]
