"""The header of an .npy array, nothing in it evaluated.

Layout (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): the magic, two
bytes of version, the header's length (16 bits in version 1, 32 in 2 and 3), a Python literal
``{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}``, then the array's bytes.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Any

from nanautopsy.checkpoints._array_dtypes import format_of
from nanautopsy.checkpoints.data_file import Handle
from nanautopsy.checkpoints.formats import FORMATS

MAGIC = b"\x93NUMPY"
_MOST_HEADER_BYTES = 10_000
"""NumPy's own limit of what it evaluates (``max_header_size``)."""
_MOST_DIMENSIONS = 64
_PYTHON2_LONG = re.compile(r"(?<=\d)L\b")


class BadArray(ValueError):
    """The array cannot be measured; the text says why."""


class NotNumbers(BadArray):
    """The array holds text, dates or records: nothing that could be non-finite in a model."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """How one array lies behind its header."""

    dtype: str
    big_endian: bool
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    """In elements, for Fortran order; ``None``: C order."""
    data: int
    """Byte of the first element, counted from the magic."""
    nbytes: int


def read_array_header(handle: Handle) -> ArrayHeader:
    """Parse the header at the handle's position. Raises :class:`BadArray`, ``OSError``."""
    start = _exactly(handle, 8)
    if start[:6] != MAGIC:
        raise BadArray("not an .npy array")
    width = 2 if start[6] == 1 else 4
    if start[6] not in (1, 2, 3):
        raise BadArray(f"version {start[6]}.{start[7]} of the .npy format is not known")
    length = int.from_bytes(_exactly(handle, width), "little")
    if length > _MOST_HEADER_BYTES:
        raise BadArray(f"its header claims {length} bytes; not parsed")
    table = _literal(_exactly(handle, length))
    descr, fortran, shape = (table.get(key) for key in ("descr", "fortran_order", "shape"))
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise BadArray("its header states no usable shape")
    if any(type(n) is not int or not 0 <= n < 1 << 63 for n in shape):
        raise BadArray("its header states no usable shape")
    dtype, big_endian = _dtype(descr)
    return ArrayHeader(
        dtype=dtype,
        big_endian=big_endian,
        shape=shape,
        strides=_fortran(shape) if fortran is True and len(shape) > 1 else None,
        data=8 + width + length,
        nbytes=FORMATS[dtype].nbytes(math.prod(shape)),
    )


def _dtype(descr: Any) -> tuple[str, bool]:
    if isinstance(descr, (list, tuple)):
        raise NotNumbers("an array of records")
    text = str(descr)[:40]
    if re.fullmatch(r"[|<>=]?O\d*", text):
        raise BadArray("an array of pickled Python objects; not opened")
    if re.fullmatch(r"[|<>=]?(?:[SUaMm]|V(?!1$)).*", text) and format_of(text) is None:
        raise NotNumbers(f"an array of dtype {text}")
    found = format_of(text)
    if found is None:
        raise BadArray(f"dtype {text!r} cannot be judged")
    return found


def _literal(header: bytes) -> dict[str, Any]:
    text = _PYTHON2_LONG.sub("", header.decode("utf-8", "replace"))
    try:
        table = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadArray("its header is no Python literal") from None
    if not isinstance(table, dict):
        raise BadArray("its header is no mapping")
    return table


def _exactly(handle: Handle, size: int) -> bytes:
    data = handle.read(size) or b""
    if len(data) < size:
        raise BadArray("cut short inside the array's header")
    return data


def _fortran(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Distances between neighbors when the first dimension varies fastest."""
    return tuple(math.prod(shape[:i]) for i in range(len(shape)))
