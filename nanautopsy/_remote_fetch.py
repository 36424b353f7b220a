"""Ranges of remote files, asked of fsspec's file systems, every answer checked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 3
PAUSE = 0.5
"""Seconds before the second attempt; doubled before the third."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class RemoteError(OSError):
    """A remote file could not be read; the text is one line without credentials."""


class RemoteMissing(RemoteError):
    """There is no such remote file."""


class _Busy(Exception):
    """A failure that may have passed a moment later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a range request gave."""

    data: bytes
    """As many bytes as were wanted, fewer at the file's end."""
    total: int | None
    """Size of the file, where the answer states it."""


class Fetch(Protocol):
    """Gets bytes ``start`` to ``stop`` of one file. Raises :class:`RemoteError`."""

    def __call__(self, start: int, stop: int, /) -> Answer: ...


def file_system_fetch(file_system: Any, path: str, explain: Callable[[Exception], str]) -> Fetch:
    """Ranges of a file of any fsspec file system but HTTP."""
    from fsspec.asyn import AsyncFileSystem

    def fetch(start: int, stop: int, /) -> Answer:
        try:
            if isinstance(file_system, AsyncFileSystem):
                return Answer(file_system.cat_file(path, start=start, end=stop), None)
            # Without its own cache, which would read ahead of what is wanted.
            with file_system.open(path, "rb", cache_type="none") as file:
                file.seek(start)
                return Answer(file.read(stop - start), None)
        except Exception as error:
            raise RemoteError(explain(error)) from None

    return fetch


def http_fetch(file_system: Any, url: str, explain: Callable[[Exception], str]) -> Fetch:
    """Ranges of a file behind HTTP, with every answer checked and none read past its range."""
    from fsspec.asyn import sync

    def fetch(start: int, stop: int, /) -> Answer:
        for attempt in range(ATTEMPTS):
            try:
                answer: Answer = sync(file_system.loop, _http_range, file_system, url, start, stop)
                return answer
            except RemoteError:
                raise
            except Exception as error:
                if attempt == ATTEMPTS - 1 or not _may_pass(error):
                    raise RemoteError(explain(error)) from None
            time.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    return fetch


def _may_pass(error: Exception) -> bool:
    import aiohttp

    dropped = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError)
    return isinstance(error, (_Busy, *dropped))


async def _http_range(file_system: Any, url: str, start: int, stop: int) -> Answer:
    session = await file_system.set_session()
    # Without "identity" a server may send the range of a compressed form.
    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    async with session.get(file_system.encode_url(url), headers=headers) as answer:
        stated = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        total = int(stated[3]) if stated and stated[3] != "*" else None
        if answer.status == 416:
            return Answer(b"", total)
        _refuse(answer.status)
        if answer.headers.get("Content-Encoding", "identity") not in ("identity", ""):
            raise RemoteError("the server compresses what it sends, so no range can be read")
        if answer.status != 206:
            length = answer.content_length
            if start > 0 or length is None or length > stop:
                raise RemoteError(
                    "the server ignores range requests and would send the whole file; download it"
                )
            total = length
        elif stated is not None and stated[1] is not None and int(stated[1]) != start:
            raise RemoteError(f"asked for byte {start}, the server sent byte {int(stated[1])} on")
        data = bytearray()
        async for chunk in answer.content.iter_chunked(1 << 20):
            data += chunk
            if len(data) > stop - start:
                raise RemoteError(f"the server sent more than the {stop - start} bytes asked for")
        return Answer(bytes(data), total)


def _refuse(status: int) -> None:
    """Raise for a status that is a refusal or a failure."""
    if status in (429, 500, 502, 503, 504):
        raise _Busy(f"the server answered {status}")
    if status in (404, 410):
        raise RemoteMissing(f"not found (HTTP {status})")
    meaning = {401: "unauthorized", 403: "access denied"}
    if status >= 400:
        raise RemoteError(f"{meaning.get(status, 'the server refused')} (HTTP {status})")
