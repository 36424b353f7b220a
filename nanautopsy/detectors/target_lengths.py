"""Targets that are longer than their inputs, by the lengths that are logged of both.

A CTC loss needs at least one frame for each symbol: a target that is longer has no alignment, and
its loss is the logarithm of 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_TARGET = frozenset(
    "target targets label labels transcript transcripts text symbols chars characters phonemes"
    " graphemes tgt y".split()
)
_INPUT = frozenset("input inputs frame frames feat feats time logit logits src x encoder".split())
_LENGTH = frozenset("len lens length lengths longest max".split())
_SHORT = frozenset("len lens length lengths shortest min frames frame".split())
_NOT_A_LENGTH = frozenset("loss ms sec per rate lr prob mean std value".split())


def _detect(run: Run) -> Iterator[Finding]:
    logged = [(s, frozenset(words(s.tag))) for s in run.by_role("other", "counter")]
    targets = [s for s, have in logged if _is(have, _TARGET, _LENGTH, "min")]
    inputs = [s for s, have in logged if _is(have, _INPUT, _SHORT, "max")]
    for target in targets:
        for source in inputs:
            if source is not target and source.axis == target.axis:
                finding = _longer(target, source)
                if finding is not None:
                    yield finding
                    return


def _is(have: frozenset[str], what: frozenset[str], length: frozenset[str], end: str) -> bool:
    """Whether it is a length of that, and not of the other end of a batch's."""
    return bool(have & what and have & length) and not have & (_NOT_A_LENGTH | {end})


def _longer(target: Series, source: Series) -> Finding | None:
    """The first step at which the longest target is longer than the input, as none before was."""
    steps, at_target, at_source = np.intersect1d(target.steps, source.steps, return_indices=True)
    longer = np.flatnonzero(target.values[at_target] > source.values[at_source])
    if not len(longer) or longer[0] < thresholds.INPUT_HISTORY:
        return None
    index = int(longer[0])
    step = int(steps[index])
    return Finding(
        id="target-too-long",
        text=phrase(
            "{target} is {length} at {place}, and {source} {frames}: a target longer than its "
            "input has no alignment",
            target=target.tag,
            length=shown(float(target.values[at_target[index]])),
            place=position(target.axis, step),
            source=source.tag,
            frames=shown(float(source.values[at_source[index]])),
        ),
        source=target.at(int(at_target[index])),
        step=step,
        last_good=int(steps[index - 1]),
        data={"tag": target.tag, "axis": target.axis},
    )


DETECTOR = Detector("target-lengths", _detect)
