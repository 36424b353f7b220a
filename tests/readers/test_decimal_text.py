"""Decimals read many at once are those that ``float()`` reads one by one."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanautopsy.readers import _decimal_text

_HALFWAY = "9007199254740993", "4503599627370497.5", "0.1000000000000000055511151231257827"
"""Exactly, or almost, in the middle between two floats."""


def parse(texts: list[str], fewest: int = 1) -> list[float | None]:
    """What is found; ``None`` for no number. Few texts of a shape go through the columns too."""
    joined = "".join(texts).encode() + bytes(_decimal_text.WIDTH)
    lengths = np.array([len(text.encode()) for text in texts], dtype=np.int64)
    data = np.frombuffer(joined, dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_decimal_text, "_FEWEST", fewest)
        values, known = _decimal_text.parse(data, np.cumsum(lengths) - lengths, lengths)
    return [float(v) if k else None for v, k in zip(values, known, strict=True)]


def single(bits: int) -> float:
    """The float32 of some bits, as a float64."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


_TEXTS = st.one_of(
    st.floats().map(json.dumps),
    st.floats(-1e9, 1e9).map(repr),
    st.integers(0, 2**32 - 1).map(single).map(json.dumps),
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=12).map(lambda d: f"{d:f}"),
    st.tuples(st.integers(0, 10**19), st.integers(0, 24), st.integers(-30, 30)).map(
        lambda t: f"{str(t[0])[:1]}.{str(t[0]).zfill(t[1])}e{t[2]:+03d}"
    ),
    st.sampled_from(_HALFWAY),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_TEXTS, min_size=1, max_size=30))
@example(list(_HALFWAY))
@example(["0.00015130533291418669", "0.00000000000000000001", "-0.0", "1e400", "4.9e-324"])
def test_every_number_is_that_of_float(texts: list[str]) -> None:
    for text, value in zip(texts, parse(texts), strict=True):
        expected = float(text)
        assert value is not None, text
        assert repr(value) == repr(expected) or (math.isnan(value) and math.isnan(expected)), text


@pytest.mark.parametrize("fewest", [1, 48])
def test_words_and_what_is_no_number(fewest: int) -> None:
    words = ["NaN", "Infinity", "-Infinity", "true", "false", "null", '"x"', "{}", "", "-"]
    others = ["1_0", ".5", "1.", "+1", "0x10", "1e", "nan", "inf", "--1", "1.2.3", "1e5e5"]
    found = parse((words + others) * 60, fewest)
    first = found[: len(words + others)]
    assert math.isnan(first[0] or 0)
    assert first[1:5] == [math.inf, -math.inf, 1.0, 0.0]
    assert first[5:] == [None] * (len(words) - 5 + len(others))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="0123456789.eE+-NaIinfty_ ", max_size=26), min_size=1))
def test_garbage_is_the_same_in_columns_and_alone(texts: list[str]) -> None:
    assert [repr(v) for v in parse(texts)] == [repr(v) for v in parse(texts, 1 << 30)]
