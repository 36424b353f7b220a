"""Many decimal numbers at once: text to the float64 that ``float()`` makes of it.

Numbers of one shape, such as ``0.12345`` and ``0.98765``, have their digits at the same places,
so a shape is worked out once and its numbers column by column. A decimal of at most nineteen
digits is a whole number times a power of ten; up to 10**22 such a power is exact, and one step of
correction in twice the precision rounds the result as it must be. What lies too close to the
middle between two floats to tell, or is of a rare shape, goes through ``float()`` itself.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from nanautopsy.readers._record_chain import unaligned

WIDTH = 24
"""Longest text in bytes; the shortest text of a float64 takes at most as many."""

_WORDS = {
    b"NaN": np.nan,
    b"Infinity": np.inf,
    b"-Infinity": -np.inf,
    b"true": 1.0,
    b"false": 0.0,
}
_NUMBER = re.compile(rb"(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?)(\d+))?")
_MOST_DIGITS = 19
_EXACT_POWERS = 22
_MOST_ROUNDS = 8
_FEWEST = 48
"""Fewer texts of a shape are not worth working it out."""
_SPLITTER = 134217729.0
"""2**27 + 1: cuts a float64 into halves whose products are exact (Dekker 1971)."""
_TOO_CLOSE = 1e-6

_Found = tuple[NDArray[np.float64], NDArray[np.bool_]]


def parse(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> _Found:
    """(n,) the numbers in ``data[start : start + length]``, and (n,) whether each is one.

    ``data`` goes on for at least :data:`WIDTH` bytes after each start. JSON's words for
    non-finite numbers and truth values count as numbers, ``null`` does not.
    """
    values = np.zeros(len(starts), dtype=np.float64)
    known = np.zeros(len(starts), dtype=np.bool_)
    windows: NDArray[np.void] = np.ndarray(
        (len(data) - WIDTH + 1,), f"V{WIDTH}", data, strides=(1,)
    )
    shapes = _shapes(unaligned(data, "<u4")[starts], lengths)
    counts = np.bincount(shapes)
    order = np.argsort(shapes, kind="stable")
    ends = np.cumsum(counts)
    for shape in np.flatnonzero(counts >= _FEWEST).tolist():
        chosen = order[ends[shape] - counts[shape] : ends[shape]]
        length = int(lengths[chosen[0]])
        if 0 < length <= WIDTH:
            texts = windows[starts[chosen]].view(np.uint8).reshape(-1, WIDTH)
            columns = np.ascontiguousarray(texts[:, :length].T)
            values[chosen], known[chosen] = _alike(columns)
    _one_by_one(data, starts, lengths, values, known)
    return values, known


def _one_by_one(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    values: NDArray[np.float64],
    known: NDArray[np.bool_],
) -> None:
    """Fill in what is not known yet."""
    left = np.flatnonzero(~known & (lengths > 0))
    if not len(left):
        return
    view: memoryview = memoryview(data)  # type: ignore[arg-type]
    spans = zip(left.tolist(), starts[left].tolist(), lengths[left].tolist(), strict=True)
    texts = [(i, bytes(view[begin : begin + length])) for i, begin, length in spans]
    found = [(i, float(text)) for i, text in texts if _NUMBER.fullmatch(text)]
    found += [(i, _WORDS[text]) for i, text in texts if text in _WORDS]
    if found:
        places, numbers = zip(*found, strict=True)
        values[list(places)], known[list(places)] = numbers, True


def _shapes(heads: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.uint16]:
    """(n,) a number that most texts of one form share: their length, and which of the first
    four bytes (n,) look like digits."""
    digits = (heads >> np.uint32(4)) & np.uint32(0x01010101)
    digits = (digits * np.uint32(0x08040201)) >> np.uint32(24)
    shapes: NDArray[np.uint16] = np.minimum(lengths, WIDTH + 1).astype(np.uint16) << np.uint16(4)
    shapes |= (digits & np.uint32(15)).astype(np.uint16)
    return shapes


def _alike(columns: NDArray[np.uint8]) -> _Found:
    """Numbers (n,) of texts (length, n) of which most are of a few forms."""
    values = np.zeros(columns.shape[1], dtype=np.float64)
    known = np.zeros(columns.shape[1], dtype=np.bool_)
    left = np.arange(columns.shape[1])
    for _ in range(_MOST_ROUNDS):
        if len(left) < _FEWEST:
            break
        first = columns[:, 0].tobytes()
        is_digit = np.array([48 <= byte <= 57 for byte in first])
        digits = columns[is_digit] - np.uint8(48)
        same = np.maximum.reduce(digits, axis=0, initial=np.uint8(0)) < 10
        others = np.frombuffer(first, dtype=np.uint8)[~is_digit]
        same &= (columns[~is_digit] == others[:, None]).all(axis=0)
        form = _NUMBER.fullmatch(first)
        everything = bool(same.all())
        chosen = left if everything else left[same]
        if first in _WORDS:
            values[chosen], known[chosen] = _WORDS[first], True
        elif form is not None:
            part = columns if everything else columns[:, same]
            values[chosen], known[chosen] = _decimals(part, form)
        if everything:
            break
        left, columns = left[~same], columns[:, ~same]
    return values, known


def _decimals(columns: NDArray[np.uint8], form: re.Match[bytes]) -> _Found:
    """Numbers (n,) of texts (length, n) of the form of one of them."""
    places = [*range(*form.span(2)), *(range(*form.span(3)) if form[3] else ())]
    # 0.00012345 begins with zeros, which are none of its digits.
    leading, places = places[:-_MOST_DIGITS], places[-_MOST_DIGITS:]
    fits = (columns[leading] == 48).all(axis=0)
    half = max(0, len(places) - 9)
    whole = _whole(columns, places[half:]).astype(np.uint64)
    if half:
        top = places[max(0, half - 9) : half]
        whole += _whole(columns, top).astype(np.uint64) * np.uint64(10**9)
    if half > 9:
        whole += _whole(columns, places[: half - 9]).astype(np.uint64) * np.uint64(10**18)
    shift = -len(form[3] or b"")
    if form[5] is None:
        values, known = _scaled(whole, shift)
    else:
        values, known = _with_exponents(columns, form, whole, shift)
    return (-values if form[1] else values), known & fits


def _with_exponents(
    columns: NDArray[np.uint8], form: re.Match[bytes], whole: NDArray[np.uint64], shift: int
) -> _Found:
    if len(form[5]) > 3:
        return np.zeros(len(whole)), np.zeros(len(whole), dtype=np.bool_)
    exponents = _whole(columns, range(*form.span(5))).astype(np.int64)
    values = np.zeros(len(whole), dtype=np.float64)
    known = np.zeros(len(whole), dtype=np.bool_)
    for exponent in np.flatnonzero(np.bincount(exponents) >= _FEWEST).tolist():
        chosen = np.flatnonzero(exponents == exponent)
        exponent = -exponent if form[4] == b"-" else exponent
        values[chosen], known[chosen] = _scaled(whole[chosen], shift + exponent)
    return values, known


def _whole(columns: NDArray[np.uint8], places: list[int] | range) -> NDArray[np.uint32]:
    """(n,) the number that the digits at some places, nine at most, make."""
    number = np.zeros(columns.shape[1], dtype=np.uint32)
    for place in places:
        number *= np.uint32(10)
        number += columns[place] - np.uint8(48)
    return number


def _scaled(whole: NDArray[np.uint64], power: int) -> _Found:
    """``whole * 10**power`` (n,), and whether each is surely rounded right."""
    if abs(power) > _EXACT_POWERS:
        return np.zeros(len(whole)), np.zeros(len(whole), dtype=np.bool_)
    high = whole.astype(np.float64)
    if power == 0:
        return high, np.ones(len(whole), dtype=np.bool_)
    low = (whole - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    ten = float(10 ** abs(power))
    if power < 0:
        near = high / ten
        product, rest = _product(near, ten)
        rest = ((high - product) - rest + low) / ten
    else:
        near, rest = _product(high, ten)
        rest += low * ten
    values = near + rest
    missed = np.abs(rest - (values - near))
    half = np.spacing(values) / 2
    unsure = np.abs(missed - half) < half * _TOO_CLOSE
    unsure |= np.abs(missed - half / 2) < half * _TOO_CLOSE  # Below a power of two.
    return values, ~unsure


def _product(a: NDArray[np.float64], b: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``a * b`` and what rounding took from it, exactly."""
    product = a * b
    cut = a * _SPLITTER
    a_high = cut - (cut - a)
    a_low = a - a_high
    b_high = b * _SPLITTER - (b * _SPLITTER - b)
    b_low = b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest
