"""What torch and NumPy call their number formats, and where a torch storage lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanautopsy.checkpoints.data_file import DataFile


@dataclass(frozen=True, slots=True)
class Storage:
    """The bytes that one or more tensors share."""

    file: DataFile
    offset: int
    nbytes: int
    """As far as the file goes."""


STORAGES: Mapping[str, str] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
}
"""Storage class to the dtype of its elements; ``UntypedStorage`` has none of its own."""

COMPLEX_HALF = "C32"
"""No format of its own: two halves."""

DTYPES: Mapping[str, str] = {
    "float64": "F64",
    "double": "F64",
    "float32": "F32",
    "float": "F32",
    "float16": "F16",
    "half": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "cfloat": "C64",
    "complex32": COMPLEX_HALF,
    "chalf": COMPLEX_HALF,
    "complex128": "C128",
    "cdouble": "C128",
    "int64": "I64",
    "long": "I64",
    "int32": "I32",
    "int": "I32",
    "int16": "I16",
    "short": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "qint8": "I8",
    "quint8": "U8",
    "qint32": "I32",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
}
"""``torch.<name>`` (and ml_dtypes' names, which agree) to the format."""

NUMPY: Mapping[str, str] = {
    "f8": "F64",
    "f4": "F32",
    "f2": "F16",
    "c8": "C64",
    "c16": "C128",
    "b1": "BOOL",
    **{f"{sign}{size}": f"{sign.upper()}{size * 8}" for sign in "iu" for size in (1, 2, 4, 8)},
}
"""NumPy's type codes to the format."""
