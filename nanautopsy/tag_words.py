"""The words of a metric's tag, and those that name a quantity of tensors."""

from __future__ import annotations

import re
from functools import lru_cache

from nanautopsy.readers.text.foreign_words import in_english

_WORD = re.compile(r"[lL][12](?![a-z0-9])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

GRADIENT = frozenset(
    {"grad", "grads", "gradient", "gradients", "gnorm", "gnorms", "gradnorm", "gradnorms"}
)
PARAMETER = frozenset({"param", "params", "parameter", "parameters", "weight", "weights"})
ACTIVATION = frozenset({"act", "acts", "activation", "activations", "hidden", "output", "outputs"})
AMBIGUOUS = frozenset({"hidden", "output", "outputs"})
"""Words for an activation that stand in other names too: only beside a statistic."""
ATTENTION = frozenset({"attn", "attention", "qk"})
LOGIT = frozenset({"logit", "logits", "score", "scores", "entropy"})
STATISTIC = frozenset(
    {"norm", "norms", "l2", "max", "min", "abs", "absmax", "rms", "std", "mean", "amax", "total"}
    | {"global", "count", "nonfinite", "var", "hist", "histogram", "stddev", "summaries"}
)
FAMILY = frozenset(
    {"train", "training", "debug", "stats", "monitor", "diag", "diagnostics", "watch"}
)
OWN_NAMES = frozenset(
    {"weight", "weights", "bias", "biases", "kernel", "scale", "output", "hidden"}
)
"""Words for a quantity that also end the names of parameters and modules."""


@lru_cache(maxsize=8192)
def words(tag: str) -> tuple[str, ...]:
    """The lower-case words of a tag: ``Train/Samples/gradNorm_2`` gives train samples grad ..."""
    return tuple(word.lower() for word in _WORD.findall(in_english(tag)))
