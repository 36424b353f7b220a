"""safetensors files for tests, written by the library itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

Tensors = Mapping[str, NDArray[np.generic]]


def content(tensors: Tensors) -> bytes:
    """A file's bytes."""
    data: bytes = save({name: np.ascontiguousarray(values) for name, values in tensors.items()})
    return data


def write(path: Path, tensors: Tensors) -> Path:
    """A file; its directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(tensors))
    return path


def floats(*values: float) -> NDArray[np.float32]:
    """A tensor of one dimension."""
    return np.array(values, dtype=np.float32)


def places(data: bytes) -> dict[str, tuple[int, int]]:
    """(first byte, byte past the last) of each tensor in a file's bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return {
        name: (8 + length + about["data_offsets"][0], 8 + length + about["data_offsets"][1])
        for name, about in header.items()
        if name != "__metadata__"
    }
