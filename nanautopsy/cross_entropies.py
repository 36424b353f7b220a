"""Whether what a run minimizes is a cross-entropy over classes, which no line need say."""

from __future__ import annotations

import math
import re

from nanautopsy import thresholds
from nanautopsy.model import Checkpoint, Run
from nanautopsy.roles import words

_OF_CLASSES = frozenset(
    "acc accuracy top1 top5 ce xent nll crossentropy ppl perplexity f1 auc bce".split()
)
"""Words of metrics that stand beside such a loss, or are its name."""
_HEAD = re.compile(
    r"(?:^|[./])(?:\w*head|out(?:put)?|out_?proj|classifier|fc_?out|logits?|score|cls|proj_?out)"
    r"[./](?:weight|kernel|w)$",
    re.IGNORECASE,
)
"""Names of the last matrix, of shape (classes, width), or (width, classes) as ``kernel``."""


def is_cross_entropy(run: Run) -> bool:
    """By the name of the loss or of a metric beside it, or because the loss begins at chance: at
    the logarithm of the number of classes that the last matrix has."""
    if any(not _OF_CLASSES.isdisjoint(words(series.tag)) for series in run.series):
        return True
    chances = {math.log(n) for c in run.checkpoints[:1] for n in _classes(c) if n > 1}
    return any(
        abs(float(series.values[0]) - chance) <= thresholds.AT_CHANCE * chance
        for series in run.by_role("loss")
        if len(series) and series.axis == "step" and series.steps[0] <= thresholds.FIRST_STEPS
        for chance in chances
    )


def _classes(checkpoint: Checkpoint) -> list[int]:
    """What the shapes of the last matrix give; several where two bear such a name."""
    heads = [t for t in checkpoint.tensors if len(t.shape) == 2 and _HEAD.search(t.name)]
    return [t.shape[-1 if t.name.lower().endswith("kernel") else 0] for t in heads]
