"""What grew from one sound checkpoint of a lineage to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanautopsy.checkpoints.damage import damaged, is_mask, weights
from nanautopsy.model import Checkpoint, TensorHealth


@dataclass(frozen=True, slots=True)
class Growth:
    """One weight over the sound checkpoints in which it was measured, earliest first."""

    name: str
    checkpoints: tuple[Checkpoint, ...]
    healths: tuple[TensorHealth, ...]
    """One for each of ``checkpoints``."""

    @property
    def ratio(self) -> float:
        """Last largest magnitude over the first; 1 where either is zero."""
        first, last = self.healths[0].max_abs, self.healths[-1].max_abs
        return last / first if first and last else 1.0


def growth(line: Sequence[Checkpoint]) -> list[Growth]:
    """Every weight that is in the first and the last sound checkpoint, most grown first.

    ``line``: a lineage in order; what comes after its first damaged member is left out.
    """
    sound = _before_damage(line)
    if len(sound) < 2:
        return []
    places: dict[str, list[tuple[Checkpoint, TensorHealth]]] = {}
    for checkpoint in sound:
        for tensor in weights(checkpoint):
            if tensor.max_abs is not None and not is_mask(tensor):
                places.setdefault(tensor.name, []).append((checkpoint, tensor))
    grown = [
        Growth(name, tuple(c for c, _ in seen), tuple(t for _, t in seen))
        for name, seen in places.items()
        if seen[0][0] is sound[0] and seen[-1][0] is sound[-1]
    ]
    return sorted(grown, key=lambda one: (-one.ratio, one.name))


def _before_damage(line: Sequence[Checkpoint]) -> list[Checkpoint]:
    sound = []
    for checkpoint in line:
        if checkpoint.depth is None:
            continue
        if damaged(checkpoint):
            break
        sound.append(checkpoint)
    return sound
