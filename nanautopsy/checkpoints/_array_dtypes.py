"""NumPy's, JAX's and zarr's spellings of dtypes, as keys of ``FORMATS``.

NumPy knows no bfloat16: ``ml_dtypes`` registers it as a void of two bytes, so ``|V2`` and ``<V2``
are bfloat16 wherever a training program saved an array of it. Its float8_e5m2 is ``<f1``; the
other 8-bit formats share ``V1`` and cannot be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nanautopsy.checkpoints.formats import FORMATS

_DESCR = re.compile(r"([<>|=]?)([a-zA-Z])(\d+)")
_KINDS: Mapping[str, str] = {
    "f1": "F8_E5M2",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
    "b1": "BOOL",
    "V2": "BF16",
    **{f"{sign}{size}": f"{sign.upper()}{size * 8}" for sign in "iu" for size in (1, 2, 4, 8)},
}
_NAMES: Mapping[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "complex64": "C64",
    "complex128": "C128",
    "bool": "BOOL",
    "bool_": "BOOL",
    # ml_dtypes gives each of these small integers a byte of its own.
    "int2": "I8",
    "uint2": "U8",
    "int4": "I8",
    "uint4": "U8",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}


def format_of(spelling: str) -> tuple[str, bool] | None:
    """(key of ``FORMATS``, whether big-endian) of ``<f4``, ``|V2``, ``bfloat16``, ...

    ``None`` for what is no number, or none that can be judged.
    """
    name = _NAMES.get(spelling)
    if name is not None:
        return (name, False) if name in FORMATS else None
    match = _DESCR.fullmatch(spelling)
    name = _KINDS.get(match[2] + match[3]) if match else None
    if match is None or name is None:
        return None
    return name, match[1] == ">"
