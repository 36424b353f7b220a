"""Copies of one model that every rank saved, equal bit by bit, until one of them is damaged.

Replicas (data parallel, no sharding) compute the same update from the same reduced gradient: a bad
batch of one rank reaches all of them with the next reduction. What one copy alone holds came from
its own device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Checkpoint, Finding, Run
from nanautopsy.wording import counted, phrase

_RANK = re.compile(r"(?i)(?<![a-z])((?:rank|gpu|replica|worker)[-_]?)(\d+)(?!\d)")
_STEP = re.compile(r"\d+")
_FEWEST = 2
"""Weights that have to agree: a single one may be a constant."""

_Saves = dict[int, dict[int, Checkpoint]]
"""Step -> rank -> its copy, of those that were measured."""


def _detect(run: Run) -> Iterator[Finding]:
    for saves in _replicas(run).values():
        finding = _parted(saves)
        if finding is not None:
            yield finding
            return


def _replicas(run: Run) -> Mapping[str, _Saves]:
    """By path without its rank and its numbers."""
    found: dict[str, _Saves] = {}
    for checkpoint in run.checkpoints:
        rank = _RANK.search(checkpoint.path)
        if rank is None or checkpoint.step is None or not weights(checkpoint):
            continue
        path = _STEP.sub("#", _RANK.sub(r"\1", checkpoint.path))
        found.setdefault(path, {}).setdefault(checkpoint.step, {})[int(rank[2])] = checkpoint
    return found


def _parted(saves: _Saves) -> Finding | None:
    equal: int | None = None
    for step, copies in sorted(saves.items()):
        bad = [rank for rank, copy in copies.items() if damaged(copy)]
        if not bad and _agree(copies):
            equal = step
        elif equal is not None and len(bad) == 1 and set(copies) == set(saves[equal]):
            first = damaged(copies[bad[0]])[0]
            return Finding(
                id="replicas-differ",
                text=phrase(
                    "{path} is damaged, while {others}; all were equal at step {step}",
                    path=copies[bad[0]].path,
                    others=counted(
                        len(copies) - 1,
                        "the copy of the other rank is sound",
                        "the copies of the other {n} ranks are sound",
                    ),
                    step=equal,
                ),
                source=first.at(),
                step=step,
                last_good=equal,
                data={"rank": bad[0]},
            )
    return None


def _agree(copies: Mapping[int, Checkpoint]) -> bool:
    """Whether two ranks or more hold the same weights, told by each one's largest magnitude and
    root mean square: equal for none of the parts of a model that was sharded."""
    marks = [
        {t.name: (t.shape, t.max_abs, t.rms) for t in weights(copy)} for copy in copies.values()
    ]
    return len(marks) > 1 and len(marks[0]) >= _FEWEST and all(m == marks[0] for m in marks[1:])


DETECTOR = Detector("replica-checkpoints", _detect)
