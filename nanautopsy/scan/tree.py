"""An archive as folders and files with their sizes and times, on a disk or behind a URL.

Links are treated as :mod:`nanautopsy.discover` treats them in a run: what they lead to inside the
archive is met anyway, what lies outside is not looked into, and loops are not entered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nanautopsy.discover import (
    HEAD_BYTES,
    SKIPPED_DIRECTORIES,
    NothingToRead,
    leads_to_blob,
    natural_key,
    why_not_followed,
)
from nanautopsy.model import Problem, Source
from nanautopsy.remote import Explain, is_url, reach, shown

TAIL_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Entry:
    """A file."""

    path: str
    """Relative to the archive, with forward slashes."""
    size: int
    """Bytes."""
    stamp: str
    """What changes with the content: nanoseconds since the epoch, or an object store's tag."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Folder:
    """What one listing says."""

    path: str
    """Relative to the archive; empty for the archive itself."""
    files: tuple[Entry, ...]
    folders: tuple[str, ...]
    """Names, in natural order."""


class Tree(Protocol):
    """An archive that can be listed."""

    @property
    def address(self) -> str:
        """Absolute path, or URL without secrets: the archive's name in a catalog."""

    @property
    def problems(self) -> list[Problem]:
        """Grows while the tree is walked."""

    def folder(self, path: str) -> Folder:
        """One folder; one that cannot be read is empty, and a problem."""

    def head(self, file: Entry) -> bytes:
        """The first 64 KiB of a file. Raises ``OSError``."""

    def tail(self, file: Entry) -> bytes:
        """Of a longer file its last 16 KiB. Raises ``OSError``."""

    def sample(self, file: Entry, whole: int) -> Iterator[bytes]:
        """A file of up to ``whole`` bytes, of a larger one half as much from either end.

        Raises ``OSError``.
        """


def open_tree(archive: str) -> Tree:
    """The tree at a path or URL. Raises :class:`~nanautopsy.discover.NothingToRead`."""
    return _RemoteTree(archive) if is_url(archive) else _LocalTree(archive)


class _LocalTree:
    def __init__(self, archive: str) -> None:
        self._root = os.path.realpath(os.path.expanduser(archive.removeprefix("file://")))
        if not os.path.lexists(self._root):
            raise NothingToRead(f"{archive}: no such file or directory")
        self.address = self._root
        self.problems: list[Problem] = []

    def folder(self, path: str) -> Folder:
        if not path and not os.path.isdir(self._root):
            return self._alone()
        location = os.path.join(self._root, path) if path else self._root
        try:
            with os.scandir(location) as listing:
                entries = sorted(listing, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            text = f"directory cannot be read: {error.strerror}"
            self.problems.append(Problem(text, Source(path or ".")))
            return Folder(path, (), ())
        files: list[Entry] = []
        folders: list[str] = []
        for entry in entries:
            inside = f"{path}/{entry.name}" if path else entry.name
            if self._is_folder(entry, inside, location):
                folders.append(entry.name)
            else:
                files.extend(self._file(entry, inside))
        return Folder(path, tuple(files), tuple(folders))

    def head(self, file: Entry) -> bytes:
        with open(os.path.join(self._root, file.path), "rb", buffering=0) as handle:
            return handle.read(HEAD_BYTES)

    def tail(self, file: Entry) -> bytes:
        with open(os.path.join(self._root, file.path), "rb", buffering=0) as handle:
            size = os.fstat(handle.fileno()).st_size
            handle.seek(max(HEAD_BYTES, size - TAIL_BYTES))
            return handle.read(TAIL_BYTES)

    def sample(self, file: Entry, whole: int) -> Iterator[bytes]:
        with open(os.path.join(self._root, file.path), "rb") as handle:
            yield handle.read(whole // 2)
            handle.seek(max(whole // 2, file.size - whole // 2))
            yield handle.read(whole // 2)

    def _alone(self) -> Folder:
        """An archive that is one file."""
        parent, name = os.path.split(self._root)
        self._root = parent
        status = os.stat(os.path.join(parent, name))
        return Folder("", (Entry(name, status.st_size, str(status.st_mtime_ns)),), ())

    def _is_folder(self, entry: os.DirEntry[str], inside: str, location: str) -> bool:
        if not entry.is_symlink():
            return entry.is_dir() and entry.name not in SKIPPED_DIRECTORIES
        if leads_to_blob(entry.path):
            return False
        above = _above(location, self._root)
        text = why_not_followed(entry.path, self._root, above)
        if text is not None:
            self.problems.append(Problem(text.replace("run directory", "archive"), Source(inside)))
        return False

    def _file(self, entry: os.DirEntry[str], inside: str) -> Iterator[Entry]:
        """The entry, when it is a regular file."""
        if entry.is_symlink() and not leads_to_blob(entry.path):
            return
        try:
            status = entry.stat()
        except OSError as error:
            problem = Problem(f"cannot be looked at: {error.strerror}", Source(inside))
            self.problems.append(problem)
            return
        if stat.S_ISREG(status.st_mode):
            yield Entry(inside, status.st_size, str(status.st_mtime_ns))


def _above(location: str, root: str) -> frozenset[str]:
    """The folder and those around it, up to the root."""
    around = [location, *map(str, Path(location).parents)]
    return frozenset(one for one in around if one.startswith(root))


class _RemoteTree:
    def __init__(self, archive: str) -> None:
        self._url = archive.rstrip("/")
        self._files, root = reach(archive)
        self._explain = Explain(archive)
        self._root = root.rstrip("/")
        self.address = shown(self._url)
        self.problems: list[Problem] = []
        try:
            there = self._files.exists(self._root)
        except Exception as error:
            raise NothingToRead(f"{self.address}: {self._explain(error)}") from None
        if not there:
            raise NothingToRead(f"{self.address}: nothing there")

    def folder(self, path: str) -> Folder:
        location = f"{self._root}/{path}" if path else self._root
        try:
            listing = self._files.ls(location, detail=True)
        except Exception as error:
            problem = Problem(
                f"directory cannot be read: {self._explain(error)}", Source(path or ".")
            )
            self.problems.append(problem)
            return Folder(path, (), ())
        files: list[Entry] = []
        folders: list[str] = []
        for about in sorted(listing, key=lambda about: natural_key(about["name"])):
            name = about["name"].rstrip("/").rpartition("/")[2]
            inside = f"{path}/{name}" if path else name
            if about["type"] == "directory":
                if about["name"].rstrip("/") == location:
                    text = "holds keys with an empty name (//), which are not looked into"
                    self.problems.append(Problem(text, Source(path or ".")))
                elif name not in SKIPPED_DIRECTORIES:
                    folders.append(name)
            elif name and about["name"].rstrip("/") != location:
                files.append(Entry(inside, int(about.get("size") or 0), _stamp(about)))
        return Folder(path, tuple(files), tuple(folders))

    def head(self, file: Entry) -> bytes:
        return self._range(file, 0, min(HEAD_BYTES, file.size))

    def tail(self, file: Entry) -> bytes:
        return self._range(file, max(HEAD_BYTES, file.size - TAIL_BYTES), file.size)

    def sample(self, file: Entry, whole: int) -> Iterator[bytes]:
        half = min(whole // 2, file.size)
        yield self._range(file, 0, half)
        yield self._range(file, max(half, file.size - half), file.size)

    def _range(self, file: Entry, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        try:
            data: bytes = self._files.cat_file(f"{self._root}/{file.path}", start=start, end=end)
        except Exception as error:
            raise OSError(self._explain(error)) from None
        return data


_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime")
_TIMES = ("updated", "modified", "created")


def _stamp(about: dict[str, Any]) -> str:
    """What a listing says that changes with the content."""
    return next((str(about[key]) for key in (*_STAMPS, *_TIMES) if about.get(key)), "")
