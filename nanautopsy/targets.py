"""What the user named (files, directories, globs, URLs) as one set of files on one set of names.

Names are relative to the directory that all of it lies in, so that the checkpoints of
``run/checkpoint-*`` are told apart, their steps are seen, and shards that were named one by one
come together again.
"""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nanautopsy.checkpoints.data_file import Location
from nanautopsy.checkpoints.step_names import step_of
from nanautopsy.discover import NothingToRead, files, heads, natural_key
from nanautopsy.model import FileHead, Problem


@dataclass(frozen=True, slots=True)
class Targets:
    """Where to look."""

    local: tuple[Path, ...]
    """Files and directories, absolute; each there when it was looked for."""
    urls: tuple[str, ...]


def targets(paths: Sequence[str | os.PathLike[str]]) -> Targets:
    """Globs expanded. Raises :class:`NothingToRead` for a path that is not there."""
    from nanautopsy.remote import is_url

    local: dict[Path, None] = {}
    urls: dict[str, None] = {}
    for given in paths:
        path = os.fspath(given)
        if is_url(path):
            urls[path] = None
        else:
            local |= dict.fromkeys(map(_absolute, _expanded(_plain(path))))
    return Targets(tuple(local), tuple(urls))


def found(targets: Targets, problems: list[Problem]) -> Iterator[tuple[FileHead, Location]]:
    """The first block of every file; what cannot be looked into becomes a problem."""
    if targets.local:
        directories = [path if path.is_dir() else path.parent for path in targets.local]
        base = _base([path.as_posix() for path in directories])
        yield from heads(_local_files(targets.local, base, problems), problems)
    yield from _remote_files(targets.urls, problems)


def _plain(path: str) -> str:
    if path.lower().startswith("file://"):
        return unquote(urlsplit(path).path)
    return os.path.expanduser(path)


def _expanded(path: str) -> list[str]:
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(path):
        raise NothingToRead(f"{path}: no such file or directory")
    matches = sorted(glob.glob(path, recursive=True), key=natural_key)
    if not matches:
        raise NothingToRead(f"{path}: nothing matches")
    return matches


def _absolute(path: str) -> Path:
    """Without ``..``, but with links as they are: their names may say a step."""
    return Path(os.path.abspath(path))


def _base(directories: Sequence[str]) -> str:
    """The directory around them; one more above when the name of this one says a step."""
    common = posixpath.commonpath(directories)
    name = posixpath.basename(common)
    tells = step_of(name) is not None or step_of(f"{name}/1") is not None
    return posixpath.dirname(common) if tells else common


def _local_files(
    roots: Sequence[Path], base: str, problems: list[Problem]
) -> Iterator[tuple[str, Path]]:
    seen = set()
    for root in roots:
        directory = root if root.is_dir() else root.parent
        inside = directory.relative_to(base).as_posix()
        under = "" if inside == "." else inside + "/"
        for path, location in files(root, problems, under):
            if path not in seen:
                seen.add(path)
                yield path, location


def _remote_files(
    urls: Sequence[str], problems: list[Problem]
) -> Iterator[tuple[FileHead, Location]]:
    """Those of one host are named relative to what is common to them."""
    from nanautopsy.remote import heads as remote_heads
    from nanautopsy.remote import list_url, shown

    hosts: dict[tuple[str, str], list[str]] = {}
    for url in urls:
        parts = urlsplit(shown(url))
        hosts.setdefault((parts.scheme, parts.netloc), []).append(url)
    for (scheme, host), named in hosts.items():
        listed = [list_url(url, problems) for url in named]
        base = _base([directory for directory, _ in listed])
        under = f"{host or scheme}/" if len(hosts) > 1 else ""
        by_path = {file.path: file for _, listing in listed for file in listing}
        yield from remote_heads(
            [
                (under + path.removeprefix(base).lstrip("/"), by_path[path])
                for path in sorted(by_path, key=natural_key)
            ],
            problems,
        )
