"""What changed from one checkpoint to another: tensor by tensor, then element by element.

Both sides are measured in full; where a tensor has the same format and shape on both and lies row
by row in its files, its elements are compared too, in blocks of fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nanautopsy.checkpoints.damage import constant_infinities, damaged, damaged_moments
from nanautopsy.checkpoints.examine import Progress, size_of
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.optimizer_names import name_moments
from nanautopsy.checkpoints.stored import StoredCheckpoint, StoredTensor
from nanautopsy.element_diff import ElementDiff, compare_elements
from nanautopsy.layers import forward_key
from nanautopsy.model import Checkpoint, Problem, TensorHealth

_WRAPPERS = ("module.", "_orig_mod.", "_forward_module.")
"""What data parallelism, torch.compile and Lightning's strategies put before every name."""


class Unclear(ValueError):
    """It is not clear which checkpoints are to be compared; the text says why."""


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """One tensor before and after."""

    name: str
    """As it is called after; before, when it is there only."""
    before: TensorHealth | None
    """``None``: it was not there."""
    after: TensorHealth | None
    """``None``: it is not there any more."""
    elements: ElementDiff | None = None
    why_not: str = ""
    """Why the elements were not compared, where the tensor is on both sides."""

    @property
    def reshaped(self) -> bool:
        """Whether shape or number format differ."""
        if self.before is None or self.after is None:
            return False
        return (self.before.shape, self.before.dtype) != (self.after.shape, self.after.dtype)

    @property
    def identical(self) -> bool:
        """Whether every element was compared and is the same."""
        return self.elements is not None and self.elements.differing == 0

    @property
    def turned(self) -> bool:
        """Finite before, non-finite after."""
        both = self.before is not None and self.after is not None
        return both and self.before.nonfinite == 0 < self.after.nonfinite  # type: ignore[union-attr]

    @property
    def healed(self) -> bool:
        """Non-finite before, finite after."""
        both = self.before is not None and self.after is not None
        return both and self.after.nonfinite == 0 < self.before.nonfinite  # type: ignore[union-attr]

    @property
    def growth(self) -> float | None:
        """Largest magnitude after over that before; ``None`` where either is zero or unknown."""
        return self._ratio("max_abs")

    @property
    def rms_growth(self) -> float | None:
        """The same of the root mean square."""
        return self._ratio("rms")

    def _ratio(self, field: str) -> float | None:
        before, after = getattr(self.before, field, None), getattr(self.after, field, None)
        return after / before if before and after else None


@dataclass(frozen=True, slots=True)
class CheckpointDiff:
    """Everything that is on either side, in forward order."""

    before: tuple[str, ...]
    """Paths of the earlier checkpoint's artifacts."""
    after: tuple[str, ...]
    tensors: tuple[TensorDiff, ...]
    damage: tuple[str, ...] = ()
    """Names of the tensors that are damaged after: non-finite, and no masks."""
    problems: tuple[Problem, ...] = ()

    @property
    def only_before(self) -> tuple[TensorDiff, ...]:
        """Tensors that are gone."""
        return tuple(t for t in self.tensors if t.after is None)

    @property
    def only_after(self) -> tuple[TensorDiff, ...]:
        """Tensors that are new."""
        return tuple(t for t in self.tensors if t.before is None)

    @property
    def turned(self) -> tuple[TensorDiff, ...]:
        """Tensors that turned non-finite."""
        return tuple(t for t in self.tensors if t.turned)


def compare(
    before: Sequence[StoredCheckpoint],
    after: Sequence[StoredCheckpoint],
    progress: Progress | None = None,
) -> CheckpointDiff:
    """Measure and compare both sides. Raises :class:`Unclear` for a side that is a history."""
    for side in (before, after):
        several = next((line for line in lineages(side) if len(line) > 1), None)
        if several is not None:
            ends = f"{several[0].path} to {several[-1].path}"
            raise Unclear(f"{len(several)} checkpoints on one side ({ends}): name one of them")
    before, after = name_moments(before), name_moments(after)
    advance = _announce(progress, (*before, *after))
    old, new = _by_name(before), _by_name(after)
    problems: list[Problem] = []
    old_health = _measured(old, problems, advance)
    new_health = _measured(new, problems, advance)
    lost = {_bare(name) for side in (before, after) for c in side for name in c.missing}
    lost |= (old.keys() - old_health.keys()) | (new.keys() - new_health.keys())
    tensors = []
    for name in sorted({*old, *new}, key=forward_key):
        # A tensor that could not be read is a problem already, and neither new nor gone.
        if name in lost:
            continue
        elements, why_not = compare_elements(old.get(name), new.get(name))
        label = (new.get(name) or old[name]).name
        health = old_health.get(name), new_health.get(name)
        tensors.append(TensorDiff(label, *health, elements, why_not))
    return CheckpointDiff(
        before=tuple(c.path for c in before),
        after=tuple(c.path for c in after),
        tensors=tuple(tensors),
        damage=_damage(tensors),
        problems=tuple(problems),
    )


def _damage(tensors: Sequence[TensorDiff]) -> tuple[str, ...]:
    sides = [
        Checkpoint("", "", None, tuple(health for health in side if health is not None))
        for side in ([t.before for t in tensors], [t.after for t in tensors])
    ]
    by_design = constant_infinities(sides)
    bad = {t.name for t in (*damaged(sides[1]), *damaged_moments(sides[1]))} - by_design
    return tuple(tensor.name for tensor in tensors if tensor.name in bad)


def _announce(
    progress: Progress | None, checkpoints: Sequence[StoredCheckpoint]
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    progress.begin(checkpoints[-1].path if checkpoints else "", sum(map(size_of, checkpoints)))
    return progress.advance


def _by_name(checkpoints: Sequence[StoredCheckpoint]) -> dict[str, StoredTensor]:
    """The tensors by name without wrappers; of two with one name the weights' one."""
    weights_first = sorted(checkpoints, key=lambda c: c.holds != "model")
    found: dict[str, StoredTensor] = {}
    for checkpoint in weights_first:
        for tensor in checkpoint.tensors:
            found.setdefault(_bare(tensor.name), tensor)
    return found


def _bare(name: str) -> str:
    while wrapper := next((w for w in _WRAPPERS if name.startswith(w)), ""):
        name = name.removeprefix(wrapper)
    return name


def _measured(
    tensors: dict[str, StoredTensor],
    problems: list[Problem],
    advance: Callable[[int], None] | None,
) -> dict[str, TensorHealth]:
    names = {tensor.name: name for name, tensor in tensors.items()}
    healths = {}
    for result in measure_all(list(tensors.values()), "full", advance):
        if isinstance(result, Problem):
            problems.append(result)
        else:
            healths[names[result.name]] = result
    return healths
