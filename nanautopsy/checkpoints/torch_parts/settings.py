"""Settings and numbers that torch files hold beside their tensors, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from nanautopsy.checkpoints.formats import FORMATS, decode_table, to_float64
from nanautopsy.checkpoints.pickle_data import Call, Global
from nanautopsy.checkpoints.pickles.numpy_arrays import scalar_of
from nanautopsy.checkpoints.torch_objects import BadTensor, Storages, tensor_of
from nanautopsy.checkpoints.torch_parts.tables import NUMPY
from nanautopsy.model import Scalar
from nanautopsy.readers._flatten import flatten
from nanautopsy.redact_patterns import is_secret

_DEEPEST = 10
_MOST_VALUES = 20_000
_LONGEST_TEXT = 2000
_CONTENTS = ("_content", "_val", "_store")
"""Where omegaconf's and easydict's containers keep what they hold."""


def settings_of(value: Any) -> dict[str, Scalar]:
    """Flat settings of a mapping, a namespace or a dataclass; without secrets."""
    tree = plain(value)
    if not isinstance(tree, Mapping):
        return {}
    flat = flatten(tree)
    return {key: item for key, item in flat.items() if not is_secret(key, str(item))}


def plain(value: Any) -> Any:
    """``value`` as mappings, lists and scalars; enumeration members as their values.

    What is none of these (functions, tensors, objects of no attributes) vanishes as ``None``.
    """
    return _plain(value, 0, [_MOST_VALUES])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        return None
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, Global):
        return str(value)
    if isinstance(value, dict):
        return _mapping(value, depth, left)
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(value) if len(value) <= 256 else []
        return [_plain(item, depth + 1, left) for item in items]
    return _of_call(value, depth, left) if isinstance(value, Call) else None


def _of_call(value: Call, depth: int, left: list[int]) -> Any:
    number = scalar_of(value)
    if number is not None:
        return number
    attributes = value.attributes
    for name in _CONTENTS:
        if name in attributes:
            return _plain(attributes[name], depth + 1, left)
    if attributes:
        return _mapping(attributes, depth, left)
    if value.pairs:
        return {
            key: _plain(item, depth + 1, left) for key, item in value.pairs if isinstance(key, str)
        }
    if value.items:
        return [_plain(item, depth + 1, left) for item in value.items[:256]]
    name = value.function.name if isinstance(value.function, Global) else ""
    if name == "device":
        return ":".join(str(part) for part in value.args if isinstance(part, (str, int)))
    # A member of an enumeration is made from its value.
    if len(value.args) == 1 and isinstance(value.args[0], (str, int, float)):
        return _plain(value.args[0], depth + 1, left)
    return None


def _mapping(value: dict[Any, Any], depth: int, left: list[int]) -> dict[str, Any]:
    return {
        str(key): _plain(item, depth + 1, left)
        for key, item in value.items()
        if isinstance(key, (str, int)) and len(str(key)) < 200
    }


def number_of(value: Any, storages: Storages) -> int | float | bool | None:
    """The number that ``value`` is: Python's, NumPy's, or the only element of a tensor."""
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    if not isinstance(value, Call):
        return None
    number = scalar_of(value)
    if number is not None:
        return number
    try:
        tensor = tensor_of(value, storages)
    except BadTensor:
        return None
    if tensor is None or tensor.numel != 1:
        return None
    format = FORMATS[tensor.dtype]
    piece = tensor.pieces[0]
    try:
        with piece.file.open() as handle:
            handle.seek(piece.offset)
            data = handle.read(format.nbytes(1)) or b""
    except OSError:
        return None
    return _decoded(data, tensor.dtype, tensor.big_endian)


def _decoded(data: bytes, dtype: str, big_endian: bool) -> int | float | bool | None:
    format = FORMATS[dtype]
    if len(data) < format.nbytes(1) or format.kind == "complex":
        return None
    if format.kind == "table":
        return float(decode_table(dtype)[data[0]])
    order: Literal["<", ">"] = ">" if big_endian else "<"
    bits = np.frombuffer(data, np.dtype(format.storage).newbyteorder(order))
    if format.kind == "ieee":
        return float(to_float64(bits.astype(format.storage), format)[0])
    code = next(code for code, name in NUMPY.items() if name == dtype)
    number: int | bool = np.frombuffer(data, order + code)[0].item()
    return number
