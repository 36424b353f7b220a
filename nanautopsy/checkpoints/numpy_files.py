"""NumPy archives and arrays: ``.npz`` of big_vision and others, ``.npy``.

Most arrays that a program saves are data, not weights. What carries names such as programs give
to parameters is a model; what does not is listed as ``unknown`` where it stands alone, and left
unread where a directory holds many of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nanautopsy.checkpoints._decoded_file import DecodedFile, is_bomb
from nanautopsy.checkpoints._npy_header import (
    MAGIC,
    ArrayHeader,
    BadArray,
    NotNumbers,
    read_array_header,
)
from nanautopsy.checkpoints._safetensors_header import quote
from nanautopsy.checkpoints._tree_paths import (
    Path,
    holds_of,
    like_parameters,
    too_much_data,
    with_roles,
)
from nanautopsy.checkpoints.data_file import DataFile, Handle
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.checkpoints.stored import Holds, Piece, StoredCheckpoint, StoredTensor
from nanautopsy.checkpoints.torch_parts.zip import Archive, BadZip, Member, read_archive
from nanautopsy.discover import natural_key
from nanautopsy.model import Artifact, Claim, FileHead, Problem, Record, Skipped
from nanautopsy.readers._damage import LFS_POINTER, Damage
from nanautopsy.wording import phrase

_ZIP = b"PK\x03\x04"
_CHECKPOINT_NAME = re.compile(
    r"(?i)(?:.*[-_.])?(?:checkpoint|ckpt|weights|params|model|state)(?:[-_.].*)?"
)
_UNFINISHED = "-TEMPORARY"
"""big_vision writes under this name and renames the file when it is whole."""
_DATA = "arrays that are data"
_EQUINOX = ".eqx"
_SUFFIX = re.compile(r"\.(?:npy|eqx)$")
_MOST_ARRAYS = 1_000_000
_MOST_DEFLATION = 1040
"""Deflate makes nothing smaller than a thousandth (zlib's documentation: 1032)."""


@dataclass(slots=True)
class _Gathered:
    """What the files of one artifact gave so far."""

    tensors: list[tuple[Path, StoredTensor]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    other: int = 0
    """Arrays of text, dates or records."""
    unread: list[str] = field(default_factory=list)


class NumpyReader:
    """Claims by the magic, and a zip archive by the name of its first member."""

    name = "numpy"

    def claim(self, file: FileHead) -> Claim | None:
        if file.name.endswith(_EQUINOX) and (
            file.head.startswith(MAGIC) or (file.head[:1] == b"{" and b"\n" + MAGIC in file.head)
        ):
            return Claim("equinox", 92)
        if file.head.startswith(MAGIC):
            return Claim("npy", 92, "parameters" if _is_parameter(file.name) else _DATA)
        if file.head.startswith(_ZIP):
            first = _first_member(file.head)
            if not first.endswith(".npy"):
                return None
            named = _CHECKPOINT_NAME.fullmatch(file.name) or like_parameters([_path_of(first)])
            return Claim("npz", 92, None if named else _DATA)
        if file.name.endswith((".npz", ".npy")) and not file.head.strip(b"\0"):
            return Claim(file.name.rpartition(".")[2], 60)
        if file.name.endswith((".npz", ".npy")) and file.head.startswith(LFS_POINTER):
            return Claim(file.name.rpartition(".")[2], 60)
        return None

    def read(self, artifact: Artifact) -> Iterator[Record]:
        """One ``StoredCheckpoint``; of a directory full of data, one ``Skipped``."""
        claims = len(artifact.members)
        if claims > 1 and not any(_is_parameter(path) for path, _ in artifact.members):
            yield Skipped(
                phrase(
                    "{claims} files of arrays without names of parameters: taken for data",
                    claims=claims,
                )
            )
            return
        gathered = _Gathered()
        for file in artifact.files:
            if artifact.kind == "npz":
                yield from _read_archive(file, gathered)
            else:
                yield from _read_array_file(file, gathered)
        if not gathered.tensors and not gathered.missing:
            yield Skipped(
                gathered.unread[0] if gathered.unread else phrase("no array of numbers in it")
            )
            return
        yield _checkpoint(artifact, gathered)


READER = NumpyReader()


def _checkpoint(artifact: Artifact, gathered: _Gathered) -> StoredCheckpoint | Skipped:
    name = artifact.path.rpartition("/")[2]
    several = len(artifact.members) > 1
    # Counts and rates that stand beside the weights are numbers without a dimension.
    paths = [path for path, tensor in gathered.tensors if tensor.shape]
    known = like_parameters(paths) or artifact.kind == "equinox"
    known = known or bool(
        artifact.kind == "npz" and _CHECKPOINT_NAME.fullmatch(name) and not _data_names(paths)
    )
    holds: Holds = "unknown"
    if known:
        tensors = with_roles(gathered.tensors)
        holds = holds_of(tensors)
    else:
        reason = too_much_data(tensor for _, tensor in gathered.tensors)
        if reason is not None:
            return Skipped(reason)
        tensors = tuple(replace(tensor, part="state") for _, tensor in gathered.tensors)
    return StoredCheckpoint(
        path=(artifact.path.rpartition("/")[0] or ".") if several else artifact.path,
        kind=artifact.kind,
        step=step_of(artifact.path.removesuffix(_UNFINISHED)),
        tensors=tuple(sorted(tensors, key=lambda tensor: natural_key(tensor.name))),
        holds=holds,
        missing=tuple(sorted(gathered.missing, key=natural_key)),
    )


def _data_names(paths: list[Path]) -> bool:
    """``x_train``, ``labels``: the usual columns of a data set, whatever the file is called."""
    usual = {"x", "y", "data", "images", "labels", "train", "test", "features", "targets"}
    words = [set(re.split(r"[^a-z]+", path[-1].lower())) for path in paths if path]
    return bool(words) and all(usual & word for word in words)


def _path_of(member: str) -> Path:
    return tuple(member.removesuffix(".npy").split("/"))


def _is_parameter(path: str) -> bool:
    name = _SUFFIX.sub("", path.rpartition("/")[2])
    return like_parameters([tuple(name.split("."))])


def _first_member(head: bytes) -> str:
    """The name in the archive's first local header (APPNOTE 6.3, 4.3.7)."""
    size = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + size].decode("utf-8", "backslashreplace")


# --- single arrays ------------------------------------------------------------------------------


def _read_array_file(file: DataFile, gathered: _Gathered) -> Iterator[Problem]:
    """The array of a file, or the arrays: Equinox writes a model's one behind the other."""
    name = _SUFFIX.sub("", file.path.rpartition("/")[2])
    damage = Damage(file.path)
    start = 0
    try:
        size = file.size
        with file.open() as handle:
            start = _first_array(handle, file.path)
            several = False
            for number in range(_MOST_ARRAYS):
                handle.seek(start)
                header = read_array_header(handle)
                end = start + header.data + header.nbytes
                several = several or _array_follows(handle, end, size)
                full = f"{name}.{number}" if several else name
                if end > size:
                    gathered.missing.add(full)
                    damage.note(
                        phrase(
                            "array {name} is cut short: {size} of {end} bytes",
                            name=quote(full),
                            size=size,
                            end=end,
                        ),
                        size,
                    )
                    break
                stored = _stored(full, header, file, start)
                gathered.tensors.append((tuple(full.split(".")), stored))
                start = end
                if not several or end == size:
                    break
    except NotNumbers as error:
        gathered.other += 1
        gathered.unread.append(str(error))
    except (BadArray, OSError) as error:
        text = _why_not(file, error)
        gathered.unread.append(text)
        damage.note(text, start)
    yield from damage.problems()


def _first_array(handle: Handle, path: str) -> int:
    """Where the first array begins: Equinox' users put a line of settings in front."""
    if not path.endswith(_EQUINOX):
        return 0
    line, newline, _ = (handle.read(1 << 16) or b"").partition(b"\n")
    return len(line) + 1 if newline and line[:1] == b"{" else 0


def _array_follows(handle: Handle, end: int, size: int) -> bool:
    if end + len(MAGIC) > size:
        return False
    handle.seek(end)
    return handle.read(len(MAGIC)) == MAGIC


def _why_not(file: DataFile, error: BadArray | OSError) -> str:
    try:
        with file.open() as handle:
            head = handle.read(len(LFS_POINTER))
    except OSError:
        head = b""
    if head == LFS_POINTER:
        return "a Git LFS pointer; the arrays themselves are not here"
    return str(error) if isinstance(error, ValueError) else f"cannot be read: {error}"


def _stored(name: str, header: ArrayHeader, file: DataFile, start: int) -> StoredTensor:
    piece = Piece(file, start + header.data, header.shape, header.strides)
    pieces = (piece,) if header.nbytes else ()
    return StoredTensor(name, header.dtype, header.shape, pieces, big_endian=header.big_endian)


# --- archives -----------------------------------------------------------------------------------


def _read_archive(file: DataFile, gathered: _Gathered) -> Iterator[Problem]:
    damage = Damage(file.path)
    if file.path.endswith(_UNFINISHED):
        damage.note(phrase("saving did not finish: the file was never given its own name"))
    try:
        archive = read_archive(file)
        for text, offset in archive.problems:
            damage.note(text, offset=offset)
        inflated = 0
        for member in sorted(archive.members.values(), key=lambda member: member.header):
            if member.method:
                inflated += member.size
            _read_member(archive, member, is_bomb(inflated, file.size), damage, gathered)
    except (BadZip, OSError) as error:
        text = _why_not(file, error if isinstance(error, OSError) else BadArray(str(error)))
        gathered.unread.append(text)
        damage.note(text, offset=0)
    yield from damage.problems()


def _read_member(
    archive: Archive, member: Member, too_much: bool, damage: Damage, gathered: _Gathered
) -> None:
    name = member.name.removesuffix(".npy")
    if not member.name.endswith(".npy"):
        return
    try:
        if too_much:
            raise BadArray(f"inflates {member.stored} bytes to {member.size}; not read")
        file, start, size = _content(archive, member)
        with file.open() as handle:
            handle.seek(start)
            header = read_array_header(handle)
        if header.data + header.nbytes > size:
            raise BadArray(f"takes {header.data + header.nbytes} bytes, of which {size} are there")
    except NotNumbers:
        gathered.other += 1
    except (BadArray, BadZip, OSError) as error:
        gathered.missing.add(name)
        damage.note(
            phrase("array {name}: {error}", name=quote(name), error=error), offset=member.header
        )
    else:
        gathered.tensors.append((_path_of(member.name), _stored(name, header, file, start)))


def _content(archive: Archive, member: Member) -> tuple[DataFile, int, int]:
    """(file, first byte, bytes) of a member, inflated as it is read where it is deflated."""
    with archive.file.open() as handle:
        start = archive.start_of(member, handle)
    stored = min(member.stored, archive.end - start)
    if member.method == 0:
        return archive.file, start, stored
    if member.method != 8:
        raise BadArray(f"compressed by zip method {member.method}, which is not read")
    if member.size > _MOST_DEFLATION * member.stored + 1024:
        raise BadArray(f"claims to inflate {member.stored} bytes to {member.size}")
    return DecodedFile(archive.file, start, stored, "deflate", member.size), 0, member.size
