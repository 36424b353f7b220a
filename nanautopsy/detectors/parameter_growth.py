"""The norm of all weights, where it leaves its level: a logged ``param_norm`` or ``weights_l2``.

Weights of a sound run grow by small factors over its whole length (decay holds them, or their
growth slows down). Where every step multiplies them, the norm shows it long before the loss of a
normalized model does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nanautopsy.detectors.growth import growth
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run
from nanautopsy.tag_words import words

_NORM = frozenset({"norm", "norms", "l2", "rms", "wnorm"})


def _is_norm(tag: str) -> bool:
    return "|" in tag or not _NORM.isdisjoint(words(tag))


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("layer_parameter"):
        if series.layer is not None or series.rank is not None:
            continue
        grown = growth(series) if _is_norm(series.tag) else None
        if grown is not None:
            yield replace(grown, id="parameter-norm-growth")


DETECTOR = Detector("parameter-growth", _detect)
