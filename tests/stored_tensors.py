"""Tensors in memory, as readers list them, and what the definitions say of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.measure import measure_all
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.model import BadRows, Depth, Problem, TensorHealth

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
"""Whole-byte formats and the types that ml_dtypes and NumPy have for them."""


def whole(
    raw: bytes,
    dtype: str,
    shape: Sequence[int],
    *,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
    big_endian: bool = False,
    name: str = "t",
    path: str = "f",
) -> StoredTensor:
    """A tensor in one piece."""
    piece = Piece(MemoryFile(path, raw), offset, tuple(shape), strides)
    return StoredTensor(name, dtype, tuple(shape), (piece,), big_endian=big_endian)


def measured(tensor: StoredTensor, depth: Depth = "full") -> TensorHealth:
    """Its health; nothing else may be said of it."""
    (health,) = measure_all([tensor], depth)
    assert isinstance(health, TensorHealth), health
    return health


def troubled(tensor: StoredTensor, depth: Depth = "full") -> tuple[Problem, TensorHealth | None]:
    """The problem that it has, and the health of the rest, if there is any."""
    problem, *rest = measure_all([tensor], depth)
    assert isinstance(problem, Problem)
    (health,) = rest or [None]
    assert health is None or isinstance(health, TensorHealth)
    return problem, health


def judge(array: np.ndarray, dtype: str, depth: Depth = "full", **options: Any) -> TensorHealth:
    """The health of an array of bit patterns or values."""
    return measured(whole(array.tobytes(), dtype, array.shape, **options), depth)


def check(got: TensorHealth, values: np.ndarray) -> None:
    """Compare a full measurement, and what a shallow one would keep, with the definitions."""
    flat = values.reshape(-1)
    finite = np.abs(flat[np.isfinite(flat)])
    real = finite[finite > 0]
    normal = FORMATS[got.dtype].normal or 0.0
    bad = np.flatnonzero(~np.isfinite(flat))
    assert got.nan == np.isnan(flat).sum()
    assert got.pos_inf == np.isposinf(flat).sum()
    assert got.neg_inf == np.isneginf(flat).sum()
    assert got.max_abs == (finite.max() if len(finite) else None)
    first = tuple(int(i) for i in np.unravel_index(bad[0], values.shape)) if len(bad) else None
    assert got.first_nonfinite == first
    assert got.bad_rows == rows_of(values)
    if got.depth == "finite":
        assert (got.zero, got.subnormal, got.min_abs, got.rms) == (None,) * 4
        return
    assert got.zero == (flat == 0).sum()
    assert got.subnormal == (real < normal).sum()
    assert got.min_abs == (real.min() if len(real) else None)
    wanted = rms_of(finite)
    assert (got.rms is None) == (wanted is None)
    if wanted is not None and got.rms is not None:
        bound = 1e-12 if FORMATS[got.dtype].bits in (8, 64) else 1.6e-5
        assert abs(got.rms - wanted) <= bound * wanted


def rms_of(finite: np.ndarray) -> float | None:
    """Root mean square of magnitudes, in float64 scaled by the largest."""
    if not len(finite):
        return None
    exponent = int(np.frexp(finite.max())[1])
    scaled = np.ldexp(finite, -exponent)
    return float(np.ldexp(np.sqrt(np.mean(scaled * scaled)), exponent))


def rows_of(values: np.ndarray) -> BadRows | None:
    """The rows that hold non-finite values, element by element."""
    bad = ~np.isfinite(values)
    if values.ndim < 2 or not bad.any():
        return None
    rows = [i for i in range(len(values)) if bad[i].any()]
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return BadRows(len(rows), tuple(ranges[:16]), bool(all(bad[row].all() for row in rows)))
