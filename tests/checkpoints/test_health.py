"""The numeric kernel against ml_dtypes' and NumPy's own values, bit pattern by bit pattern."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from stored_tensors import VALUE_DTYPES, check, judge, measured, whole

from nanautopsy.checkpoints.formats import FORMATS, decode_table
from nanautopsy.checkpoints.kernel import plan
from nanautopsy.model import Depth

DEPTHS: tuple[Depth, ...] = ("finite", "full")
INTEGERS = [name for name, format in FORMATS.items() if format.kind == "integer"]
BATCHED = plan.SMALL_ELEMENTS - 1
"""Tensors of so many elements are counted together with others, larger ones alone."""
SPECIAL = [0.0, -0.0, 1.5, -3e38, 1e-310, -1e-42, 1e-5, math.nan, math.inf, -math.inf]


def values_of(patterns: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return patterns.view(VALUE_DTYPES[dtype]).astype(np.float64)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("dtype", [d for d in VALUE_DTYPES if FORMATS[d].bits <= 16])
def test_every_pattern_of_the_narrow_formats(dtype: str, depth: Depth) -> None:
    bits = FORMATS[dtype].bits
    patterns = np.arange(1 << bits, dtype=f"u{bits // 8}")
    patterns = np.tile(patterns, 1 << (17 - bits))  # the large tensors' kernel
    check(judge(patterns, dtype, depth), values_of(patterns, dtype))
    for code in range(0, 1 << bits, 1 if bits == 8 else 61):
        one = patterns[code : code + 1]
        check(judge(one, dtype, depth), values_of(one, dtype))


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_finite_pattern_alone_in_a_large_tensor(dtype: str) -> None:
    for code in range(0, 1 << 16, 251):
        patterns = np.full(BATCHED + 2, code, dtype=np.uint16)
        check(judge(patterns, dtype), values_of(patterns, dtype))


@pytest.mark.parametrize("dtype", [d for d in VALUE_DTYPES if d.startswith("F8")])
def test_decode_table_is_ml_dtypes_own(dtype: str) -> None:
    values = np.arange(256, dtype=np.uint8).view(VALUE_DTYPES[dtype]).astype(np.float64)
    np.testing.assert_array_equal(decode_table(dtype), values)


PACKED: dict[str, Any] = {
    "F4": ml_dtypes.float4_e2m1fn,
    "F6_E2M3": ml_dtypes.float6_e2m3fn,
    "F6_E3M2": ml_dtypes.float6_e3m2fn,
}


@pytest.mark.parametrize("dtype", PACKED)
@given(codes=st.lists(st.integers(0, 63), max_size=40))
@settings(deadline=None)
def test_packed_elements(dtype: str, codes: list[int]) -> None:
    bits = FORMATS[dtype].bits
    codes = [code % (1 << bits) for code in codes]
    stream = sum(code << (bits * i) for i, code in enumerate(codes))
    raw = stream.to_bytes(FORMATS[dtype].nbytes(len(codes)), "little")
    values = np.array(codes, dtype=np.uint8).view(PACKED[dtype]).astype(np.float64)
    got = measured(whole(raw, dtype, (len(codes),)))
    assert got.zero == (values == 0).sum()
    assert got.max_abs == (np.abs(values).max() if codes else None)
    assert got.nonfinite == 0
    if codes:
        assert got.rms == pytest.approx(math.sqrt(float(np.mean(values**2))), rel=1e-12)


@pytest.mark.parametrize("dtype", PACKED)
def test_tables_of_packed_formats(dtype: str) -> None:
    codes = np.arange(1 << FORMATS[dtype].bits, dtype=np.uint8)
    np.testing.assert_array_equal(decode_table(dtype), codes.view(PACKED[dtype]).astype(np.float64))


def test_an_odd_last_half_byte_is_padding() -> None:
    got = measured(whole(bytes([0x07, 0xF0]), "F4", (3,)))  # 6, 0, 0
    assert (got.zero, got.max_abs, got.nonfinite) == (2, 6.0, 0)
    assert got.rms == pytest.approx(math.sqrt(12))


@pytest.mark.parametrize("dtype", [*VALUE_DTYPES, *PACKED])
def test_limits_of_the_formats(dtype: str) -> None:
    info = ml_dtypes.finfo({**VALUE_DTYPES, **PACKED}[dtype])
    assert FORMATS[dtype].maximum == float(info.max)
    assert FORMATS[dtype].normal == float(info.smallest_normal)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("dtype", VALUE_DTYPES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_bits(dtype: str, depth: Depth, data: st.DataObject) -> None:
    width = FORMATS[dtype].bits // 8
    raw = data.draw(st.binary(max_size=40 * width).map(lambda b: b[: len(b) // width * width]))
    repeat = data.draw(st.sampled_from([1, 1, BATCHED // 8]))
    patterns = np.tile(np.frombuffer(raw, dtype=f"u{width}"), repeat)
    columns = data.draw(st.sampled_from([c for c in (1, 2, 3, 7) if len(patterns) % c == 0]))
    patterns = patterns.reshape(-1, columns)
    check(judge(patterns, dtype, depth), values_of(patterns, dtype))


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_values_of_every_size_in_large_tensors(dtype: str, data: st.DataObject) -> None:
    value = VALUE_DTYPES[dtype]
    seed = data.draw(st.integers(0, 2**32 - 1))
    low, high = sorted(data.draw(st.tuples(st.integers(-300, 300), st.integers(-300, 300))))
    count = data.draw(st.integers(BATCHED + 1, 3 * BATCHED))
    generator = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        array = (10.0 ** generator.uniform(low, high, count)).astype(value)
        array[generator.random(count) < data.draw(st.sampled_from([0.0, 0.1]))] = 0.0
        array *= np.sign(generator.random(count) - 0.5).astype(value)
        check(judge(array, dtype), array.astype(np.float64))


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(max_dims=4, max_side=5),
        elements=st.sampled_from(SPECIAL).map(lambda x: float(np.float32(x))),
    ),
    st.sampled_from(DEPTHS),
)
@settings(deadline=None)
def test_places_in_any_shape(array: np.ndarray, depth: Depth) -> None:
    check(judge(array, "F32", depth), array.astype(np.float64))


@pytest.mark.parametrize("count", [4, BATCHED + 5])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_have_no_float_health(dtype: str, count: int) -> None:
    storage = np.dtype(FORMATS[dtype].storage)
    info = np.iinfo(storage)
    array = np.ones(count, dtype=storage)
    array[:3] = (info.min, 0, info.max)
    got = judge(array, dtype)
    assert got.nonfinite == 0 and got.format_max is None and got.headroom is None
    assert got.zero == (2 if info.min == 0 else 1)
    assert got.max_abs == float(max(-int(info.min), int(info.max)))
    assert got.subnormal == 0 and got.min_abs == 1.0
    shallow = judge(array, dtype, "finite")
    assert shallow.max_abs == got.max_abs and shallow.zero is None


@pytest.mark.parametrize(("dtype", "part"), [("C64", np.complex64), ("C128", np.complex128)])
def test_complex_elements_count_once(dtype: str, part: Any) -> None:
    array = np.array(
        [0, 3 + 4j, complex(math.nan, math.inf), complex(1, math.inf), complex(-math.inf, 0)], part
    )
    got = judge(array, dtype)
    assert (got.nan, got.pos_inf, got.neg_inf, got.zero) == (1, 1, 1, 1)
    assert got.max_abs == 5.0 and got.min_abs == 5.0 and got.first_nonfinite == (2,)
    assert got.rms == pytest.approx(math.sqrt(12.5), rel=1e-12)
    matrix = judge(array.reshape(5, 1).T.copy(), dtype, "finite")
    assert matrix.nonfinite == 3 and matrix.max_abs == 5.0 and matrix.rms is None
    columns = measured(whole(array.tobytes(), dtype, (2, 2), strides=(1, 2)))
    assert columns.first_nonfinite == (0, 1) and columns.nan == 1  # 0, NaN / 3+4j, 1+inf
    assert columns.bad_rows is not None and columns.bad_rows.ranges == ((0, 2),)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("count", [4, BATCHED + 5])
@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "I32", "C64", "C128"])
def test_big_endian(dtype: str, count: int, depth: Depth) -> None:
    storage = np.dtype(FORMATS[dtype].storage)
    size = count * FORMATS[dtype].bits // 8 // storage.itemsize
    array = np.random.default_rng(5).integers(0, 120, size).astype(storage)
    array[1] = np.iinfo(storage).max // 4
    little = whole(array.tobytes(), dtype, (count,))
    big = whole(array.byteswap().tobytes(), dtype, (count,), big_endian=True)
    assert measured(big, depth) == measured(little, depth)


def test_extreme_magnitudes_do_not_leave_the_rms() -> None:
    for count in (1, BATCHED):
        array = np.tile(np.array([1e300, -1e300, 1e-300]), count)
        assert judge(array, "F64").rms == pytest.approx(1e300 * math.sqrt(2 / 3), rel=1e-12)
        tiny = judge(np.full(7 * count, 5e-324), "F64")
        assert tiny.rms == 5e-324 and tiny.zero == 0 and tiny.subnormal == tiny.numel
        largest = judge(np.full(7 * count, np.finfo(np.float64).max), "F64")
        assert largest.rms == largest.max_abs == largest.format_max and largest.headroom == 1.0
        single = judge(np.full(7 * count, 3e38, dtype=np.float32), "F32")
        assert single.rms == pytest.approx(float(np.float32(3e38)), rel=1e-12)
        small = judge(np.full(7 * count, 1e-45, dtype=np.float32), "F32")
        assert small.rms == pytest.approx(2.0**-149, rel=1e-12) and small.subnormal == small.numel


def test_blocks_of_very_different_magnitudes_add_up() -> None:
    blocks = np.repeat([1e-200, 1.0, 1e200, 1e-300, 1e180], 1 << 16)
    got = judge(blocks, "F64")
    assert got.rms == pytest.approx(1e200 * math.sqrt(1 / 5), rel=1e-12)
    assert got.min_abs == 1e-300 and got.max_abs == 1e200


@pytest.mark.parametrize("depth", DEPTHS)
def test_signalling_nans_and_negative_zero(depth: Depth) -> None:
    for pattern in (0x7F800001, 0xFF800001, 0x7FBFFFFF, 0xFFFFFFFF):
        array = np.full(BATCHED * 2, 0x80000000, dtype=np.uint32)
        array[BATCHED] = pattern
        got = judge(array, "F32", depth)
        assert got.nan == 1 and got.first_nonfinite == (BATCHED,) and got.max_abs == 0.0
        assert got.zero == (BATCHED * 2 - 1 if depth == "full" else None)
        assert not got.all_zero


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", [(3, 4), (300, 400), (3, 100, 1000)])
def test_all_nan(shape: tuple[int, ...], depth: Depth) -> None:
    got = judge(np.full(shape, np.nan, dtype=np.float16), "F16", depth)
    assert got.nan == got.numel and got.max_abs is None and got.rms is None
    assert got.first_nonfinite == (0,) * len(shape)
    rows = got.bad_rows
    assert rows is not None and rows.ranges == ((0, shape[0]),) and rows.whole


def test_first_index_past_the_first_block() -> None:
    array = np.ones((3, 400_000), dtype=np.float32)
    array[2, 70_001] = np.inf
    array[2, 70_002] = np.nan
    got = judge(array, "F32")
    assert got.first_nonfinite == (2, 70_001)
    assert (got.nan, got.pos_inf, got.neg_inf, got.zero) == (1, 1, 0, 0)
    assert got.max_abs == 1.0 and got.rms == pytest.approx(1.0)
    assert got.bad_rows is not None
    assert got.bad_rows.ranges == ((2, 3),) and not got.bad_rows.whole


def test_new_rows_of_an_embedding() -> None:
    array = np.ones((50_000, 96), dtype=np.float32)
    array[49_152:] = np.nan
    got = judge(array, "F32", "finite")
    assert got.bad_rows is not None and got.bad_rows.whole
    assert got.bad_rows.ranges == ((49_152, 50_000),) and got.bad_rows.count == 848


def test_many_separate_rows_are_counted_and_the_first_listed() -> None:
    array = np.ones((1000, 8), dtype=np.float32)
    array[::10, 3] = np.inf
    got = judge(array, "F32")
    assert got.bad_rows is not None and got.bad_rows.count == 100
    assert len(got.bad_rows.ranges) == 16 and got.bad_rows.ranges[1] == (10, 11)


def test_scalar_and_empty_shapes() -> None:
    scalar = judge(np.float32("nan"), "F32")
    assert scalar.nan == 1 and scalar.first_nonfinite == () and scalar.max_abs is None
    empty = measured(whole(b"", "F32", (0, 4)))
    assert empty.max_abs is None and empty.rms is None and not empty.all_zero
    assert (empty.zero, empty.subnormal, empty.min_abs) == (0, 0, None)


def test_headroom_of_f16() -> None:
    got = judge(np.array([65504 / 2], dtype=np.float16), "F16")
    assert got.headroom == 2.0
