"""Logged statistics of what the model was fed: non-finite, or far outside their own history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import first_nonfinite, index_at, shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_FED = frozenset(
    "input inputs image images pixel pixels waveform waveforms audio spectrogram target targets "
    "label labels gt observation observations obs data x xs batch batches mel frames video "
    "signal inp inps img imgs mels fbank mfcc wav wavs speech pcm logmel lmel y ys".split()
)
"""What is fed; features and hidden states come from weights."""
_STATISTIC = frozenset("max min mean std absmax abs norm rms amax amin range abs_max".split())
_SPREAD = frozenset("max std absmax norm rms amax range".split())
"""Of which 0 says that all values are alike."""
_NOT_FED = frozenset("loss grad gradient time tokens size length count lr layernorm".split())
_DEFECTS = frozenset("nan nans inf infs nonfinite missing corrupt bad invalid broken".split())
_COUNTED = _FED - {"batch", "batches"} | frozenset(
    "feature features feat feats sample samples rows values cells column columns in".split()
)
_NOT_COUNTED = frozenset(
    "loss losses grad grads gradient gradients batch batches step steps skipped param params weight"
    " weights act activation activations output outputs hidden logits pred preds".split()
)
_NOT_OF_BATCH = frozenset("time sec ms mem memory speed lr eta scale skipped rate".split())


@dataclass(frozen=True, slots=True)
class _Odd:
    """The first odd point of a series."""

    index: int
    how: str
    stays: bool = False
    """Every later point is odd too, as what is computed from broken weights is."""
    passing: bool = False
    """By itself it need do no harm: it tells only of the step that died."""


def _detect(run: Run) -> Iterator[Finding]:
    dead = _dead_from(run)
    for series in run.by_role("other", "counter"):
        odd = _odd(series) or (None if dead is None else _there_and_back(series, dead))
        if odd is not None:
            step = int(series.steps[odd.index])
            yield Finding(
                id="odd-input",
                text=phrase(
                    "{tag} is {value} at {place}, {how}",
                    tag=series.tag,
                    value=shown(float(series.values[odd.index])),
                    place=position(series.axis, step),
                    how=odd.how,
                ),
                source=series.at(odd.index),
                step=step,
                last_good=int(series.steps[odd.index - 1]) if odd.index else None,
                data={
                    "tag": series.tag,
                    "axis": series.axis,
                    "stays": odd.stays,
                    "passing": odd.passing,
                },
            )


def _odd(series: Series) -> _Odd | None:
    if _tells_inputs(series.tag):
        return _first_odd(series)
    return _first_defect(series) if _counts_defects(series.tag) else None


def _dead_from(run: Run) -> int | None:
    """The step from which on a loss was non-finite at every point, several of them."""
    dead = [
        int(s.steps[i])
        for s in run.by_role("loss")
        if s.axis == "step" and (i := first_nonfinite(s)) is not None
        if _stays(~np.isfinite(s.values[i:]))
    ]
    return min(dead, default=None)


def _there_and_back(series: Series, dead: int) -> _Odd | None:
    """A number that is odd at the step that died and as usual behind it, although the weights are
    broken from there on: it is of the batch, whatever its name."""
    index = index_at(series, dead)
    if index is None or series.axis != "step" or series.layer is not None:
        return None
    before, there, after = np.split(np.abs(series.values), [index, index + 1])
    known = frozenset(words(series.tag))
    if len(before) < thresholds.INPUT_HISTORY or len(after) < 2 or known & _NOT_OF_BATCH:
        return None
    if not np.isfinite(before).all() or not np.isfinite(after).all():
        return None
    most = max(float(before.max()), float(after.max()))
    how = phrase("as usual before it and behind it, where the weights are broken")
    if not np.isfinite(there[0]) or there[0] >= thresholds.ABSURD_INPUT * most > 0:
        return _Odd(index, how)
    return None


def _tells_inputs(tag: str) -> bool:
    have = frozenset(words(tag))
    fed = have & _FED
    if fed == {"batch"} and "norm" in have:
        return False  # batch normalization's
    return bool(fed) and bool(have & _STATISTIC) and not have & _NOT_FED


def _counts_defects(tag: str) -> bool:
    have = frozenset(words(tag))
    return bool(have & _DEFECTS and have & (_COUNTED | {"x"})) and not have & _NOT_COUNTED


def _first_defect(series: Series) -> _Odd | None:
    """The first count above 0 of defects that there were none of up to then."""
    above = series.values > 0
    index = int(above.argmax())
    if not above.any() or index < thresholds.INPUT_HISTORY:
        return None
    how = phrase("and was 0 up to then")
    return _Odd(index, how, stays=_stays(above[index:]), passing=True)


def _first_odd(series: Series) -> _Odd | None:
    """The first point that is non-finite, or far above every one before it and the median after,
    or the only one without any spread.

    A level that changes for good is another data set, and no bad batch.
    """
    bad = first_nonfinite(series)
    if bad is not None:
        stays = _stays(~np.isfinite(series.values[bad:]))
        return _Odd(bad, phrase("so the batch held non-finite values"), stays)
    values = np.abs(series.values)
    if len(values) < thresholds.INPUT_HISTORY:
        return None
    usual = float(np.median(values))
    peak = int(values.argmax())
    if usual > 0 and values[peak] >= thresholds.ABSURD_INPUT * usual:
        how = phrase(
            "{ratio:.3g} times its median {usual}",
            ratio=float(values[peak] / usual),
            usual=shown(usual),
        )
        return _Odd(peak, how)
    flat = np.flatnonzero(values == 0)
    if len(flat) == 1 and usual > 0 and _SPREAD & frozenset(words(series.tag)):
        return _Odd(int(flat[0]), phrase("so that all its values are alike"), passing=True)
    return None


def _stays(odd: NDArray[np.bool_]) -> bool:
    """Whether every later point is odd too: batches differ, and weights stay NaN."""
    return len(odd) > thresholds.ISOLATED_POINTS and bool(odd.all())


DETECTOR = Detector("input-statistics", _detect)
