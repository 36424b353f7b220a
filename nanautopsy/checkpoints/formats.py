"""Number formats of checkpoint tensors: their width, and which bit patterns are not finite.

Names are spelled as safetensors spells them. Bit patterns: IEEE 754 for F64, F32 and F16; BF16
is the upper half of F32; F8_E4M3 (the finite-only "fn" variant) and F8_E5M2 from the OCP 8-bit
floating point specification 1.0; the FNUZ variants from the paper "8-bit Numerical Formats for
Deep Neural Networks" (arXiv 2206.02915), as ml_dtypes implements them; F8_E8M0, F6 and F4 from
the OCP Microscaling specification 1.0, which leaves packing to implementations: elements narrower
than a byte are taken to follow each other from the lowest bit of the first byte up.
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
    """Width of an element: a multiple of 8, or 6 or 4 for packed ones."""
    kind: Kind
    """``ieee``: exponent all ones is not finite. ``table``: few enough patterns to list."""
    maximum: float | None
    """Largest finite value; ``None`` for integers."""
    storage: str
    """NumPy dtype, without byte order, under which the kernel looks at the bytes."""
    infinity: int = 0
    """``ieee``: the pattern of +Inf; larger magnitudes are NaN. ``table``: the smallest magnitude
    pattern that is not finite, 0 where patterns are not ordered as sign and magnitude."""
    normal: float | None = None
    """Smallest normal value: nonzero magnitudes below it are subnormal. ``None`` for integers."""

    @property
    def normal_pattern(self) -> int:
        """``ieee``: the pattern of the smallest normal value, 1 in the exponent alone."""
        return self.infinity & -self.infinity

    def nbytes(self, count: int) -> int:
        """Bytes that ``count`` elements take."""
        return (count * self.bits + 7) // 8


def _ieee(name: str, bits: int, infinity: int, maximum: float, normal: float) -> NumberFormat:
    return NumberFormat(name, bits, "ieee", maximum, f"u{bits // 8}", infinity, normal)


def _table(
    name: str, maximum: float, normal: float, *, bits: int = 8, infinity: int = 0
) -> NumberFormat:
    return NumberFormat(name, bits, "table", maximum, "u1", infinity, normal)


def _complex(name: str, part: NumberFormat) -> NumberFormat:
    """A pair of ``part``; ``storage`` is that of one of the two."""
    bits = 2 * part.bits
    return NumberFormat(name, bits, "complex", part.maximum, part.storage, normal=part.normal)


def _integer(name: str, storage: str) -> NumberFormat:
    return NumberFormat(name, int(storage[1:]) * 8, "integer", None, storage)


_F64 = _ieee("F64", 64, 0x7FF0_0000_0000_0000, 1.7976931348623157e308, 2.0**-1022)
_F32 = _ieee("F32", 32, 0x7F80_0000, 3.4028234663852886e38, 2.0**-126)

FORMATS: Mapping[str, NumberFormat] = {
    format.name: format
    for format in (
        _F64,
        _F32,
        _ieee("F16", 16, 0x7C00, 65504.0, 2.0**-14),
        _ieee("BF16", 16, 0x7F80, 3.3895313892515355e38, 2.0**-126),
        _table("F8_E4M3", 448.0, 2.0**-6, infinity=0x7F),
        _table("F8_E5M2", 57344.0, 2.0**-14, infinity=0x7C),
        _table("F8_E4M3FNUZ", 240.0, 2.0**-7),
        _table("F8_E5M2FNUZ", 57344.0, 2.0**-15),
        _table("F8_E8M0", 2.0**127, 2.0**-127),
        _table("F6_E2M3", 7.5, 1.0, bits=6),
        _table("F6_E3M2", 28.0, 0.25, bits=6),
        _table("F4", 6.0, 1.0, bits=4),
        _complex("C64", _F32),
        _complex("C128", _F64),
        _integer("BOOL", "u1"),
        *(
            _integer(f"{sign}{size * 8}", f"{sign.lower()}{size}")
            for sign in "UI"
            for size in (1, 2, 4, 8)
        ),
    )
}
"""Every format that can be judged, by name."""

_FIELDS = {
    "F8_E4M3": (4, 3, 7),
    "F8_E5M2": (5, 2, 15),
    "F8_E4M3FNUZ": (4, 3, 8),
    "F8_E5M2FNUZ": (5, 2, 16),
    "F6_E2M3": (2, 3, 1),
    "F6_E3M2": (3, 2, 3),
    "F4": (2, 1, 1),
}
"""Exponent bits, mantissa bits and exponent bias of the ``table`` formats that have them."""


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
    else:
        values = _decode(patterns, *_FIELDS[name])
    if name == "F8_E4M3":
        values[[0x7F, 0xFF]] = np.nan
    elif name == "F8_E5M2":
        values[0x7C], values[0xFC] = np.inf, -np.inf
        values[[0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF]] = np.nan
    elif name.endswith("FNUZ"):
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
