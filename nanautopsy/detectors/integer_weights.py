"""Weights that were stored as integers, and read as if they were the numbers themselves.

Quantizers scale each matrix, or row, so that its largest magnitude becomes the largest integer of
the format: 127 or 128 of eight bits, 7 or 8 of four, 255 and 15 where a zero point is kept aside.
Loaded without the scales, matrix after matrix reaches exactly that; of trained floats not one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import is_mask, weights
from nanautopsy.checkpoints.lineages import in_order
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Source
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_LARGEST = frozenset({7.0, 8.0, 15.0, 127.0, 128.0, 255.0})
_SEVERAL = 3
"""Matrices that reach the same whole number by no accident."""


def integer_weights(run: Run) -> Iterator[Finding]:
    """Most matrices of the first checkpoint reach the same largest integer."""
    for checkpoint in in_order([c for c in run.checkpoints if weights(c)])[:1]:
        matrices = [t for t in weights(checkpoint) if len(t.shape) >= 2 and not is_mask(t)]
        reached = Counter(t.max_abs for t in matrices if t.max_abs in _LARGEST)
        for largest, count in reached.most_common(1):
            if count < max(_SEVERAL, thresholds.CORE_SHARE_NEW * len(matrices)):
                continue
            example = next(t for t in matrices if t.max_abs == largest)
            yield Finding(
                id="integer-weights",
                text=phrase(
                    "{count} of {total} matrices in {path} reach exactly {largest}, as integers do "
                    "that are read without their scales",
                    count=count,
                    total=len(matrices),
                    path=checkpoint.path,
                    largest=shown(largest or 0.0),
                ),
                source=Source(example.path, tensor=example.name),
                step=checkpoint.step,
                data={
                    "largest": largest,
                    "count": count,
                    # Of floats of this size some percent lie below 1.
                    "whole": all(t.min_abs == 1.0 for t in matrices if t.max_abs == largest),
                },
            )


DETECTOR = Detector("integer-weights", integer_weights)
