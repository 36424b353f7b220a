"""A model that lies beside the run, and whose weights are not those that the run began with.

A loader matches tensors by their names. Where the run's first checkpoint has the same tensors under
another prefix, and other numbers in them, none of them was found and each was made anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import weights
from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.detectors.load_report import tail_of
from nanautopsy.model import Checkpoint, Finding, Run, Source, TensorHealth
from nanautopsy.wording import phrase


def base_weights(run: Run) -> Iterator[Finding]:
    """Of a checkpoint from before training and each model that says no step."""
    rows = [int(s.steps[0]) for s in run.by_role("loss", "grad_norm") if len(s)]
    until = min(rows, default=1)
    saved = [c for c in in_order(run.checkpoints) if c.step is not None and weights(c)]
    started = [c for c in saved if c.step == 0 or (c.step or 0) < until]
    for base in run.checkpoints if started else ():
        if base.step is None and weights(base):
            yield from _compare(started[0], base)


def _compare(first: Checkpoint, base: Checkpoint) -> Iterator[Finding]:
    own = {t.name: t for t in weights(first)}
    given = {t.name: t for t in weights(base)}
    if len(own.keys() & given.keys()) > (1 - thresholds.CORE_SHARE_NEW) * len(own):
        return
    renamed = dict(_renamed(own, given))
    other = [n for n, old in renamed.items() if not _same_numbers(own[n], given[old])]
    if len(other) < max(2, thresholds.CORE_SHARE_NEW * len(own)):
        return
    yield Finding(
        id="base-renamed",
        text=phrase(
            "{path} holds {count} of the {total} tensors of {first} under other names ({old} for "
            "{new}), with other numbers: they were not loaded",
            path=base.path,
            count=len(other),
            total=len(own),
            first=first.path,
            old=renamed[other[0]],
            new=other[0],
        ),
        source=Source(own[other[0]].path, tensor=other[0]),
        step=first.step,
        layer=other[0],
        data={"tensors": tuple(other)},
    )


def _renamed(
    own: Mapping[str, TensorHealth], given: Mapping[str, TensorHealth]
) -> Iterator[tuple[str, str]]:
    """Tensors of the same end of the name, and the same shape, that another name has."""
    ends = {tail_of(name): name for name in given if name not in own}
    for name, tensor in own.items():
        old = None if name in given else ends.get(tail_of(name))
        if old is not None and given[old].shape == tensor.shape:
            yield name, old


def _same_numbers(one: TensorHealth, other: TensorHealth) -> bool:
    """Whether they may hold the same, as measured; another format rounds."""
    if one.nonfinite or other.nonfinite:
        return one.nonfinite == other.nonfinite
    return math.isclose(one.max_abs or 0.0, other.max_abs or 0.0, rel_tol=1e-2)


DETECTOR = Detector("base-weights", base_weights)
