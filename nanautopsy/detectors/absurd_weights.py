"""Weights that no initializer and no update gives: absurd magnitudes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from statistics import median_low

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import is_mask, parameter_name, weights
from nanautopsy.checkpoints.lineages import in_order, lineages
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Checkpoint, Finding, Run, Source, TensorHealth
from nanautopsy.signal import shown
from nanautopsy.wording import counted, phrase


def _detect(run: Run) -> Iterator[Finding]:
    yield from _of_the_first(run)
    for line in lineages([c for c in run.checkpoints if weights(c)]):
        for before, after in pairwise(line):
            finding = _flipped(before, after)
            if finding is not None:
                yield finding
                return


def _flipped(before: Checkpoint, after: Checkpoint) -> Finding | None:
    """A weight of which a few elements are absurd that were ordinary in the checkpoint before."""
    known = {t.name: t.max_abs for t in weights(before)}
    grown = [t.name for t in weights(after) if _grew(known.get(t.name), t.max_abs)]
    if len(grown) > 1:
        return None  # an update did it: what one bit did to one weight leaves the others alone
    for tensor in weights(after):
        was, few = known.get(tensor.name), _dominating(tensor)
        if not was or not tensor.max_abs or few is None or is_mask(tensor):
            continue
        if tensor.max_abs >= thresholds.ABSURD_WEIGHT * was and few <= thresholds.HANDFUL:
            return Finding(
                id="flipped-weight",
                text=phrase(
                    "{tensor} reaches {max_abs} in {path}, and {was} in {earlier}{count}",
                    tensor=tensor.name,
                    max_abs=shown(tensor.max_abs),
                    path=after.path,
                    was=shown(was),
                    earlier=before.path,
                    count=counted(
                        few, ", about 1 element of that size", ", about {n} elements of that size"
                    ),
                ),
                source=Source(after.path, tensor=tensor.name),
                step=after.step,
                last_good=before.step,
                layer=parameter_name(tensor),
                data={"path": after.path},
            )
    return None


_BASE = re.compile(
    r"(?:^|/)(?:base|pretrained|foundation|initial|init|source|start)(?:[/._-]|$)", re.I
)
"""Names of what a run starts from, which says no step."""


def _grew(was: float | None, now: float | None) -> bool:
    """Whether a largest magnitude rose as no sound stretch of training raises it."""
    return bool(was and now) and now >= thresholds.WEIGHTS_EXPLODE * was  # type: ignore[operator]


def _of_the_first(run: Run) -> Iterator[Finding]:
    """Of what the run started from: a model that is called so, or its own first save."""
    measured = [c for c in run.checkpoints if weights(c)]
    bases = [replace(c, step=0) for c in measured if c.step is None and _BASE.search(c.path)]
    for first in (*bases, *in_order(measured)[:1]):
        found = list(_absurd(run, first))
        if found:
            yield from found
            return


def _absurd(run: Run, first: Checkpoint) -> Iterator[Finding]:
    matrices = [t for t in weights(first) if len(t.shape) >= 2 and t.max_abs and not is_mask(t)]
    if len(matrices) < 2:
        return
    # The lower of two middle ones: of a small model half of the weights may be hit.
    usual = median_low(t.max_abs or 0.0 for t in matrices)
    limit = thresholds.ABSURD_WEIGHT * usual
    if first.step == 0:
        # Of an adapter every tensor may be hit; no initializer gives what cannot be squared.
        limit = min(limit, thresholds.FLOAT32_SQUARE_MAX)
    absurd = [t for t in matrices if (t.max_abs or 0.0) >= limit]
    if first.step == 0 and not absurd:
        vectors = [t for t in weights(first) if len(t.shape) == 1 and not is_mask(t)]
        absurd = [t for t in vectors if (t.max_abs or 0.0) >= thresholds.FLOAT32_SQUARE_MAX]
    for tensor in sorted(absurd, key=lambda t: -(t.max_abs or 0.0))[:1]:
        few = _dominating(tensor)
        count = ""
        if few is not None:
            count = counted(
                few, ", about 1 element of that size", ", about {n} elements of that size"
            )
        yield Finding(
            id="absurd-weight",
            text=_told(tensor, first, usual if usual < limit else None, count),
            source=Source(tensor.path, tensor=tensor.name),
            step=first.step,
            layer=parameter_name(tensor),
            data={
                "tensors": tuple(parameter_name(t) for t in absurd),
                # A bit that flips, or a page that is lost, leaves the other tensors as they were.
                "few": len(absurd) < len(matrices)
                and few is not None
                and few <= thresholds.HANDFUL
                and not _is_garbage(tensor),
                "grown": any(_gained(tensor, other, usual) for other in run.checkpoints),
                "garbage": _is_garbage(tensor) or _is_past_scaling(tensor, usual),
                "one_count": len(absurd) > 1 and len({t.shape[0] for t in absurd}) == 1,
            },
        )


def _told(tensor: TensorHealth, first: Checkpoint, usual: float | None, count: str) -> str:
    """``usual``: what the other weights reach; ``None`` where they are as absurd."""
    name, largest = tensor.name, shown(tensor.max_abs or 0.0)
    if usual is None:
        return phrase(
            "{tensor} reaches {max_abs} in {path}, before training{count}",
            tensor=name,
            max_abs=largest,
            path=first.path,
            count=count,
        )
    return phrase(
        "{tensor} reaches {max_abs} in {path}, where the weights reach {usual} (median){count}",
        tensor=name,
        max_abs=largest,
        path=first.path,
        usual=shown(usual),
        count=count,
    )


def _gained(tensor: TensorHealth, other: Checkpoint, usual: float) -> bool:
    """Whether another checkpoint holds it with fewer rows, or columns, and ordinary."""
    for smaller in weights(other):
        if smaller.name == tensor.name and len(smaller.shape) == len(tensor.shape):
            fewer = [a - b for a, b in zip(tensor.shape, smaller.shape, strict=True) if a != b]
            ordinary = (smaller.max_abs or 0.0) < thresholds.ABSURD_WEIGHT * usual
            if len(fewer) == 1 and fewer[0] > 0 and ordinary and not smaller.nonfinite:
                return True
    return False


def _is_garbage(tensor: TensorHealth) -> bool:
    """Whether absurdly small numbers stand beside the absurdly large: memory that nothing filled
    holds addresses and counts, and a flipped bit leaves the others as they were."""
    tiny = tensor.min_abs is not None and 0 < tensor.min_abs < 1 / thresholds.ABSURD_WEIGHT**3
    return tiny or (tensor.subnormal or 0) > 0


def _is_past_scaling(tensor: TensorHealth, usual: float) -> bool:
    """Whether no scale that was left out, and no format that was read as another, gives it."""
    return (tensor.max_abs or 0.0) >= thresholds.ABSURD_WEIGHT**2 * usual


def _dominating(tensor: TensorHealth) -> int | None:
    """How many elements of the largest magnitude would give the tensor's root mean square."""
    if tensor.rms is None or not tensor.max_abs:
        return None
    return max(1, round(tensor.numel * (tensor.rms / tensor.max_abs) ** 2))


DETECTOR = Detector("absurd-weights", _detect)
