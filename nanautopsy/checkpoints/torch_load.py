"""What ``torch.load`` would load, as inert records: the zip form, the legacy stream, plain pickles.

Nothing is executed, nothing extracted, and no element of a tensor read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from nanautopsy.checkpoints.data_file import DataFile, MemoryFile
from nanautopsy.checkpoints.pickle_danger import dangers
from nanautopsy.checkpoints.pickle_data import Lost, Unpickled, interpret
from nanautopsy.checkpoints.torch_objects import Storages
from nanautopsy.checkpoints.torch_parts import legacy
from nanautopsy.checkpoints.torch_parts.tables import Storage
from nanautopsy.checkpoints.torch_parts.zip import Archive, BadZip, Member, read_archive

Form: TypeAlias = Literal["zip", "legacy", "pickle"]
ZIP_MAGIC = b"PK\x03\x04"
_MOST_OTHER_PICKLES = 64
_MOST_EMBEDDED = 100_000
_DEEPEST = 4
_NO_PICKLES = (".py", ".debug_pkl", ".npy", ".json", ".txt", ".h5")
_PICKLE_NAMES = (".pkl", ".pickle", ".p", ".bin", ".pt", ".pth", ".ckpt", ".dat", ".data")


class NotTorch(ValueError):
    """The file holds no pickle that could be read; the text says why."""


@dataclass(slots=True)
class TorchFile:
    """One file, or the part of one, as ``torch.save`` or ``pickle.dump`` wrote it."""

    file: DataFile
    form: Form
    value: Any
    """The saved object: plain data and the records of :mod:`.pickle_data`."""
    storages: Storages
    """What :func:`.torch_objects.tensor_of` needs to find tensors."""
    pickles: list[Unpickled] = field(default_factory=list)
    """Every pickle of the file itself: :mod:`.pickle_danger` looks into all of them."""
    embedded: list[Unpickled] = field(default_factory=list)
    """Those pickles inside byte strings of the others that are dangerous."""
    problems: list[tuple[str, int]] = field(default_factory=list)
    """(text, byte of the file)."""


def load_torch(file: DataFile, begin: int = 0, end: int | None = None, depth: int = 0) -> TorchFile:
    """Read the object and find the storages in the range [begin, end) of ``file``.

    Damage becomes ``problems``, and what can be read is given. Byte strings that the pickle would
    load as pickles of their own are read too, ``depth`` says how deep this one lies. Raises
    :class:`NotTorch` when nothing can be read, and ``OSError``.
    """
    stop = file.size if end is None else min(end, file.size)
    with file.open() as handle:
        handle.seek(begin)
        magic = handle.read(4) or b""
    loaded = (_load_zip if magic == ZIP_MAGIC else _load_stream)(file, begin, stop)
    _load_embedded(loaded, depth)
    return loaded


def _load_embedded(loaded: TorchFile, depth: int) -> None:
    """Open the byte strings that hold whole files: tensors in a plain pickle are such."""
    found = (value for pickle in loaded.pickles for _, value in pickle.embedded)
    embedded = list({id(value): value for value in found}.values())
    if embedded and depth >= _DEEPEST:
        loaded.problems.append((f"pickles {_DEEPEST} deep in each other; no deeper", 0))
        return
    if len(embedded) > _MOST_EMBEDDED:
        text = f"{len(embedded)} embedded pickles; {_MOST_EMBEDDED} of them are read"
        loaded.problems.append((text, 0))
    for value in embedded[:_MOST_EMBEDDED]:
        place, begin, end = loaded.storages.file, 0, 0
        if isinstance(value, bytes):
            place, end = MemoryFile(place.path, value), len(value)
        else:
            begin, end = value.offset, value.offset + value.size
        try:
            inner = load_torch(place, begin, end, depth + 1)
        except NotTorch:
            continue
        loaded.problems += [
            (f"in a pickle inside: {text}", begin) for text, _ in inner.problems[:3]
        ]
        dangerous = [pickle for pickle in inner.pickles if any(dangers([pickle]))]
        loaded.embedded += [*dangerous, *inner.embedded]
        loaded.storages.nested[id(value)] = (inner.value, inner.storages)


# --- the zip form -------------------------------------------------------------------------------


def _load_zip(file: DataFile, begin: int, end: int) -> TorchFile:
    try:
        archive = read_archive(file, begin, end)
        main = _main_pickle(archive)
        content = archive.content(main)
    except BadZip as error:
        raise NotTorch(str(error)) from None
    pickle = interpret(*content)
    loaded = TorchFile(file, "zip", pickle.value, Storages(content[0]), [pickle])
    loaded.problems += archive.problems
    loaded.problems += _of_pickle(pickle, main.name)
    top = main.name.removesuffix("data.pkl")
    loaded.storages.big_endian = _is_big_endian(archive, top)
    loaded.storages.by_key = dict(_zip_storages(archive, top, loaded.problems))
    loaded.pickles += _other_pickles(archive, main, top)
    return loaded


def _main_pickle(archive: Archive) -> Member:
    """The nearest to the top that is called ``data.pkl``, else the first pickle."""
    named = [m for m in archive.members.values() if m.name.rpartition("/")[2] == "data.pkl"]
    if not named:
        named = [m for m in archive.members.values() if m.name.endswith(_PICKLE_NAMES)][:1]
    if not named:
        raise BadZip("the archive holds no data.pkl")
    return min(named, key=lambda member: member.name.count("/"))


def _is_big_endian(archive: Archive, top: str) -> bool:
    member = archive.members.get(top + "byteorder")
    if member is None:
        return False
    try:
        file, begin, end = archive.content(member)
        with file.open() as handle:
            handle.seek(begin)
            return handle.read(min(end - begin, 16)) == b"big"
    except BadZip:
        return False


def _zip_storages(
    archive: Archive, top: str, problems: list[tuple[str, int]]
) -> Iterator[tuple[str, Storage]]:
    """(key, place) of each storage whose bytes are in the file as they are."""
    prefix = top + "data/"
    refused = 0
    with archive.file.open() as handle:
        for member in sorted(archive.members.values(), key=lambda m: m.header):
            if not member.name.startswith(prefix):
                continue
            try:
                if member.method != 0:
                    raise BadZip(f"storage {member.name[:200]!r} is compressed, torch's never are")
                start = archive.start_of(member, handle)
            except BadZip as error:
                refused += 1
                if refused <= 3:
                    problems.append((str(error), member.header))
                continue
            nbytes = max(0, min(member.stored, archive.end - start))
            yield member.name[len(prefix) :], Storage(archive.file, start, nbytes)


def _other_pickles(archive: Archive, main: Member, top: str) -> Iterator[Unpickled]:
    """Members beside the main one that a loader might unpickle, hidden ones too."""
    left = _MOST_OTHER_PICKLES
    for member in (*archive.twice, *archive.members.values()):
        if member is main or not member.stored or member.name.endswith(_NO_PICKLES):
            continue
        if member.name.startswith(top + "data/") or left == 0:
            continue
        try:
            content = archive.content(member)
        except BadZip:
            continue
        if member.name.endswith(_PICKLE_NAMES) or _looks_like_pickle(*content):
            left -= 1
            yield interpret(*content)


def _looks_like_pickle(file: DataFile, begin: int, end: int) -> bool:
    with file.open() as handle:
        handle.seek(begin)
        head = handle.read(min(2, end - begin)) or b""
    return len(head) == 2 and head[0] == 0x80 and head[1] <= 5


# --- streams of pickles -------------------------------------------------------------------------


def _load_stream(file: DataFile, begin: int, end: int) -> TorchFile:
    first = interpret(file, begin, end)
    if legacy.is_legacy(first):
        return _load_legacy(file, first, end)
    if isinstance(first.value, Lost) and not first.uses:
        raise NotTorch(first.problems[0][0] if first.problems else "no pickle")
    loaded = TorchFile(file, "pickle", first.value, Storages(file), [first])
    loaded.problems += _of_pickle(first, "")
    at = first.end
    # A loader may unpickle again and again; so does whoever hides something behind the first.
    while loaded.pickles[-1].complete and at < end and len(loaded.pickles) < _MOST_OTHER_PICKLES:
        following = interpret(file, at, end)
        if not following.complete and not following.uses:
            break
        loaded.pickles.append(following)
        at = following.end
    return loaded


def _load_legacy(file: DataFile, magic: Unpickled, end: int) -> TorchFile:
    pickles = legacy.read_pickles(file, magic, end)
    value = pickles[2].value if len(pickles) > 2 else Lost("cut short before the object")
    by_key, stopped = legacy.read_storages(file, pickles, end)
    storages = Storages(file, by_key, legacy.is_big_endian(pickles))
    loaded = TorchFile(file, "legacy", value, storages, [magic, *pickles])
    for pickle in pickles:
        loaded.problems += _of_pickle(pickle, "")
    if stopped is not None:
        loaded.problems.append((stopped, end))
    return loaded


def _of_pickle(pickle: Unpickled, member: str) -> Iterable[tuple[str, int]]:
    """A pickle's problems, with the archive member that it is."""
    where = f"{member[:200]}: " if member else ""
    return ((where + text, offset) for text, offset in pickle.problems)
