"""List the datasets of an HDF5 file: run as a program of its own, never imported by a reader.

The HDF5 library is C and was not made for hostile files; in a process of its own, with bounded
memory and time, it cannot take the analysis down. One JSON object a line tells a dataset's place in
the file; its elements are read without the library. Links other than hard ones, external storage
and virtual datasets, which lead to other files, are told and not followed.

Standard input: ``{"sys_path": [...], "path": ..., "begin": ..., "size": ...}``.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_MOST_OBJECTS = 500_000
_MOST_CHUNKS = 1_000_000
_MOST_ATTRIBUTE = 1 << 20
_MOST_MEMORY = 4 << 30
_DEEPEST = 200
_ATTRIBUTES = ("keras_version", "backend")


class Window(io.RawIOBase):
    """A range of a file, which ends in zeros where it was cut short.

    The library refuses a file that is shorter than its header says; with zeros behind, it gives all
    that lies before.
    """

    def __init__(self, path: str, begin: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)
        self._begin = begin
        self._real = size
        self._at = 0
        self._size = max(size, min(stated_size(self._file, begin), size * 1000 + (1 << 20)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        wanted = max(0, min(len(target), self._size - self._at))
        there = max(0, min(wanted, self._real - self._at))
        self._file.seek(self._begin + self._at)
        got = self._file.readinto(target[:there]) or 0
        target[got:wanted] = bytes(wanted - got)
        self._at += wanted
        return wanted


def stated_size(file: Any, begin: int) -> int:
    """The end of the file that the superblock states (HDF5 file format 3.0, section II.A)."""
    file.seek(begin)
    head = file.read(64)
    if len(head) < 64:
        return 0
    place = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8], 0)
    return int.from_bytes(head[place : place + 8], "little") if place else 0


def list_file(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One object for the attributes, then one for each dataset or link that is not followed."""
    h5py: Any = import_module("h5py")
    window = Window(request["path"], request["begin"], request["size"])
    with h5py.File(window, "r") as file:
        yield {"attributes": dict(attributes(file))}
        pending = [("", file, 0)]
        seen = set()
        count = 0
        while pending:
            prefix, group, depth = pending.pop()
            for name, member in members(h5py, group, prefix):
                count += 1
                if isinstance(member, str):
                    yield {"name": name, "problem": member}
                elif isinstance(member, h5py.Group):
                    address = address_of(h5py, member)
                    if address is None:
                        yield {"name": name, "problem": "a damaged group: what is in it is lost"}
                    elif address not in seen and depth < _DEEPEST:
                        seen.add(address)
                        pending.append((name + "/", member, depth + 1))
                elif isinstance(member, h5py.Dataset):
                    yield {"name": name, **describe(h5py, member)}
                if count > _MOST_OBJECTS:
                    yield {"problem": f"more than {_MOST_OBJECTS} objects; the rest is not read"}
                    return


def attributes(file: Any) -> Iterator[tuple[str, str]]:
    """The versions that Keras writes, and whether it wrote the file at all."""
    for name in _ATTRIBUTES:
        try:
            if name in file.attrs and file.attrs.get_id(name).get_storage_size() < _MOST_ATTRIBUTE:
                value = file.attrs[name]
                yield name, value.decode() if isinstance(value, bytes) else str(value)
        except Exception:  # an attribute is worth no dataset
            continue


def address_of(h5py: Any, group: Any) -> int | None:
    """Where a group's header lies; ``None`` for a damaged one."""
    try:
        return int(h5py.h5o.get_info(group.id).addr)
    except Exception:
        return None


def members(h5py: Any, group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, object) of each hard link; for another link or a damaged one, what is wrong."""
    try:
        names = list(group)
    except Exception as error:
        yield prefix.rstrip("/") or "/", f"its members cannot be listed: {one_line(error)}"
        return
    for name in names:
        try:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                yield prefix + name, "a link to another file; not followed"
            elif isinstance(link, h5py.HardLink):
                yield prefix + name, group[name]
        except Exception as error:
            yield prefix + name, f"cannot be read: {one_line(error)}"


def describe(h5py: Any, dataset: Any) -> dict[str, Any]:
    """Where a dataset's elements lie, or why that is not told."""
    try:
        plist = dataset.id.get_create_plist()
        if plist.get_external_count():
            return {"problem": "its elements lie in another file; not read"}
        layout = plist.get_layout()
        if layout == h5py.h5d.VIRTUAL:
            return {"problem": "a virtual dataset, put together from other files; not read"}
        facts: dict[str, Any] = {"shape": list(dataset.shape or ()), "dtype": dtype(dataset)}
        facts["bytes"] = dataset.id.get_type().get_size()
        if dataset.shape is None or "vlen" in facts["dtype"]:
            return {"shape": [0], "dtype": "|V0", "bytes": 0}
        if layout == h5py.h5d.COMPACT:
            facts["data"] = dataset[()].tobytes().hex()
        elif layout == h5py.h5d.CONTIGUOUS:
            facts["offset"] = dataset.id.get_offset()
        else:
            facts |= chunks(dataset, plist)
        return facts
    except Exception as error:
        return {"problem": f"cannot be read: {one_line(error)}"}


def dtype(dataset: Any) -> str:
    """NumPy's spelling; ``bfloat16`` where Keras marked two plain bytes as such."""
    found = dataset.dtype
    if found.kind == "O":
        return "vlen"
    marked = dataset.attrs.get("dtype") if found.kind == "V" else None
    return "bfloat16" if marked == "bfloat16" else str(found.str)


def chunks(dataset: Any, plist: Any) -> dict[str, Any]:
    """The place of each chunk and what its bytes went through."""
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    count = dataset.id.get_num_chunks()
    if count > _MOST_CHUNKS:
        return {"problem": f"{count} chunks"}
    infos = [dataset.id.get_chunk_info(i) for i in range(count)]
    return {
        "filters": filters,
        "chunk": list(dataset.chunks),
        "chunks": [[*i.chunk_offset, i.byte_offset, i.size, i.filter_mask] for i in infos],
    }


def one_line(error: Exception) -> str:
    """The library's message without its line breaks."""
    return " ".join(str(error).split())[:200]


def limit_memory() -> None:
    """No more than a few gigabytes, where the system can limit it."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    except (ImportError, ValueError, OSError):
        pass


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    sys.path[:] = request["sys_path"]
    limit_memory()
    try:
        for facts in list_file(request):
            sys.stdout.write(json.dumps(facts) + "\n")
    except ImportError:
        sys.stdout.write(json.dumps({"absent": True}) + "\n")
    except Exception as error:
        sys.stdout.write(json.dumps({"problem": one_line(error)}) + "\n")


if __name__ == "__main__":
    main()
