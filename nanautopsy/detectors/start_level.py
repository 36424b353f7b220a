"""The first loss beside the one that the weights had when they were saved.

A loss that is many times the one that the program states of its source, or that the checkpoint
holds beside its tensors, was made by what stands between: another model's weights, tensors in the
wrong places, a step that was lost. Another data set alone gives a few times as much.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.places import is_before_training
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_KIND = frozenset("loss mse mae nll xent ce bce entropy ppl perplexity bpb bpc elbo".split())


def _detect(run: Run) -> Iterator[Finding]:
    for event in run.events_of("level-stated"):
        value, tag = event.data.get("value"), event.data.get("tag")
        if not isinstance(value, float) or not isinstance(tag, str) or value <= 0:
            continue
        for series in _like(run, event, tag):
            first = float(series.values[0])
            if np.isfinite(first) and first >= thresholds.LEVEL_LOST * value:
                yield _finding(event, series, value, first)
                return


def _like(run: Run, event: LogEvent, tag: str) -> Iterator[Series]:
    """The losses of this kind of which the line stands before the first."""
    own = [s for s in run.by_role("loss", "grad_norm") if s.source.path == event.source.path]
    if own and not is_before_training(run, event):
        return
    kind = _KIND.intersection(words(tag))
    alike = [
        s
        for s in run.by_role("loss", "eval_loss")
        if len(s) and kind & set(words(s.tag)) & _KIND and not _is_of(s, event)
    ]
    yield from (s for s in alike if s.source.path == event.source.path)
    # The rows may have a file of their own, and begin where training begins.
    others = [s for s in alike if s.source.path != event.source.path]
    yield from (s for s in others if s.axis == "step" and s.steps[0] <= thresholds.FIRST_STEPS)


def _is_of(series: Series, event: LogEvent) -> bool:
    """Whether the stated level itself was read as the first point."""
    if series.source.path != event.source.path or series.lines is None:
        return False
    return int(series.lines[0]) == event.source.line


def _finding(event: LogEvent, series: Series, value: float, first: float) -> Finding:
    return Finding(
        id="level-lost",
        text=phrase(
            "{tag} begins at {first}, where the weights had {value}: {line}",
            tag=series.tag,
            first=shown(first),
            value=shown(value),
            line=event.text,
        ),
        source=series.at(0),
        step=int(series.steps[0]),
        data={"factor": first / value},
    )


DETECTOR = Detector("start-level", _detect)
