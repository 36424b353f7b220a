"""The calls of a torch pickle that rebuild tensors, turned into places of bytes.

Argument orders are those of ``torch/_utils.py``, ``torch/_tensor.py`` and NumPy's
``core/multiarray``. No element is read here, and no size is believed before the storage behind it
was seen to hold it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_data import LOADERS, Call, Global, Lost, PersistentId
from nanautopsy.checkpoints.pickles.numpy_arrays import array_of_buffer, array_of_state
from nanautopsy.checkpoints.stored import Piece, StoredTensor
from nanautopsy.checkpoints.torch_parts.tables import COMPLEX_HALF, DTYPES, STORAGES, Storage

_MOST_DIMENSIONS = 64
_REPEATS = 1 << 22
"""Elements up to which a view may repeat its storage (``expand``) any number of times."""
_DEEPEST = 16
"""Wrappers around one tensor: a parameter of a subclass of a tensor ..."""
_LOCAL_TENSOR = "_local_tensor"


class BadTensor(ValueError):
    """A tensor whose elements cannot be reached; the text says why."""


@dataclass(slots=True)
class Storages:
    """What the calls of one pickle refer to."""

    file: DataFile
    """The file that holds the pickle."""
    by_key: Mapping[str, Storage] = field(default_factory=dict)
    big_endian: bool = False
    nested: dict[int, tuple[Any, Storages]] = field(default_factory=dict)
    """By ``id`` of an embedded byte string: the object that it holds, and what that refers to."""


_Rebuild: TypeAlias = "Callable[[tuple[Any, ...], Storages, int], StoredTensor | None]"


def tensor_of(value: Any, storages: Storages, depth: int = 0) -> StoredTensor | None:
    """The nameless tensor that ``value`` stands for; ``None`` if it stands for none.

    Of a DTensor it is the local shard; of a sparse tensor its values. Raises
    :class:`BadTensor`.
    """
    if depth > _DEEPEST:
        raise BadTensor("a tensor wrapped too many times")
    value, storages = unwrap(value, storages)
    if isinstance(value, PersistentId):
        return _whole_storage(value, storages) if _is_storage(value.value) else None
    if not isinstance(value, Call) or not isinstance(value.function, Global):
        return None
    rebuild = _REBUILD.get(value.function.name)
    if rebuild is None or value.function.module.split(".")[0] not in ("torch", "numpy", "jax"):
        return _wrapped(value, storages, depth)
    args = value.args
    if value.function.name in ("_reconstruct", "_reconstruct_array"):
        args = (*args, value.state)
    return rebuild(args, storages, depth + 1)


def unwrap(value: Any, storages: Storages) -> tuple[Any, Storages]:
    """The object in an embedded torch file (``torch.storage._load_from_bytes``), else ``value``."""
    for _ in range(_DEEPEST):
        if not isinstance(value, Call) or not isinstance(value.function, Global) or not value.args:
            break
        inside = storages.nested.get(id(value.args[0]))
        if inside is None or not value.function.name.endswith(LOADERS):
            break
        value, storages = inside
    return value, storages


def _wrapped(value: Call, storages: Storages, depth: int) -> StoredTensor | None:
    """``Parameter`` as torch before 0.4 saved it."""
    function = value.function
    if function.name in ("Parameter", "Variable") and value.args and "torch" in function.module:
        return tensor_of(value.args[0], storages, depth + 1)
    return None


# --- torch --------------------------------------------------------------------------------------


def _from_storage(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``_rebuild_tensor(storage, offset, size, stride, ...)``, its v2, and ``_rebuild_qtensor``."""
    return _view(args, storages, None)


def _from_untyped(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``_rebuild_tensor_v3``: the dtype is the seventh argument."""
    if len(args) < 7:
        raise BadTensor("a tensor without a dtype")
    return _view(args, storages, args[6])


def _first(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``_rebuild_parameter(tensor, ...)``: whatever stands in the first argument."""
    return tensor_of(args[0], storages, depth) if args else None


def _from_type(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``_rebuild_from_type_v2(function, type, args, state)``: a subclass of a tensor."""
    if len(args) < 3 or not isinstance(args[2], tuple):
        raise BadTensor("a tensor subclass without arguments")
    state = args[3] if len(args) > 3 else None
    parts = state if isinstance(state, tuple) else (state,)
    for part in parts:
        if isinstance(part, dict) and _LOCAL_TENSOR in part:
            return tensor_of(part[_LOCAL_TENSOR], storages, depth)
    return tensor_of(Call(args[0], args[2]), storages, depth)


def _no_elements(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """A meta tensor, or a wrapper whose elements stand elsewhere."""
    return None


def _sparse(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``(layout, (indices, values, size))``, or ``(compressed, plain, values, size)``."""
    if len(args) < 2 or not isinstance(args[1], tuple) or len(args[1]) < 3:
        raise BadTensor("a sparse tensor without values")
    parts = args[1]
    is_compressed = len(parts) >= 4 and isinstance(parts[2], Call)
    return tensor_of(parts[2 if is_compressed else 1], storages, depth)


def _whole_storage(reference: PersistentId, storages: Storages) -> StoredTensor | None:
    storage, dtype, count, offset = _resolve(reference, storages)
    return _tensor(storage, dtype or "U8", (count,), (1,), offset, storages.big_endian)


def _is_storage(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) >= 5 and value[0] == "storage"


def _view(args: tuple[Any, ...], storages: Storages, stated: Any) -> StoredTensor:
    if len(args) < 4:
        raise BadTensor("a tensor without a shape")
    reference, storages = unwrap(args[0], storages)
    storage, dtype, _, shift = _resolve(reference, storages)
    if stated is not None or dtype is None:
        dtype = dtype_of(stated)
    offset, shape, strides = args[1], args[2], args[3]
    if not _sizes((offset,)) or not _sizes(shape) or not _sizes(strides):
        raise BadTensor("a shape, stride or offset that is none")
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise BadTensor(f"{len(shape)} dimensions and {len(strides)} strides")
    return _tensor(storage, dtype, shape, strides, offset + shift, storages.big_endian)


def dtype_of(value: Any) -> str:
    """The format that ``torch.<dtype>`` means. Raises :class:`BadTensor`."""
    name = value.name if isinstance(value, Global) else None
    if name is None or name not in DTYPES:
        raise BadTensor(f"unknown dtype {str(value)[:100]!r}" if name else "no dtype")
    return DTYPES[name]


def _resolve(reference: Any, storages: Storages) -> tuple[Storage, str | None, int, int]:
    """(storage, dtype if its class has one, elements, first element) of a persistent id."""
    if isinstance(reference, Lost):
        raise BadTensor(reference.why)
    value = reference.value if isinstance(reference, PersistentId) else None
    if not isinstance(value, tuple) or not _is_storage(value):
        raise BadTensor("a tensor that refers to no storage")
    kind, key, count = value[1], value[2], value[4]
    if not isinstance(key, str) or not _sizes((count,)):
        raise BadTensor("a storage without a usable key or size")
    name = kind.name if isinstance(kind, Global) else ""
    dtype = STORAGES.get(name)
    if dtype is None and name != "UntypedStorage":
        raise BadTensor(f"storage class {name[:100]!r} is not known")
    shift = 0
    if len(value) > 5 and isinstance(value[5], tuple) and len(value[5]) == 3:
        shift = value[5][1] if _sizes(value[5][1:2]) else 0
    if value[3] == "meta":
        raise BadTensor("a tensor on the meta device: its elements were never saved")
    storage = storages.by_key.get(key)
    if storage is None:
        raise BadTensor(f"its storage {key[:100]!r} is not in the file")
    return storage, dtype, count, shift


def _sizes(values: Any) -> TypeGuard[tuple[int, ...]]:
    """A sequence of non-negative 63-bit integers."""
    return isinstance(values, (tuple, list)) and all(
        type(n) is int and 0 <= n < 1 << 63 for n in values
    )


def _tensor(
    storage: Storage,
    dtype: str,
    shape: Sequence[int],
    strides: Sequence[int],
    offset: int,
    big_endian: bool,
) -> StoredTensor:
    """Check that the storage holds the elements. ``offset`` is in elements."""
    if dtype == COMPLEX_HALF:  # judged as its two parts
        shape, strides, offset = (*shape, 2), (*(2 * s for s in strides), 1), 2 * offset
        dtype = "F16"
    elif dtype == "F4" and shape and is_row_major(shape, strides):  # two in an element of torch
        shape, strides, offset = (*shape[:-1], 2 * shape[-1]), (), 2 * offset
        return _packed(storage, shape, offset)
    numel = math.prod(shape)
    if numel == 0:
        return StoredTensor("", dtype, tuple(shape), (), big_endian=big_endian)
    width = FORMATS[dtype].bits // 8
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if (last + 1) * width > storage.nbytes:
        raise BadTensor(f"needs {(last + 1) * width} bytes of a storage of {storage.nbytes}")
    if numel > max(_REPEATS, last + 1 - offset):
        raise BadTensor(f"claims {numel} elements over {last + 1 - offset} stored ones")
    place = storage.offset + offset * width
    dense = None if is_row_major(shape, strides) else tuple(strides)
    piece = Piece(storage.file, place, tuple(shape), dense)
    return StoredTensor("", dtype, tuple(shape), (piece,), big_endian=big_endian)


def _packed(storage: Storage, shape: tuple[int, ...], offset: int) -> StoredTensor:
    """A dense tensor of half bytes; ``offset`` is in elements."""
    nbytes = FORMATS["F4"].nbytes(math.prod(shape))
    if offset // 2 + nbytes > storage.nbytes:
        raise BadTensor(f"needs {offset // 2 + nbytes} bytes of a storage of {storage.nbytes}")
    pieces = (Piece(storage.file, storage.offset + offset // 2, shape),) if nbytes else ()
    return StoredTensor("", "F4", shape, pieces)


def is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie one after the other in row-major order."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


# --- NumPy and JAX ------------------------------------------------------------------------------


def _jax_array(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    """``jax._src.array._reconstruct_array(function, args, state, aval)``."""
    if len(args) < 3 or not isinstance(args[1], tuple):
        raise BadTensor("a JAX array without arguments")
    return tensor_of(Call(args[0], args[1], state=args[2]), storages, depth)


def _numpy_array(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    return array_of_state(args[-1], storages.file)


def _numpy_buffer(args: tuple[Any, ...], storages: Storages, depth: int) -> StoredTensor | None:
    return array_of_buffer(args, storages.file)


_REBUILD: Mapping[str, _Rebuild] = {
    "_rebuild_tensor": _from_storage,
    "_rebuild_tensor_v2": _from_storage,
    "_rebuild_tensor_v3": _from_untyped,
    "_rebuild_qtensor": _from_storage,
    "_rebuild_parameter": _first,
    "_rebuild_parameter_with_state": _first,
    "_rebuild_from_type": _from_type,
    "_rebuild_from_type_v2": _from_type,
    "_rebuild_wrapper_subclass": _no_elements,
    "_rebuild_meta_tensor_no_storage": _no_elements,
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_device_tensor_from_numpy": _first,
    "_rebuild_device_tensor_from_cpu_tensor": _first,
    "_rebuild_xla_tensor": _first,
    "_reconstruct": _numpy_array,
    "_frombuffer": _numpy_buffer,
    "_reconstruct_array": _jax_array,
}
