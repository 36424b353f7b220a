"""Counting over many small tensors at once, whose calls would cost more than their elements do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints._kernel import Bad
from nanautopsy.checkpoints._squares import squares_64, squares_fit
from nanautopsy.checkpoints.formats import NumberFormat, decode_table, to_float64
from nanautopsy.checkpoints.health import Tally
from nanautopsy.model import Depth


def tally_many(
    bits: NDArray[Any], starts: NDArray[np.int64], format: NumberFormat, depth: Depth
) -> tuple[list[Tally], Bad]:
    """The counts over each segment of ``bits``, in float64 throughout.

    ``starts``: where each segment begins, ascending, none empty. Not for complex formats.
    """
    with np.errstate(all="ignore"):
        values = _values(bits, format)
        magnitudes = np.abs(values)
        sizes = np.diff(starts, append=len(bits))
        largest = np.maximum.reduceat(magnitudes, starts)
        bad: Bad = None
        counts = [Tally(finite=size) for size in sizes.tolist()]
        if not np.isfinite(largest).all():
            bad = ~np.isfinite(magnitudes)
            _count_nonfinite(counts, values, starts)
            magnitudes[bad] = 0.0
            largest = np.maximum.reduceat(magnitudes, starts)
        for tally, top in zip(counts, largest.tolist(), strict=True):
            if tally.finite:
                tally.max_abs = top
        if depth == "full":
            _add_full(counts, magnitudes, starts, bad, format)
            _rescale(counts, magnitudes, starts, largest)
    return counts, bad


def _values(bits: NDArray[Any], format: NumberFormat) -> NDArray[np.float64]:
    if format.kind == "ieee":
        return to_float64(bits, format)
    if format.kind == "table":
        return decode_table(format.name).take(bits)
    values: NDArray[np.float64] = bits.astype(np.float64)
    return values


def _sums(where: NDArray[np.bool_], starts: NDArray[np.int64]) -> list[int]:
    sums: list[int] = np.add.reduceat(where, starts, dtype=np.int64).tolist()
    return sums


def _count_nonfinite(
    counts: list[Tally], values: NDArray[np.float64], starts: NDArray[np.int64]
) -> None:
    nan, positive, negative = (
        _sums(where(values), starts) for where in (np.isnan, np.isposinf, np.isneginf)
    )
    for tally, n, p, m in zip(counts, nan, positive, negative, strict=True):
        tally.nan, tally.pos_inf, tally.neg_inf = n, p, m
        tally.finite -= n + p + m


def _add_full(
    counts: list[Tally],
    magnitudes: NDArray[np.float64],
    starts: NDArray[np.int64],
    bad: Bad,
    format: NumberFormat,
) -> None:
    """What only a full measurement tells. Magnitudes of non-finite elements are 0 here."""
    zero = magnitudes == 0.0
    smallest = magnitudes
    if zero.any():
        smallest = np.where(zero, np.inf, magnitudes)
        for tally, n in zip(counts, _sums(zero, starts), strict=True):
            tally.zero = n - (tally.nan + tally.pos_inf + tally.neg_inf if bad is not None else 0)
    least = np.minimum.reduceat(smallest, starts)
    squares = np.add.reduceat(magnitudes * magnitudes, starts).tolist()
    for tally, low, total in zip(counts, least.tolist(), squares, strict=True):
        tally.squares = total
        if low < np.inf:
            tally.min_abs = low
    if format.normal is not None and least.min() < format.normal:
        for tally, n in zip(counts, _sums(smallest < format.normal, starts), strict=True):
            tally.subnormal = n


def _rescale(
    counts: list[Tally],
    magnitudes: NDArray[np.float64],
    starts: NDArray[np.int64],
    largest: NDArray[np.float64],
) -> None:
    """Add again the squares that left float64."""
    ends = np.append(starts[1:], len(magnitudes))
    for number in np.flatnonzero(~squares_fit(largest)).tolist():
        values = magnitudes[starts[number] : ends[number]]
        counts[number].squares, counts[number].scale = squares_64(values, float(largest[number]))
