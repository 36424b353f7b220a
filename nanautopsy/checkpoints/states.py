"""The numbers that a run's checkpoints state beside their tensors, over steps."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from nanautopsy.model import Checkpoint, Series, SeriesRole, Source


def state_series(checkpoints: Sequence[Checkpoint], name: str, role: SeriesRole) -> Series | None:
    """State ``name`` at the steps of those that state it; ``None`` where none does."""
    stated: dict[int, tuple[float, str]] = {}
    for checkpoint in checkpoints:
        value = checkpoint.state.get(name, _scalar(checkpoint, name))
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if checkpoint.step is not None and number:
            stated.setdefault(checkpoint.step, (float(value or 0), checkpoint.path))
    if not stated:
        return None
    steps = sorted(stated)
    return Series(
        tag=f"{name} saved in the checkpoints",
        steps=np.array(steps, dtype=np.int64),
        values=np.array([stated[step][0] for step in steps], dtype=np.float64),
        source=Source(stated[steps[-1]][1]),
        role=role,
    )


def _scalar(checkpoint: Checkpoint, name: str) -> float | None:
    """A number that is saved as an array without a dimension: ``hyperparams/learning_rate`` of
    optax, ``optimizer/learning_rate`` of Keras. Only its magnitude is known."""
    found = {
        tensor.max_abs
        for tensor in checkpoint.tensors
        if tensor.numel == 1 and re.split(r"[/.]", tensor.name)[-1] == name
    }
    return found.pop() if len(found) == 1 else None
