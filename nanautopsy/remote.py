"""Files behind a URL: which there are, and their first blocks, through fsspec.

``https://`` gives one file, or an index and the shards that it names beside itself; whatever else
fsspec knows (``s3://``, ``gs://``, ``hf://``, ``memory://``, ...) may be a file, a directory or a
glob. Nothing is downloaded as a whole, and credentials in a URL are never shown.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from nanautopsy._remote_fetch import (
    Answer,
    Fetch,
    RemoteError,
    RemoteMissing,
    file_system_fetch,
    http_fetch,
)
from nanautopsy._remote_ranges import HEAD, ByteCache, RangeSource, RemoteHandle
from nanautopsy.discover import NothingToRead
from nanautopsy.model import FileHead, Problem, Source

CONNECT_SECONDS, SILENCE_SECONDS = 20.0, 60.0
"""How long an HTTP server may take to accept, and to send the next bytes."""
MOST_FILES = 100_000
MOST_SHARDS = 10_000
_MOST_INDEX_BYTES = 64 << 20
_AT_ONCE = 8
"""First blocks that are fetched at the same time."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_INDEX = re.compile(r".+\.index(?:\.\w+)?\.json")
_BACKENDS = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "az": "adlfs",
    "abfs": "adlfs",
    "sftp": "paramiko",
}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A remote file as a report cites it."""

    path: str
    source: RangeSource

    @property
    def size(self) -> int:
        """Bytes."""
        return self.source.size

    def open(self) -> RemoteHandle:
        """A handle at byte 0."""
        return RemoteHandle(self.source)


@dataclass(frozen=True, slots=True)
class RemotePath:
    """Where a remote file lies."""

    source: RangeSource

    def file(self, path: str) -> RemoteFile:
        """The file, to be cited as ``path``."""
        return RemoteFile(path, self.source)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a URL leads to."""

    path: str
    """Whole path on its host, without credentials."""
    fetch: Fetch
    size: int | None
    """Bytes, where the listing says."""
    head: bytes | None = None
    """The first block, where it was fetched already."""


def is_url(path: str) -> bool:
    """``scheme://...``, but for ``file://``."""
    return _URL.match(path) is not None and not path.lower().startswith("file://")


def shown(url: str) -> str:
    """The URL without user, password, query and fragment: any of them may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def list_url(url: str, problems: list[Problem]) -> tuple[str, list[Listed]]:
    """(directory that the URL names or lies in, the files that it leads to).

    Raises :class:`~nanautopsy.discover.NothingToRead` when it leads to none.
    """
    file_system, path = reach(url)
    try:
        if urlsplit(url).scheme.lower() in ("http", "https"):
            files = list(_behind_http(file_system, url, problems))
            return posixpath.dirname(files[0].path), files
        return _on_file_system(file_system, path, url, problems)
    except RemoteError as error:
        raise NothingToRead(f"{shown(url)}: {error}") from None


def heads(
    files: Iterable[tuple[str, Listed]], problems: list[Problem]
) -> Iterator[tuple[FileHead, RemotePath]]:
    """The first block of each (relative path, file), several fetched at the same time."""
    cache = ByteCache()
    files = list(files)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        opened = pool.map(lambda item: _head(item[1], cache), files)
        for (relative, _), result in zip(files, opened, strict=True):
            if isinstance(result, str):
                problems.append(Problem(f"cannot be read: {result}", Source(relative)))
            else:
                source, head = result
                yield FileHead(relative, source.size, head), RemotePath(source)


def _head(listed: Listed, cache: ByteCache) -> tuple[RangeSource, bytes] | str:
    try:
        source, head = _open(listed, cache)
    except RemoteError as error:
        return str(error)
    return source, head


def _open(listed: Listed, cache: ByteCache) -> tuple[RangeSource, bytes]:
    size, head = listed.size, listed.head
    if head is None and size == 0:
        head = b""
    if head is None:
        answer = listed.fetch(0, HEAD if size is None else min(HEAD, size))
        head, size = answer.data, answer.total if size is None else size
    if size is None:
        raise RemoteError("the server does not say how long the file is")
    source = RangeSource(listed.fetch, size, cache)
    source.seed(head)
    return source, head


# --- HTTP -----------------------------------------------------------------------------------------


def _behind_http(file_system: Any, url: str, problems: list[Problem]) -> Iterator[Listed]:
    """The file, and when it is an index the shards beside it. Raises :class:`RemoteError`."""
    fetch = http_fetch(file_system, url, Explain(url))
    answer = fetch(0, HEAD)
    if answer.total is None:
        raise RemoteError("the server does not say how long the file is")
    if answer.data[:256].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise RemoteError("a web page, not a file; give the address of the file itself")
    path = urlsplit(url).path
    yield Listed(path, fetch, answer.total, answer.data)
    if not _INDEX.fullmatch(posixpath.basename(path)):
        return
    for name in _shards(fetch, answer.total, Source(posixpath.basename(path)), problems):
        parts = urlsplit(url)
        beside = posixpath.join(posixpath.dirname(path), quote(name))
        shard = urlunsplit((parts.scheme, parts.netloc, beside, parts.query, ""))
        fetch_shard = http_fetch(file_system, shard, Explain(shard))
        try:
            first = fetch_shard(0, HEAD)
            yield Listed(posixpath.join(posixpath.dirname(path), name), fetch_shard, *_known(first))
        except RemoteMissing:
            continue  # the reader compares the index with the files that are there
        except RemoteError as error:
            problems.append(Problem(f"cannot be read: {error}", Source(name)))


def _known(answer: Answer) -> tuple[int | None, bytes | None]:
    return (None, None) if answer.total is None else (answer.total, answer.data)


def _shards(fetch: Fetch, size: int, source: Source, problems: list[Problem]) -> list[str]:
    """Names that the index gives to files beside itself; any that leads elsewhere is refused."""
    if size > _MOST_INDEX_BYTES:
        problems.append(Problem("larger than any index; its shards are not looked for", source))
        return []
    try:
        listed = json.loads(fetch(0, size).data)["weight_map"].values()
        names = sorted({str(name) for name in listed})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # the reader says what is wrong with an index
    good = [name for name in names if name not in ("", ".", "..") and not re.search(r"[/\\]", name)]
    if len(good) < len(names) or len(good) > MOST_SHARDS:
        left = len(names) - min(len(good), MOST_SHARDS)
        text = f"{left} of the {len(names)} files that the index names are not looked for: "
        text += "they lie elsewhere" if len(good) <= MOST_SHARDS else "too many"
        problems.append(Problem(text, source))
    return good[:MOST_SHARDS]


# --- everything else ------------------------------------------------------------------------------


def _on_file_system(
    file_system: Any, path: str, url: str, problems: list[Problem]
) -> tuple[str, list[Listed]]:
    """A file, a directory or a glob. Raises :class:`RemoteError`."""
    explain = Explain(url)
    try:
        roots = file_system.glob(path) if re.search(r"[*?\[]", path) else [path]
        found: dict[str, int | None] = {}
        directories = set()
        for root in roots:
            listing = file_system.find(root, detail=True)
            if root in listing:  # a file
                about = listing[root]
                listing = {root: about if "size" in about else file_system.info(root)}
            directories.add(posixpath.dirname(root) if root in listing else root)
            found |= {name: info.get("size") for name, info in listing.items()}
            if len(found) > MOST_FILES:
                text = f"holds more than {MOST_FILES} files; the others are not looked at"
                problems.append(Problem(text, Source(".")))
                break
    except Exception as error:
        raise RemoteError(explain(error)) from None
    if not found:
        raise RemoteMissing("nothing there" if roots == [path] else "nothing matches")
    files = [
        Listed(name, file_system_fetch(file_system, name, explain), size)
        for name, size in list(found.items())[:MOST_FILES]
    ]
    return posixpath.commonpath(directories), files


def reach(url: str) -> tuple[Any, str]:
    """The file system and the path on it. Raises ``NothingToRead`` when fsspec has no way there."""
    from fsspec.core import url_to_fs

    scheme = urlsplit(url).scheme.lower()
    needed = _BACKENDS.get(scheme, "an fsspec backend for it")
    try:
        options = _http_options() if scheme in ("http", "https") else {}
        file_system, path = url_to_fs(url, **options)
    except ImportError:
        text = f"{scheme}:// needs {needed}: pip install 'nanautopsy[remote]' {needed}"
        raise NothingToRead(f"{shown(url)}: {text}") from None
    except Exception as error:
        raise NothingToRead(f"{shown(url)}: {Explain(url)(error)}") from None
    return file_system, path


def _http_options() -> dict[str, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
    )
    return {"client_kwargs": {"timeout": timeout, "trust_env": True}}


class Explain:
    """Says in a line, without the URL's secrets, what an exception of a backend means."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, error: Exception) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, FileNotFoundError) or status == 404:
            return "not found"
        if isinstance(error, PermissionError) or status in (401, 403):
            return "access denied"
        if "Credentials" in type(error).__name__ and self._url.lower().startswith("s3"):
            return "no credentials; for a public bucket set FSSPEC_S3_ANON=true"
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return "no answer in time"
        text = str(error).splitlines()[0] if str(error) else ""
        text = text.replace(self._url, shown(self._url))
        text = re.sub(r"(://)[^/\s@]*@", r"\1", text)
        text = re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)
        return " ".join(f"{type(error).__name__}: {text}".split())[:300]
