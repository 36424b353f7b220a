"""Small questions to one series, asked by detectors, onset and causes alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import NonFinite, Series, Source


def kind_of(value: float) -> NonFinite:
    """Which non-finite value this is."""
    if np.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def first_nonfinite(series: Series) -> int | None:
    """Index of the first NaN or Inf."""
    bad = ~np.isfinite(series.values)
    return int(bad.argmax()) if bad.any() else None


def last_finite_before(series: Series, index: int) -> int | None:
    """Index of the last finite point before ``index``."""
    good = np.flatnonzero(np.isfinite(series.values[:index]))
    return int(good[-1]) if len(good) else None


def persistent(series: Series, index: int) -> bool:
    """Whether every point from ``index`` to the end is non-finite."""
    return not np.isfinite(series.values[index:]).any()


def up_to(series: Series, step: int | None) -> np.ndarray:
    """Values of the finite points at steps before ``step`` (all, when it is ``None``)."""
    values = series.values if step is None else series.values[series.steps < step]
    return values[np.isfinite(values)]


def stretches(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end (exclusive) of every run of True."""
    padded = np.concatenate([[False], mask, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def index_at(series: Series, step: int) -> int | None:
    """Index of the point at ``step``."""
    i = int(np.searchsorted(series.steps, step))
    return i if i < len(series) and int(series.steps[i]) == step else None


def point_above(candidates: Iterable[Series], source: Source) -> tuple[Series, int] | None:
    """The last point, of any of the series, that stands above a line of the same log, with its
    series."""
    above: list[tuple[int, int, Series, int]] = []
    for order, series in enumerate(candidates):
        if series.source.path != source.path or series.lines is None or source.line is None:
            continue
        places = np.flatnonzero(series.lines < source.line)
        if len(places):
            index = int(places[-1])
            above.append((int(series.lines[index]), order, series, index))
    if not above:
        return None
    _, _, series, index = max(above, key=lambda point: point[:2])
    return series, index


def shown(value: float) -> str:
    """A number as the report writes it: four significant digits, ``nan`` and ``inf`` in words."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.4g}"
