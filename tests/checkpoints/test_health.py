"""The numeric kernel against ml_dtypes' and NumPy's own values, bit pattern by bit pattern."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nanautopsy.checkpoints import data_file
from nanautopsy.checkpoints.data_file import read_blocks
from nanautopsy.checkpoints.formats import FORMATS, decode_table
from nanautopsy.checkpoints.health import ShortTensor, measure
from nanautopsy.model import TensorHealth

VALUE_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}
INTEGERS = [name for name, format in FORMATS.items() if format.kind == "integer"]


def judge(array: np.ndarray, dtype: str, **options: Any) -> TensorHealth:
    return measure("t", dtype, array.shape, [array.tobytes()], "f", **options)


def expect(values: np.ndarray) -> dict[str, Any]:
    """What the definition says, over float64 values."""
    flat = values.reshape(-1)
    finite = flat[np.isfinite(flat)]
    bad = np.flatnonzero(~np.isfinite(flat))
    return {
        "nan": int(np.isnan(flat).sum()),
        "pos_inf": int(np.isposinf(flat).sum()),
        "neg_inf": int(np.isneginf(flat).sum()),
        "zero": int((flat == 0).sum()),
        "max_abs": float(np.abs(finite).max()) if len(finite) else None,
        "first_nonfinite": (
            tuple(int(i) for i in np.unravel_index(bad[0], values.shape)) if len(bad) else None
        ),
    }


def check(got: TensorHealth, values: np.ndarray) -> None:
    for field, value in expect(values).items():
        assert getattr(got, field) == value, field
    finite = values[np.isfinite(values)]
    if not finite.size:
        assert got.rms is None
        return
    largest = np.abs(finite).max()
    scaled = finite / largest if largest else finite
    wanted = float(largest * np.sqrt(np.mean(scaled * scaled)))
    assert got.rms == pytest.approx(wanted, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("dtype", [d for d in VALUE_DTYPES if FORMATS[d].bits <= 16])
def test_every_pattern_of_the_narrow_formats(dtype: str) -> None:
    bits = FORMATS[dtype].bits
    patterns = np.arange(1 << bits, dtype=f"u{bits // 8}")
    with np.errstate(all="ignore"):
        values = patterns.view(VALUE_DTYPES[dtype]).astype(np.float64)
    check(judge(patterns, dtype), values)
    for code in range(0, len(patterns), 1 if bits == 8 else 61):
        check(judge(patterns[code : code + 1], dtype), values[code : code + 1])


@pytest.mark.parametrize("dtype", [d for d in VALUE_DTYPES if d.startswith("F8")])
def test_decode_table_is_ml_dtypes_own(dtype: str) -> None:
    values = np.arange(256, dtype=np.uint8).view(VALUE_DTYPES[dtype]).astype(np.float64)
    np.testing.assert_array_equal(decode_table(dtype), values)


def test_f4_table_and_order_within_a_byte() -> None:
    values = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float64)
    np.testing.assert_array_equal(decode_table("F4"), values)
    got = measure("t", "F4", (3,), [bytes([0x07, 0xF0])], "f")  # 6, 0, 0; the last half is padding
    assert (got.zero, got.max_abs, got.nonfinite) == (2, 6.0, 0)
    assert got.rms == pytest.approx(math.sqrt(12))


@pytest.mark.parametrize("dtype", VALUE_DTYPES)
def test_format_maximum_is_the_largest_finite_value(dtype: str) -> None:
    value = VALUE_DTYPES[dtype]
    assert FORMATS[dtype].maximum == float(ml_dtypes.finfo(value).max)


@pytest.mark.parametrize("dtype", VALUE_DTYPES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_bits_in_random_blocks(dtype: str, data: st.DataObject) -> None:
    width = FORMATS[dtype].bits // 8
    raw = data.draw(st.binary(max_size=40 * width).map(lambda b: b[: len(b) // width * width]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    edges = [0, *cuts, len(raw)]
    blocks = [raw[a:b] for a, b in pairwise(edges)]
    with np.errstate(all="ignore"):
        values = np.frombuffer(raw, dtype=VALUE_DTYPES[dtype]).astype(np.float64)
    check(measure("t", dtype, values.shape, blocks, "f"), values)


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(max_dims=4, max_side=5),
        elements=st.sampled_from([0.0, -0.0, 1.5, -3e38, math.nan, math.inf, -math.inf]),
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_index_in_both_memory_orders(array: np.ndarray, fortran: bool) -> None:
    raw = array.tobytes(order="F" if fortran else "C")
    got = measure("t", "F32", array.shape, [raw], "f", fortran_order=fortran)
    bad = np.flatnonzero(~np.isfinite(array.reshape(-1, order="F" if fortran else "C")))
    wanted = None
    if len(bad):
        order = "F" if fortran else "C"
        wanted = tuple(int(i) for i in np.unravel_index(bad[0], array.shape, order=order))
    assert got.first_nonfinite == wanted


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_have_no_float_health(dtype: str) -> None:
    storage = np.dtype(FORMATS[dtype].storage)
    info = np.iinfo(storage)
    got = judge(np.array([info.min, 0, info.max, 1], dtype=storage), dtype)
    assert got.nonfinite == 0 and got.format_max is None and got.headroom is None
    assert got.zero == (2 if info.min == 0 else 1)
    assert got.max_abs == float(max(-int(info.min), int(info.max)))


@pytest.mark.parametrize(("dtype", "part"), [("C64", np.complex64), ("C128", np.complex128)])
def test_complex_elements_count_once(dtype: str, part: Any) -> None:
    array = np.array(
        [0, 3 + 4j, complex(math.nan, math.inf), complex(1, math.inf), complex(-math.inf, 0)], part
    )
    got = judge(array, dtype)
    assert (got.nan, got.pos_inf, got.neg_inf, got.zero) == (1, 1, 1, 1)
    assert got.max_abs == 5.0 and got.first_nonfinite == (2,)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "I32", "C64"])
def test_big_endian(dtype: str) -> None:
    little = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I32": "<i4", "C64": "<c8"}[dtype]
    array = np.array([1, 2, 300, 0], dtype=little)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    assert judge(swapped, dtype, big_endian=True) == judge(array, dtype)


def test_extreme_magnitudes_do_not_overflow_the_rms() -> None:
    array = np.array([1e300, -1e300, 1e-300], dtype=np.float64)
    got = judge(array, "F64")
    assert got.rms == pytest.approx(1e300 * math.sqrt(2 / 3))
    tiny = judge(np.full(7, 5e-324), "F64")
    assert tiny.rms == 5e-324 and tiny.zero == 0
    parts = measure("t", "F64", (3,), [array[i : i + 1].tobytes() for i in (2, 0, 1)], "f")
    assert parts.rms == pytest.approx(1e300 * math.sqrt(2 / 3))


def test_first_index_past_the_first_chunk_and_block() -> None:
    array = np.ones((3, 100_000), dtype=np.float32)
    array[2, 70_001] = np.inf
    array[2, 70_002] = np.nan
    got = measure(
        "t", "F32", array.shape, read_blocks(io.BytesIO(array.tobytes()), 0, array.nbytes), "f"
    )
    assert got.first_nonfinite == (2, 70_001)
    assert (got.nan, got.pos_inf, got.neg_inf, got.zero) == (1, 1, 0, 0)
    assert got.max_abs == 1.0 and got.rms == pytest.approx(1.0)


def test_a_file_larger_than_the_buffer_passes_through_it() -> None:
    size = data_file.BLOCK_BYTES * 2 + 4096
    blocks = [len(block) for block in read_blocks(io.BytesIO(bytes(size)), 0, size)]
    assert sum(blocks) == size and max(blocks) == data_file.BLOCK_BYTES


def test_scalar_and_empty_shapes() -> None:
    scalar = measure("t", "F32", (), [np.float32("nan").tobytes()], "f")
    assert scalar.nan == 1 and scalar.first_nonfinite == () and scalar.max_abs is None
    empty = measure("t", "F32", (0, 4), [], "f")
    assert empty.max_abs is None and empty.rms is None and not empty.all_zero


def test_short_stream_is_said_and_surplus_ignored() -> None:
    with pytest.raises(ShortTensor, match="1 of 2"):
        measure("t", "F32", (2,), [b"\0" * 7], "f")
    assert measure("t", "F32", (2,), [b"\0" * 11], "f").zero == 2


def test_headroom_of_f16() -> None:
    got = judge(np.array([65504 / 2], dtype=np.float16), "F16")
    assert got.headroom == 2.0
