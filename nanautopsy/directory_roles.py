"""Losses of an evaluation that only the name of their directory tells from those of training.

``SummaryWriter.add_scalars("loss", {"train": ..., "val": ...})`` writes the tag ``loss`` into the
directories ``loss_train`` and ``loss_val`` (torch.utils.tensorboard.writer); Keras' callback the
tag ``epoch_loss`` into ``train`` and ``validation``; TensorFlow's Estimator the tag ``loss`` into
the model's directory and, below it, ``eval``. People call directories of whole runs so, too:
a directory counts only beside its counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanautopsy.model import Series
from nanautopsy.roles import EVALUATION
from nanautopsy.tag_words import words

_TRAINING = frozenset({("train",), ("training",)})


def of_evaluation(series: Sequence[Series]) -> frozenset[tuple[str, str]]:
    """(path, tag) of the series that lie in the directory of an evaluation."""
    homes: dict[str, set[tuple[str, ...]]] = {}
    for one in series:
        homes.setdefault(one.tag, set()).add(_directories(one))
    return frozenset(
        (one.source.path, one.tag)
        for one in series
        if len(homes[one.tag]) > 1 and _is_evaluation(one, homes[one.tag])
    )


def _directories(one: Series) -> tuple[str, ...]:
    return tuple(one.source.path.split("/")[:-1])


def _is_evaluation(one: Series, homes: set[tuple[str, ...]]) -> bool:
    home = _directories(one)
    if not home:
        return False
    above, name = home[:-1], home[-1]
    beside = [other[-1] for other in homes if other[:-1] == above and other and other != home]
    prefix = one.tag.replace("/", "_").lower() + "_"
    if name.lower().startswith(prefix):
        others = any(other.lower().startswith(prefix) for other in beside)
        return others and not EVALUATION.isdisjoint(words(name[len(prefix) :]))
    parts = words(name)
    if len(parts) == 1 and parts[0] in EVALUATION:
        counterpart = any(words(other) in _TRAINING for other in beside)
        return counterpart or (parts[0] == "eval" and above in homes)
    return False
