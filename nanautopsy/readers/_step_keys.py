"""Which field of a row counts its step, and which metric names make a file a log of training.

Precedence, highest first; within a rank the first field of the row wins:

1. an optimizer-step counter by name: ``global_step``, ``trainer/global_step``,
   ``global_step/max_steps`` (ms-swift's ``"12/800"``), ``num_updates``
2. ``step``, ``iteration``, ``iter``, ``current_steps``, ``train_step``, ``update``, ...
3. ``_step``: the tracker's own row counter
4. ``total_timesteps``, ``frame``, ``episode`` and the like, of reinforcement learning
5. ``batch``, unless there are epochs, in which it would start again
6. samples seen (axis ``samples``), then whole epochs (axis ``epoch``)
7. ``t``, ``i``, ``k`` and ``s``, which hand-written loops count with

Without any of them the rows are counted (axis ``record``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

from nanautopsy.model import Axis
from nanautopsy.readers._json_numbers import number_of
from nanautopsy.readers.text.words import counter_kind, is_metric, is_objective

_TIMESTEPS = re.compile(
    r"(?:time/)?(?:total_|num_|env_)?(?:timesteps?|frames?)(?:_total)?|(?:total_)?env_steps?",
    re.IGNORECASE,
)
_SAMPLES = re.compile(
    r"(?:train/|global_|consumed_|n_|num_|total_)*(?:samples|examples)(?:_seen)?", re.IGNORECASE
)
_TERSE = frozenset("tiks")
_FRACTION = re.compile(r"\s*(\d{1,15})\s*/\s*\d+\s*")
_LARGEST_STEP = 2**53
_RANK_IN_NAME = re.compile(
    r"(?:^|[._/-])rank[-_]?(\d{1,6})(?=[._/-]|$)"
    r"|(?:^|/)attempt_\d+/(\d{1,6})/(?:stdout|stderr)\.log$",
    re.IGNORECASE,
)
"""``metrics_rank3.jsonl``, ``rank_3/train.log``, and torchrun's ``--log-dir``."""


@lru_cache(maxsize=4096)
def _rank(name: str) -> int | None:
    """Precedence of a field as a counter; ``None`` when it is none."""
    kind = counter_kind(name)
    if kind == "global" or name.lower() in ("global_step/max_steps", "num_updates"):
        return 1
    if kind == "step":
        return 3 if name.startswith("_") else 2
    if kind == "episode" or _TIMESTEPS.fullmatch(name):
        return 4
    if kind == "batch":
        return 5
    if _SAMPLES.fullmatch(name):
        return 6
    if kind == "epoch":
        return 7
    return 8 if name in _TERSE else None


def axis_of(name: str) -> Axis:
    """What the values of a counter count."""
    rank = _rank(name)
    if rank is None:
        return "record"
    return "epoch" if rank == 7 else "samples" if rank == 6 else "step"


def step_key(names: Iterable[str]) -> str | None:
    """The field that counts steps, samples or epochs, by the precedence above."""
    best: tuple[int, str] | None = None
    ranked = [(rank, name) for name in names if (rank := _rank(name)) is not None]
    has_epochs = any(rank == 7 for rank, _ in ranked)
    for rank, name in ranked:
        if rank == 5 and has_epochs:
            continue
        if best is None or rank < best[0]:
            best = (rank, name)
    return None if best is None else best[1]


def step_number(value: object) -> int | None:
    """The count that a field holds: 12, 12.0, ``"12"``, ``"12/800"``; ``None`` for 0.16."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        fraction = _FRACTION.fullmatch(value)
        if fraction is not None:
            return int(fraction[1])
    number = number_of(value)
    if number is None or not math.isfinite(number) or abs(number) > _LARGEST_STEP:
        return None
    return int(number) if number == int(number) else None


def is_training_log(names: Iterable[str]) -> bool:
    """Whether fields of these names make a row of training metrics, not of data or results.

    That is a metric beside a counter with a name, or a loss: a ``score`` alone may be anything.
    """
    names = [name for name in names if name not in _TERSE]
    metrics = [name for name in names if is_metric(name) and _rank(name) is None]
    if step_key(names) is None:
        metrics = [name for name in metrics if is_objective(name)]
    return bool(metrics)


_RANK_IN_TAG = re.compile(
    r"(?:^|[/_.\-\s])(?:global_?)?rank[_\-.\s]?(\d{1,6})(?=$|[/_.\-\s])", re.I
)


def rank_of_tag(tag: str) -> tuple[str, int] | None:
    """What is left of ``loss/rank1`` without its rank, and the rank; ``None`` without one."""
    found = _RANK_IN_TAG.search(tag)
    if found is None:
        return None
    return tag[: found.start()] + tag[found.end() :], int(found[1])


def rank_in_name(path: str) -> int | None:
    """The rank that the name of a file, or of the directory nearest to it, states."""
    found = next(reversed(list(_RANK_IN_NAME.finditer(path))), None)
    return None if found is None else int(found[1] or found[2])
