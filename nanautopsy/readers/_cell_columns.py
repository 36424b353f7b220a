"""Columns of cells or JSON values to numbers, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers._json_numbers import number_of
from nanautopsy.readers._step_keys import step_number

_LAST = frozenset("0123456789.)nNfFyYdD")
"""Characters with which the text of a number can end: digits, ``nan``, ``inf``, ``Infinity``,
``1.#IND``, ``-nan(ind)``. The quick look spares durations and percentages the parser."""


_LARGEST = 2**53


class Nested(ValueError):
    """A value has parts of its own."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one column."""

    rows: NDArray[np.int64] | None
    """(n,) row of each; ``None`` when every row has one."""
    values: NDArray[np.float64]
    """(n,) NaN for an explicit null."""
    nulls: NDArray[np.bool_] | None
    """(n,) True for an explicit null; ``None`` when there is none."""


def numbers_of(column: Sequence[Any], nulls: frozenset[str]) -> Numbers:
    """The numbers of a column; texts that are none, and empty cells, give nothing.

    ``nulls``: texts in lower case that are explicit nulls. Raises :class:`Nested`.
    """
    try:
        values = np.fromiter(map(float, column), np.float64, len(column))
    except (ValueError, TypeError, OverflowError):
        return _one_by_one(column, nulls)
    if str in set(map(type, column)) and "_" in "".join(map(str, column)):
        return _one_by_one(column, nulls)  # Python takes 1_000 for a number; no program prints it
    return Numbers(None, values, None)


def _one_by_one(column: Sequence[Any], nulls: frozenset[str]) -> Numbers:
    rows: list[int] = []
    values: list[float] = []
    missing: list[int] = []
    for row, item in enumerate(column):
        if item == "":
            continue
        if isinstance(item, (dict, list)):
            raise Nested
        if item is None or (nulls and isinstance(item, str) and item.strip().lower() in nulls):
            missing.append(len(rows))
            number: float | None = float("nan")
        else:
            number = _number(item)
        if number is not None:
            rows.append(row)
            values.append(number)
    is_null = None
    if missing:
        is_null = np.zeros(len(rows), dtype=np.bool_)
        is_null[missing] = True
    return Numbers(np.array(rows, dtype=np.int64), np.array(values, dtype=np.float64), is_null)


def _number(item: Any) -> float | None:
    if type(item) is str:
        item = item.strip()
        return number_of(item) if item and item[-1] in _LAST else None
    return number_of(item)


def steps_of(column: Sequence[Any]) -> NDArray[np.int64] | None:
    """The counts of a column; ``None`` when a row holds none."""
    try:
        text = "".join(column)
    except TypeError:
        if set(map(type, column)) == {int} and max(map(abs, column)) < _LARGEST:
            return np.fromiter(column, np.int64, len(column))
    else:
        if text.isdigit() and text.isascii() and len(max(column, key=len)) < 16:
            try:
                return np.fromiter(map(int, column), np.int64, len(column))
            except ValueError:
                return None
    steps = list(map(step_number, column))
    if None in steps:
        return None
    return np.array(steps, dtype=np.int64)
