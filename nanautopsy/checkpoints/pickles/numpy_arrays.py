"""NumPy's arrays, dtypes and scalars as pickles hold them (``numpy/core/multiarray``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nanautopsy.checkpoints.data_file import DataFile, MemoryFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_data import BytesAt, Call, Global
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.checkpoints.torch_parts.tables import DTYPES, NUMPY


def numpy_format(value: Any) -> tuple[str, bool] | None:
    """(format, big endian) of a pickled ``numpy.dtype``; ``None`` for objects, text and records."""
    if not isinstance(value, Call) or not isinstance(value.function, Global) or not value.args:
        return None
    code, state = value.args[0], value.state
    if isinstance(code, Global):  # bfloat16 and the 8-bit floats of ml_dtypes
        name = DTYPES.get(code.name)
    else:
        name = NUMPY.get(code.lstrip("<>|=")) if isinstance(code, str) else None
    if name is None:
        return None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "<"
    return name, order == ">"


def array_of_state(state: Any, file: DataFile) -> StoredTensor | None:
    """An array from ``(version, shape, dtype, is_fortran, bytes)``; ``None`` for no numbers."""
    if not isinstance(state, tuple) or len(state) < 5:
        return None
    shape, dtype, is_fortran, data = state[-4:]
    return _array(shape, dtype, bool(is_fortran), data, file)


def array_of_buffer(args: tuple[Any, ...], file: DataFile) -> StoredTensor | None:
    """An array from ``_frombuffer(bytes, dtype, shape, order)``: protocol 5."""
    if len(args) < 4:
        return None
    return _array(args[2], args[1], args[3] == "F", args[0], file)


def _array(
    shape: Any, dtype: Any, is_fortran: bool, data: Any, file: DataFile
) -> StoredTensor | None:
    format = numpy_format(dtype)
    if format is None or not isinstance(shape, tuple):
        return None
    if not all(type(n) is int and 0 <= n < 1 << 63 for n in shape) or len(shape) > 64:
        return None
    name, big_endian = format
    if isinstance(data, str):  # Python 2 did not tell text from bytes
        data = data.encode("utf-8", "replace")
    if isinstance(data, bytes):
        place, offset, size = MemoryFile(file.path, data), 0, len(data)
    elif isinstance(data, BytesAt):
        place, offset, size = file, data.offset, data.size  # type: ignore[assignment]
    else:
        return None
    numel = math.prod(shape)
    if FORMATS[name].nbytes(numel) > size:
        return None
    strides = tuple(math.prod(shape[:i]) for i in range(len(shape))) if is_fortran else None
    pieces = (Piece(place, offset, shape, strides),) if numel else ()
    return StoredTensor("", name, shape, pieces, big_endian=big_endian)


def scalar_of(value: Any) -> int | float | bool | None:
    """The number that ``numpy.core.multiarray.scalar(dtype, bytes)`` makes."""
    if not isinstance(value, Call) or not isinstance(value.function, Global):
        return None
    if value.function.name != "scalar" or len(value.args) != 2:
        return None
    format, data = numpy_format(value.args[0]), value.args[1]
    if isinstance(data, str):
        data = data.encode("latin-1", "replace")
    if format is None or not isinstance(data, bytes):
        return None
    code = next((code for code, name in NUMPY.items() if name == format[0]), None)
    if code is None or code[0] == "c" or len(data) != np.dtype(code).itemsize:
        return None
    number: int | float | bool = np.frombuffer(data, (">" if format[1] else "<") + code)[0].item()
    return number
