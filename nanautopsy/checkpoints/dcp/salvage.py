"""Shards of torch.distributed.checkpoint without their metadata: one torch file after the other.

``.metadata`` is written last, so a save that was killed has none. Each shard is a row of complete
zip archives; where one ends, the record of its end says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nanautopsy.checkpoints.data_file import DataFile, Handle
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.torch_load import ZIP_MAGIC, NotTorch, TorchFile, load_torch
from nanautopsy.checkpoints.torch_objects import BadTensor, tensor_of

_END = b"PK\x05\x06"
_END_SIZE = 22
_WIDE = b"PK\x06\x07"
_WIDE_SIZE = 56 + 20
"""torch writes the 64-bit form of the end record, and its locator, before the usual one."""
_HEAD = 1 << 16
"""Holds all that comes before a tensor."""
_WINDOW = 8192
"""What torch writes behind a tensor (two small members and the directory) takes about 1 kB."""
_MOST_SEARCHED = 64 << 20
"""Bytes of an archive without a tensor (a pickled object) that are searched for its end."""
_MOST_CHUNKS = 200_000


def chunks_of(file: DataFile) -> Iterator[tuple[int, TorchFile]]:
    """(first byte, content) of each archive in the shard, up to the first that is damaged."""
    size = file.size
    begin = 0
    for _ in range(_MOST_CHUNKS):
        if begin >= size:
            return
        end = _end_of(file, begin, size)
        try:
            loaded = load_torch(file, begin, end)
        except NotTorch:
            return
        yield begin, loaded
        if end is None:
            return
        begin = end


def _end_of(file: DataFile, begin: int, size: int) -> int | None:
    """Byte behind the archive; ``None`` where it cannot be found."""
    with file.open() as handle:
        handle.seek(begin)
        if handle.read(4) != ZIP_MAGIC:
            return None
        first = _search(handle, begin, begin, min(size, begin + _WINDOW))
        if first is not None:
            return first
    behind = _behind_tensor(file, begin, size)
    with file.open() as handle:
        limit = begin + _MOST_SEARCHED if behind is None else behind + _WINDOW
        return _search(handle, begin, behind or begin, min(size, limit))


def _behind_tensor(file: DataFile, begin: int, size: int) -> int | None:
    """Byte behind the archive's tensor, whose size the pickle before it says."""
    try:
        loaded = load_torch(file, begin, min(size, begin + _HEAD))
        storages = loaded.storages.by_key.items()
        whole = {key: replace(storage, nbytes=1 << 61) for key, storage in storages}
        tensor = tensor_of(loaded.value, replace(loaded.storages, by_key=whole))
    except (NotTorch, BadTensor):
        return None
    if tensor is None or not tensor.pieces:
        return None
    return tensor.pieces[0].offset + FORMATS[tensor.dtype].nbytes(tensor.numel)


def _search(handle: Handle, begin: int, start: int, stop: int) -> int | None:
    """Byte behind the first end record of an archive that starts at ``begin``."""
    handle.seek(start)
    block = handle.read(stop - start) or b""
    at = block.find(_END)
    while at >= 0:
        end = start + at + _END_SIZE
        record = block[at : at + _END_SIZE]
        # Size and place of the directory lead back to the archive's own beginning.
        directory = int.from_bytes(record[12:16], "little")
        offset = int.from_bytes(record[16:20], "little")
        is_wide = block[max(0, at - 20) :].startswith(_WIDE)
        behind = start + at - (_WIDE_SIZE if is_wide else 0)
        fits = begin + offset + directory == behind or (is_wide and offset == 0xFFFFFFFF)
        if len(record) == _END_SIZE and fits:
            return end
        at = block.find(_END, at + 1)
    return None
