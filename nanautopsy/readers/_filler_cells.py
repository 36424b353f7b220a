"""NaN that a table's writer put where a row has no value, told by the rows beside it.

A data frame with rows of training and rows of evaluation has a hole in each row, and
``to_csv(na_rep="NaN")`` fills it::

    step,train/loss,eval/loss
    50,0.61,NaN
    50,NaN,0.66
    60,0.58,NaN

Columns that are never finite in one row, and take turns, are of different rows: each is NaN where
the other has its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Series

_FEWEST = 2
"""Values of each of two columns."""
_TURNS = 3
"""Changes from the one to the other."""
_MOST_PATTERNS = 64

_Lines = NDArray[np.int64]


def without_fillers(series: Sequence[Series]) -> list[Series]:
    """The series of one file, without NaN where a column that takes turns with theirs has values;
    ``lines`` tell the rows."""
    holed = [s for s in series if s.lines is not None and np.isnan(s.values).any()]
    turns: dict[bytes, _Lines] = {}
    for column in holed:
        finite = _finite(column)
        turns.setdefault(finite.tobytes(), finite)
    if not 1 < len(turns) <= _MOST_PATTERNS:
        return list(series)
    named = {id(column) for column in holed}
    return [_mended(s, list(turns.values())) if id(s) in named else s for s in series]


def _finite(series: Series) -> _Lines:
    assert series.lines is not None
    return np.unique(series.lines[np.isfinite(series.values)])


def _mended(series: Series, patterns: Sequence[_Lines]) -> Series:
    assert series.lines is not None
    own, empty = _finite(series), np.isnan(series.values)
    drop = np.zeros(len(series), dtype=np.bool_)
    for other in patterns:
        if min(len(own), len(other)) >= _FEWEST and _take_turns(own, other):
            drop |= empty & np.isin(series.lines, other)
    if not drop.any():
        return series
    kept = ~drop
    return replace(
        series,
        steps=series.steps[kept],
        values=series.values[kept],
        lines=series.lines[kept],
        times=None if series.times is None else series.times[kept],
        missing=None if series.missing is None else series.missing[kept],
    )


def _take_turns(own: _Lines, other: _Lines) -> bool:
    if np.isin(own, other).any():
        return False
    mine = np.isin(np.union1d(own, other), own)
    return int((mine[1:] != mine[:-1]).sum()) >= _TURNS
