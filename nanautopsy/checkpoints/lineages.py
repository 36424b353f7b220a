"""Which checkpoints are the same thing saved again and again, and in which order.

``checkpoint-100/model.safetensors`` and ``checkpoint-200/model.safetensors`` are one lineage, the
optimizer states beside them another; so are ``G_100.pth`` and ``D_100.pth``. Two checkpoints
belong together when their paths differ only in the numbers that count steps or epochs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.discover import natural_key
from nanautopsy.model import Checkpoint

AnyCheckpoint = TypeVar("AnyCheckpoint", StoredCheckpoint, Checkpoint)

_NUMBER = re.compile(r"\d+")
_EPOCH = re.compile(
    r"(?i)(?<![a-z])(epoch|ep|checkpoint|ckpt|chk|ck|cp|weights|snapshot|model|net|save|state|params|agent)([-_=.]?)"
    r"(\d+)(?:-\d+\.\d+(?=\.(?:weights|h5|hdf5|keras)))?"
)
"""A whole word and the number of a save: ``resnet50`` is a model. Keras puts the loss behind it."""
_SCORE = re.compile(
    r"(?i)[-_](?:(?:val|valid|train|test|eval)[-_]?)?(?:loss|acc|accuracy|f1|ppl|mse|score)"
    r"[-_=]\d+\.\d+(?!\w)"
)
"""What a save scored, as Lightning's names say."""


def lineages(checkpoints: Sequence[AnyCheckpoint]) -> list[list[AnyCheckpoint]]:
    """The checkpoints by lineage, each in order of step (of name, where nothing says a step)."""
    groups: dict[tuple[str, ...], list[AnyCheckpoint]] = {}
    for checkpoint in checkpoints:
        groups.setdefault(_key(checkpoint), []).append(checkpoint)
    return [sorted(group, key=_place) for group in groups.values()]


def in_order(checkpoints: Sequence[AnyCheckpoint]) -> list[AnyCheckpoint]:
    """By step; where some say their step, those that say none have no place and are left out."""
    with_step = [checkpoint for checkpoint in checkpoints if checkpoint.step is not None]
    return sorted(with_step or checkpoints, key=_place)


def ordered_ones(
    lines: Sequence[list[AnyCheckpoint]], is_bad: Callable[[list[AnyCheckpoint]], bool]
) -> list[list[AnyCheckpoint]]:
    """The bad lineages that say their steps; where none of these is bad, the others."""
    bad = [line for line in lines if is_bad(line)]
    return [line for line in bad if line[0].step is not None] or bad


def home(path: str) -> str:
    """The directory that a checkpoint's file lies in, or the checkpoint directory's own path."""
    name = path.rpartition("/")[2]
    return path.rpartition("/")[0] if "." in name else path


def _key(checkpoint: StoredCheckpoint | Checkpoint) -> tuple[str, ...]:
    step = checkpoint.step
    path = _SCORE.sub("", _EPOCH.sub(r"\1\2#", checkpoint.path))
    if step is not None:
        path = _NUMBER.sub(lambda match: "#" if int(match[0][:18]) == step else match[0], path)
    return checkpoint.kind, checkpoint.holds, path


def _place(
    checkpoint: StoredCheckpoint | Checkpoint,
) -> tuple[bool, int, int, tuple[tuple[int, int, str], ...]]:
    step, path = checkpoint.step, checkpoint.path
    return step is None, step or 0, _told_place(path) if step is None else 0, natural_key(path)


def _told_place(path: str) -> int:
    """-1 for what a run began with, 1 for what it ended with, by the words of the name."""
    have = {word.lower() for word in re.findall(r"[A-Za-z]+", path)}
    return int(bool(have & _LAST)) - int(bool(have & _FIRST))


_FIRST = frozenset("pretrained init initial initialized base source original start".split())
_LAST = frozenset("last final latest end finished".split())
