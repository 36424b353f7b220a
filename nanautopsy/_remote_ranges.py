"""Bytes of a remote file, fetched in ranges and kept in a cache of fixed size.

Bytes that somebody announced (the tensors that will be measured) come in large chunks that end
where they end; anything else comes as it is read, small reads widened to blocks, which grow while
they follow one another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType

from nanautopsy._remote_fetch import Fetch, RemoteError
from nanautopsy.discover import HEAD_BYTES

HEAD = HEAD_BYTES
"""Bytes fetched first: what readers are shown of a file."""
BLOCK = 1 << 14
"""Bytes fetched at least."""
CHUNK = 4 << 20
"""Bytes fetched at most at once."""
CACHE_BYTES = 96 << 20
"""Kept, of all files together."""


@dataclass(slots=True)
class ByteCache:
    """The stretches of bytes used last, of any number of files; for use by several threads."""

    limit: int = CACHE_BYTES
    _kept: OrderedDict[tuple[int, int], bytes] = field(default_factory=OrderedDict)
    _held: int = 0
    _coming: dict[tuple[int, int], Future[bytes]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, file: int, start: int, fetch: Callable[[], bytes]) -> bytes:
        """The stretch at ``start``; fetched by one thread while others wait for it."""
        key = (file, start)
        with self._lock:
            data = self._kept.get(key)
            if data is not None:
                self._kept.move_to_end(key)
                return data
            coming = self._coming.get(key)
            mine = coming is None
            if coming is None:
                coming = self._coming[key] = Future()
        if not mine:
            return coming.result()
        try:
            data = fetch()
            self.put(file, start, data)
            coming.set_result(data)
        except BaseException as error:
            coming.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._coming[key]
        return data

    def has(self, file: int, start: int) -> bool:
        """Whether the stretch is kept."""
        with self._lock:
            return (file, start) in self._kept

    def put(self, file: int, start: int, data: bytes) -> None:
        """Keep a stretch, in place of those that were used least lately."""
        with self._lock:
            self._held += len(data) - len(self._kept.pop((file, start), b""))
            self._kept[file, start] = data
            while self._held > self.limit and len(self._kept) > 1:
                self._held -= len(self._kept.popitem(last=False)[1])


@dataclass(slots=True, eq=False)
class RangeSource:
    """One remote file: its size and its bytes."""

    fetch: Fetch
    size: int
    cache: ByteCache
    _wanted: list[tuple[int, int]] = field(default_factory=list)
    _next: int = -1
    _run: int = 1

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop``, fewer at the file's end. Raises :class:`RemoteError`."""
        stop = min(stop, self.size)
        parts = []
        while start < stop:
            begin, data = self._stretch(start, stop)
            parts.append(data[start - begin : stop - begin])
            start = begin + len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seed(self, head: bytes) -> None:
        """Keep the file's beginning, which somebody has fetched already."""
        for start in range(0, len(head), BLOCK):
            self.cache.put(id(self), start, head[start : start + BLOCK])

    def want(self, stretches: Iterable[tuple[int, int]]) -> None:
        """Say which bytes (start, stop) will be read, whole, in this order or another."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(stretches):
            start, stop = max(start, HEAD), min(stop, self.size)
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            elif start < stop:
                merged.append((start, stop))
        self._wanted = merged

    def _stretch(self, start: int, stop: int) -> tuple[int, bytes]:
        """Where a stretch that holds byte ``start`` begins, and its bytes."""
        number = bisect_right(self._wanted, start, key=lambda span: span[0])
        first, last = self._wanted[number - 1] if number else (0, 0)
        if start < last:
            begin = start - (start - first) % CHUNK
            end = min(begin + CHUNK, last)
            return begin, self.cache.get(id(self), begin, lambda: self._whole(begin, end))
        if stop - start > BLOCK and not self.cache.has(id(self), start - start % BLOCK):
            return start, self._whole(start, min(stop, start + CHUNK))
        begin = start - start % BLOCK
        return begin, self.cache.get(id(self), begin, lambda: self._block(begin))

    def _block(self, begin: int) -> bytes:
        """A block, and as many behind it as lie before it when it follows what was read last."""
        self._run = min(2 * self._run, CHUNK // BLOCK) if begin == self._next else 1
        data = self._whole(begin, min(begin + self._run * BLOCK, self.size))
        for i in range(BLOCK, len(data), BLOCK):
            self.cache.put(id(self), begin + i, data[i : i + BLOCK])
        self._next = begin + self._run * BLOCK
        return data[:BLOCK]

    def _whole(self, start: int, stop: int) -> bytes:
        answer = self.fetch(start, stop)
        if answer.total is not None and answer.total != self.size:
            text = f"the file changed while it was read: {self.size} bytes, now {answer.total}"
            raise RemoteError(text)
        if len(answer.data) != stop - start:
            text = f"{len(answer.data)} of {stop - start} bytes came for the range at byte {start}"
            raise RemoteError(text)
        return answer.data


@dataclass(slots=True)
class RemoteHandle:
    """A position in a remote file; closing it releases nothing."""

    source: RangeSource
    position: int = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte, counted from the beginning, from here or from the end."""
        self.position = max(0, offset + (0, self.position, self.source.size)[whence])
        return self.position

    def tell(self) -> int:
        """The byte that is read next."""
        return self.position

    def seekable(self) -> bool:
        """It is; ``zipfile`` asks."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, all that are left when negative."""
        stop = self.source.size if size < 0 else self.position + size
        data = self.source.read(self.position, stop)
        self.position += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer as far as the file goes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> RemoteHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        return None
