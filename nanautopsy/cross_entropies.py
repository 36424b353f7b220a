"""Whether what a run minimizes is a cross-entropy over classes, which no line need say."""

from __future__ import annotations

import math
import re

from nanautopsy import thresholds
from nanautopsy.model import Checkpoint, Run, Series
from nanautopsy.tag_words import words

_OF_CLASSES = frozenset(
    "acc accuracy top1 top5 ce xent nll crossentropy ppl perplexity f1 auc bce".split()
)
"""Words of metrics that stand beside such a loss, or are its name."""
_NAMES = frozenset("ce xent crossentropy".split())
"""Names of the loss itself; a likelihood may be of densities, and summed over pixels."""
_GATES = re.compile(r"weight_[ih]h|(?:^|[._/])(?:qkv|in_proj|c_attn)", re.IGNORECASE)
"""Matrices whose rows are those of several, and no width."""
_COUNT = re.compile(
    r"(?:^|[._])(?:n(?:um)?_?(?:classes|labels|tokens|cls)|vocab(?:ulary)?_?size|n_?vocab)$",
    re.IGNORECASE,
)
"""Settings that say how many classes there are."""


def is_cross_entropy(run: Run) -> bool:
    """By the name of the loss or of a metric beside it, or because the loss begins at chance: at
    the logarithm of the number of classes that the weights have, or the settings state."""
    if any(not _OF_CLASSES.isdisjoint(words(series.tag)) for series in run.series):
        return True
    counts = {n for c in run.checkpoints[:1] for n in _classes(c)} | _stated(run)
    chances = {math.log(n) for n in counts if n > 1}
    return any(
        abs(float(series.values[0]) - chance) <= thresholds.AT_CHANCE * chance
        for series in run.by_role("loss")
        if len(series) and series.axis == "step" and series.steps[0] <= thresholds.FIRST_STEPS
        for chance in chances
    )


def absurd_at_first(run: Run) -> Series | None:
    """A cross-entropy that no update had touched, and that no initializer gives: logits of
    thousands. The weights as they were loaded, or the inputs, have that size."""
    for series in run.by_role("loss"):
        first = series.steps[0] <= 1 if len(series) else False
        if first and series.axis == "step" and not _NAMES.isdisjoint(words(series.tag)):
            if thresholds.FIRST_LOSS_MAX < series.values[0] < math.inf:
                return series
    return None


def _stated(run: Run) -> set[int]:
    """What the settings say."""
    values = (fact.value for key, fact in run.config.items() if _COUNT.search(key))
    return {int(n) for n in values if isinstance(n, (int, float)) and 1 < n < 1e7}


def _classes(checkpoint: Checkpoint) -> set[int]:
    """Widths that some matrix gives and none takes: the classes, or the vocabulary."""
    matrices = [t for t in checkpoint.tensors if len(t.shape) == 2 and not _GATES.search(t.name)]
    given, taken = set(), set()
    for tensor in matrices:
        first, last = tensor.shape
        flipped = tensor.name.lower().endswith("kernel")  # of shape (width, classes)
        given.add(last if flipped else first)
        taken.add(first if flipped else last)
    return given - taken
