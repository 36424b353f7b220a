"""Logged statistics of what the model was fed: non-finite, or far outside their own history."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.roles import words
from nanautopsy.signal import first_nonfinite, persistent, shown
from nanautopsy.wording import phrase

_FED = frozenset(
    "input inputs image images pixel pixels waveform waveforms audio spectrogram target targets "
    "label labels observation observations obs data x xs batch batches mel frames video "
    "signal".split()
)
"""What is fed; features and hidden states come from weights."""
_STATISTIC = frozenset("max min mean std absmax abs norm rms amax amin range abs_max".split())
_NOT_FED = frozenset("loss grad gradient time tokens size length count lr layernorm".split())


def _detect(run: Run) -> Iterator[Finding]:
    for series in run.by_role("other"):
        if _tells_inputs(series.tag):
            index, how = _first_odd(series)
            if index is not None:
                yield Finding(
                    id="odd-input",
                    text=phrase(
                        "{tag} is {value} at {place}, {how}",
                        tag=series.tag,
                        value=shown(float(series.values[index])),
                        place=position(series.axis, int(series.steps[index])),
                        how=how,
                    ),
                    source=series.at(index),
                    step=int(series.steps[index]),
                    last_good=int(series.steps[index - 1]) if index else None,
                    data={"tag": series.tag, "axis": series.axis, "stays": _stays(series, index)},
                )


def _tells_inputs(tag: str) -> bool:
    have = frozenset(words(tag))
    fed = have & _FED
    if fed == {"batch"} and "norm" in have:
        return False  # batch normalization's
    return bool(fed) and bool(have & _STATISTIC) and not have & _NOT_FED


def _first_odd(series: Series) -> tuple[int | None, str]:
    """The first point that is non-finite, or far above every one before it and the median after.

    A level that changes for good is another data set, and no bad batch.
    """
    bad = first_nonfinite(series)
    if bad is not None:
        return bad, phrase("so the batch held non-finite values")
    values = np.abs(series.values)
    if len(values) < thresholds.INPUT_HISTORY:
        return None, ""
    usual = float(np.median(values))
    peak = int(values.argmax())
    if usual > 0 and values[peak] >= thresholds.ABSURD_INPUT * usual:
        return peak, phrase(
            "{ratio:.3g} times its median {usual}",
            ratio=float(values[peak] / usual),
            usual=shown(usual),
        )
    return None, ""


def _stays(series: Series, index: int) -> bool:
    """Whether every later point is non-finite too: batches differ, and weights stay NaN."""
    return len(series) - index > thresholds.ISOLATED_POINTS and persistent(series, index)


DETECTOR = Detector("input-statistics", _detect)
