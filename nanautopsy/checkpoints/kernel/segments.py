"""Counting over many small tensors at once; one by one, the calls would cost more than they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanautopsy.checkpoints.formats import NumberFormat, decode_table, to_float64
from nanautopsy.checkpoints.health import TALLY_FIELDS
from nanautopsy.checkpoints.kernel.passes import Bad
from nanautopsy.checkpoints.kernel.squares import squares_64, squares_fit
from nanautopsy.model import Depth

Row: TypeAlias = "tuple[Any, ...]"
"""The fields of a :class:`~nanautopsy.checkpoints.health.Tally`, of which there would be many."""


_KINDS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.bool_]]] = {
    "nan": np.isnan,
    "pos_inf": np.isposinf,
    "neg_inf": np.isneginf,
}


def tally_many(
    bits: NDArray[Any], starts: NDArray[np.int64], format: NumberFormat, depth: Depth
) -> tuple[list[Row], Bad]:
    """The counts over each segment of ``bits``, in float64 throughout.

    ``starts``: where each segment begins, ascending, none empty. Not for complex formats.
    """
    bad: Bad = None
    sizes = np.diff(starts, append=len(bits))
    columns: dict[str, list[Any]] = {}
    with np.errstate(all="ignore"):
        values = _values(bits, format)
        magnitudes = np.abs(values)
        largest = np.maximum.reduceat(magnitudes, starts)
        if not np.isfinite(largest).all():
            bad = ~np.isfinite(magnitudes)
            for name, is_kind in _KINDS.items():
                columns[name] = _sums(is_kind(values), starts).tolist()
            sizes = sizes - _sums(bad, starts)
            magnitudes[bad] = 0.0
            largest = np.maximum.reduceat(magnitudes, starts)
        columns["finite"] = sizes.tolist()
        columns["max_abs"] = _known(largest, sizes > 0)
        if depth == "full":
            columns |= _full(magnitudes, starts, sizes, format)
            columns |= _squares(magnitudes, starts, largest)
    absent = [[default] * len(starts) for default in TALLY_FIELDS.values()]
    names = zip(TALLY_FIELDS, absent, strict=True)
    return list(zip(*(columns.get(name, column) for name, column in names), strict=True)), bad


def _values(bits: NDArray[Any], format: NumberFormat) -> NDArray[np.float64]:
    if format.kind == "ieee":
        return to_float64(bits, format)
    if format.kind == "table":
        return decode_table(format.name).take(bits)
    values: NDArray[np.float64] = bits.astype(np.float64)
    return values


def _sums(where: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    sums: NDArray[np.int64] = np.add.reduceat(where, starts, dtype=np.int64)
    return sums


def _known(values: NDArray[np.float64], where: NDArray[np.bool_]) -> list[float | None]:
    """The values, ``None`` where they mean nothing."""
    if where.all():
        return list(values.tolist())
    pairs = zip(values.tolist(), where.tolist(), strict=True)
    return [value if known else None for value, known in pairs]


def _full(
    magnitudes: NDArray[np.float64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    format: NumberFormat,
) -> dict[str, list[Any]]:
    """Zeros and the smallest magnitudes. Those of non-finite elements are 0 here."""
    columns: dict[str, list[Any]] = {}
    zero = magnitudes == 0.0
    if zero.any():
        lengths = np.diff(starts, append=len(magnitudes))
        columns["zero"] = (sizes - lengths + _sums(zero, starts)).tolist()
        magnitudes = np.where(zero, np.inf, magnitudes)
    least = np.minimum.reduceat(magnitudes, starts)
    columns["min_abs"] = _known(least, least < np.inf)
    if format.normal is not None and least.min() < format.normal:
        columns["subnormal"] = _sums(magnitudes < format.normal, starts).tolist()
    return columns


def _squares(
    magnitudes: NDArray[np.float64], starts: NDArray[np.int64], largest: NDArray[np.float64]
) -> dict[str, list[Any]]:
    squares = np.add.reduceat(magnitudes * magnitudes, starts)
    scales = np.ones(len(starts))
    ends = np.append(starts[1:], len(magnitudes))
    for number in np.flatnonzero(~squares_fit(largest)).tolist():
        values = magnitudes[starts[number] : ends[number]]
        squares[number], scales[number] = squares_64(values, float(largest[number]))
    return {"squares": squares.tolist(), "scale": scales.tolist()}
