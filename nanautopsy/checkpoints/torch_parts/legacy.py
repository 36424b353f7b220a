"""The stream that torch.save wrote before 1.6, and writes still when told so.

Five pickles back to back (magic, protocol version, system, object, storage keys), then for each
key its number of elements as a little-endian int64 and its bytes
(``torch/serialization.py``, ``_legacy_save``).
"""

from __future__ import annotations

from typing import Any

from nanautopsy.checkpoints.data_file import DataFile
from nanautopsy.checkpoints.formats import FORMATS
from nanautopsy.checkpoints.pickle_data import Global, PersistentId, Unpickled, interpret
from nanautopsy.checkpoints.torch_parts.tables import STORAGES, Storage

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def is_legacy(magic: Unpickled) -> bool:
    """Whether this first pickle begins such a stream."""
    return magic.complete and magic.value == _MAGIC_NUMBER


def read_pickles(file: DataFile, magic: Unpickled, end: int) -> list[Unpickled]:
    """The pickles after the magic number, at most four; fewer where the file is cut."""
    pickles: list[Unpickled] = []
    at = magic.end
    while len(pickles) < 4:
        pickles.append(interpret(file, at, end))
        if not pickles[-1].complete:
            break
        at = pickles[-1].end
    return pickles


def is_big_endian(pickles: list[Unpickled]) -> bool:
    """What the third pickle says of the machine that wrote the file."""
    system = pickles[1].value if len(pickles) > 1 else None
    return isinstance(system, dict) and system.get("little_endian") is False


def read_storages(
    file: DataFile, pickles: list[Unpickled], end: int
) -> tuple[dict[str, Storage], str | None]:
    """Where each storage lies, and what stopped the search for them."""
    if len(pickles) < 4 or not pickles[3].complete or not isinstance(pickles[3].value, list):
        return {}, None
    width = _widths(pickles[2].references)
    found: dict[str, Storage] = {}
    at = pickles[3].end
    with file.open() as handle:
        for key in pickles[3].value:
            head = b""
            if at + 8 <= end:
                handle.seek(at)
                head = handle.read(8) or b""
            if len(head) < 8:
                return found, f"cut short: {len(found)} of {len(pickles[3].value)} storages"
            if not isinstance(key, str) or key not in width:
                return found, f"the size of storage {key!r:.100} is not stated anywhere"
            count = int.from_bytes(head, "little", signed=True)
            size = count * width[key]
            if count < 0:
                return found, f"storage {key!r:.100} claims {count} elements"
            found[key] = Storage(file, at + 8, min(size, max(0, end - at - 8)))
            at += 8 + size
    return found, None


def _widths(references: tuple[PersistentId, ...]) -> dict[str, int]:
    """Bytes of an element, by storage key."""
    widths: dict[str, int] = {}
    for reference in references:
        value: Any = reference.value
        if isinstance(value, tuple) and len(value) >= 5 and value[0] == "storage":
            kind, key = value[1], value[2]
            dtype = STORAGES.get(kind.name) if isinstance(kind, Global) else None
            if isinstance(key, str):
                widths[key] = 1 if dtype is None else FORMATS[dtype].bits // 8
    return widths
