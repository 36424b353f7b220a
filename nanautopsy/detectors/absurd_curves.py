"""Curves of a parameter's size that begin absurdly large, or non-finite."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_PARAMETER = re.compile(
    r"(?:^|[._/ -])(?:weights?|params?|parameters?|kernel|emb(?:ed\w*)?|rows?|wte|lm_head"
    r"|head|theta|codebooks?|prototypes?|centroids?|queries|tokens?|anchors?|memory_?bank"
    r"|init)(?=$|[._/ -])",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"(?:^|[._/ -])(?:abs_?(?:max|mean)|max_?abs|amax|max|norm|l2|rms|mag(?:nitude)?)(?=$|[._/ -])",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(
    r"grad|update|\bact|activ|out(?:put)?s?(?=$|[._/ -])|input|logit|loss|moment|exp_avg"
    r"|\blr\b|score"
    r"|reward|batch|time|tokens?_per|mem|count|(?<![A-Za-z])n(?:um)?_|bytes|len|seed|\bids?\b",
    re.IGNORECASE,
)
_OF_THE_START = re.compile(r"(?:^|[._/ -])(?:init\w*|start|new|added|before)(?=$|[._/ -])", re.I)
_LARGEST_COUNT = 1e12
_ROLES = ("other", "layer_parameter")


def _detect(run: Run) -> Iterator[Finding]:
    starts = [int(s.steps[0]) for s in run.by_role("loss", "grad_norm") if len(s)]
    for series in _sizes(run):
        value = abs(float(series.values[0]))
        if np.isfinite(value) and (value < thresholds.ABSURD_WEIGHT or _is_count(value)):
            continue
        # What was logged beside the first loss may be of the weights behind the first update.
        first, own = min(starts, default=0), int(series.steps[0])
        late = own > first or (own == first and not _OF_THE_START.search(series.tag))
        if late and not (_stands_above(run, series) or _stays(series)):
            continue
        yield Finding(
            id="absurd-start",
            text=phrase(
                "{tag} is {value} where training begins", tag=series.tag, value=shown(value)
            ),
            source=series.at(0),
            step=int(series.steps[0]),
            layer=series.layer,
        )


def _is_count(value: float) -> bool:
    """Rows of a table are counted as well; a magnitude is hardly a whole number."""
    return value == round(value) and value < _LARGEST_COUNT


def _sizes(run: Run) -> Iterator[Series]:
    for series in run.series:
        named = _PARAMETER.search(series.tag) and _SIZE.search(series.tag)
        if len(series) and named and series.role in _ROLES and not _OF_OTHERS.search(series.tag):
            yield series


def _stays(series: Series) -> bool:
    """Whether it is absurd in its first row and no other number in the rows behind: an update that
    had made it so would have been followed by others."""
    first = series.values[: thresholds.CALM_POINTS]
    flat = len(first) == thresholds.CALM_POINTS and np.isfinite(first).all()
    return bool(flat and np.ptp(first) <= thresholds.SUM_MISFIT * abs(float(first[0])))


def _stands_above(run: Run, series: Series) -> bool:
    """Whether its log shows it before the first row of training."""
    rows = [
        int(s.lines[0])
        for s in run.by_role("loss", "grad_norm")
        if s.lines is not None and len(s) and s.source.path == series.source.path
    ]
    return series.lines is not None and bool(rows) and int(series.lines[0]) < min(rows)


def has_parameter_sizes(run: Run) -> bool:
    """Whether the size of a parameter was logged."""
    return next(_sizes(run), None) is not None


DETECTOR = Detector("absurd-curves", _detect)
