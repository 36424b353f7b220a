"""Number formats of checkpoint tensors: their width, and which bit patterns are not finite.

Names are spelled as safetensors spells them. Bit patterns: IEEE 754 for F64, F32 and F16; BF16
is the upper half of F32; F8_E4M3 (the finite-only "fn" variant) and F8_E5M2 from the OCP 8-bit
floating point specification 1.0; the FNUZ variants from the paper "8-bit Numerical Formats for
Deep Neural Networks" (arXiv 2206.02915), as ml_dtypes implements them; F8_E8M0 and F4 from the
OCP Microscaling specification 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kind: TypeAlias = Literal["ieee", "table", "integer", "complex"]


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How the elements of one dtype lie in memory."""

    name: str
    bits: int
    """Width of an element; 4 for F4, which stores two elements a byte, the first one low."""
    kind: Kind
    """``ieee``: exponent all ones is not finite. ``table``: few enough patterns to list."""
    maximum: float | None
    """Largest finite value; ``None`` for integers."""
    storage: str
    """NumPy dtype, without byte order, under which the kernel looks at the bytes."""
    infinity: int = 0
    """``ieee``: the pattern of +Inf; larger magnitudes are NaN."""

    def nbytes(self, count: int) -> int:
        """Bytes that ``count`` elements take."""
        return (count * self.bits + 7) // 8


def _ieee(name: str, bits: int, infinity: int, maximum: float) -> NumberFormat:
    return NumberFormat(name, bits, "ieee", maximum, f"u{bits // 8}", infinity)


def _table(name: str, maximum: float, bits: int = 8) -> NumberFormat:
    return NumberFormat(name, bits, "table", maximum, "u1")


def _integer(name: str, storage: str) -> NumberFormat:
    return NumberFormat(name, int(storage[1:]) * 8, "integer", None, storage)


_F32_MAX = 3.4028234663852886e38
_F64_MAX = 1.7976931348623157e308

FORMATS: Mapping[str, NumberFormat] = {
    format.name: format
    for format in (
        _ieee("F64", 64, 0x7FF0_0000_0000_0000, _F64_MAX),
        _ieee("F32", 32, 0x7F80_0000, _F32_MAX),
        _ieee("F16", 16, 0x7C00, 65504.0),
        _ieee("BF16", 16, 0x7F80, 3.3895313892515355e38),
        _table("F8_E4M3", 448.0),
        _table("F8_E5M2", 57344.0),
        _table("F8_E4M3FNUZ", 240.0),
        _table("F8_E5M2FNUZ", 57344.0),
        _table("F8_E8M0", 2.0**127),
        _table("F4", 6.0, bits=4),
        NumberFormat("C64", 64, "complex", _F32_MAX, "u4"),
        NumberFormat("C128", 128, "complex", _F64_MAX, "u8"),
        _integer("BOOL", "u1"),
        *(
            _integer(f"{sign}{size * 8}", f"{sign.lower()}{size}")
            for sign in "UI"
            for size in (1, 2, 4, 8)
        ),
    )
}
"""Every format that can be judged, by name."""


def to_float64(bits: NDArray[Any], format: NumberFormat) -> NDArray[np.float64]:
    """The values of ``ieee`` patterns, as new float64 numbers of the same shape."""
    if format.name == "BF16":
        bits = bits.astype(np.uint32) << np.uint32(16)
        return np.array(bits.view(np.float32), dtype=np.float64)
    values: NDArray[np.float64] = np.array(bits.view(f"f{format.bits // 8}"), dtype=np.float64)
    return values


@cache
def decode_table(name: str) -> NDArray[np.float64]:
    """The value of each pattern of a ``table`` format, NaN and Inf where it is one."""
    patterns = np.arange(1 << FORMATS[name].bits)
    if name == "F8_E8M0":
        values = np.exp2(patterns - 127.0)
        values[0xFF] = np.nan
    elif name == "F4":
        values = _decode(patterns, exponent_bits=2, mantissa_bits=1, bias=1)
    elif name == "F8_E4M3":
        values = _decode(patterns, exponent_bits=4, mantissa_bits=3, bias=7)
        values[[0x7F, 0xFF]] = np.nan
    elif name == "F8_E5M2":
        values = _decode(patterns, exponent_bits=5, mantissa_bits=2, bias=15)
        values[0x7C], values[0xFC] = np.inf, -np.inf
        values[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    else:
        exponent_bits, mantissa_bits, bias = {
            "F8_E4M3FNUZ": (4, 3, 8),
            "F8_E5M2FNUZ": (5, 2, 16),
        }[name]
        values = _decode(patterns, exponent_bits, mantissa_bits, bias)
        values[0x80] = np.nan
    values.setflags(write=False)
    return np.asarray(values, dtype=np.float64)


def _decode(
    patterns: NDArray[np.int64], exponent_bits: int, mantissa_bits: int, bias: int
) -> NDArray[np.float64]:
    """Sign, exponent and mantissa with subnormals, and no special pattern."""
    sign = np.where(patterns >> (exponent_bits + mantissa_bits), -1.0, 1.0)
    exponent = (patterns >> mantissa_bits) & ((1 << exponent_bits) - 1)
    fraction = (patterns & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    normal = (1.0 + fraction) * np.exp2(exponent - float(bias))
    subnormal = fraction * np.exp2(1.0 - bias)
    return np.asarray(sign * np.where(exponent > 0, normal, subnormal), dtype=np.float64)
