"""A real HTTP server with range requests that counts what it is asked for and what it sends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Served:
    """The files of a server, how it behaves, and what happened."""

    files: dict[str, bytes]
    """By path, beginning with a slash."""
    habit: str = ""
    """``no-ranges``, ``too-much``, ``too-little``, ``other-range``, ``gzip``, ``no-length``,
    ``silent``, ``hang-up``, ``grows``, or a status such as ``403``."""
    moods: list[str] = field(default_factory=list)
    """Habits of the first requests, one each."""
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    """(path, first byte, byte past the last) of each request that was answered with bytes."""
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    bodies: list[int] = field(default_factory=list)
    """Bytes of each body that went out whole."""
    answering: int = 0
    """How many answers are on their way."""
    quiet: threading.Condition = field(default_factory=threading.Condition)

    @property
    def sent(self) -> int:
        """Bytes of all bodies, once no answer is on its way: a client can have the last byte
        before the thread that sent it goes on.
        """
        with self.quiet:
            assert self.quiet.wait_for(lambda: not self.answering, timeout=10)
            return sum(self.bodies)

    @contextmanager
    def answer(self) -> Iterator[None]:
        """Around each answer."""
        with self.quiet:
            self.answering += 1
        try:
            yield
        finally:
            with self.quiet:
                self.answering -= 1
                self.quiet.notify_all()

    def ranges(self, path: str) -> list[tuple[int, int]]:
        """What was asked of one file, in order of place."""
        return sorted((start, stop) for name, start, stop in self.asked if name == path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, served: Served, *arguments: object) -> None:
        self.served = served
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        """Not needed."""
        self.send_error(405)

    def do_GET(self) -> None:
        """Answer as the habit says."""
        served = self.served
        served.headers.append(dict(self.headers))
        habit = served.moods.pop(0) if served.moods else served.habit
        path = unquote(urlsplit(self.path).path)
        if habit.isdigit():
            self._answer(int(habit), b"no")
            return
        if habit == "silent":
            time.sleep(3)
        if habit in ("silent", "hang-up"):
            self.close_connection = True
            return
        data = served.files.get(path)
        if data is None:
            self._answer(404, b"no such file")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or habit == "no-ranges":
            self._answer(200, data)
            return
        self._range(habit, path, data, int(asked[1]), int(asked[2]) + 1)

    def _range(self, habit: str, path: str, data: bytes, start: int, stop: int) -> None:
        served, total = self.served, len(data)
        if start >= total:
            self._answer(416, b"", {"Content-Range": f"bytes */{total}"})
            return
        stop = min(stop, total)
        served.asked.append((path, start, stop))
        body = data[start:stop]
        if habit == "too-much":
            body += b"\0" * (1 << 20)
        if habit == "too-little":
            body = body[: len(body) // 2]
        first = start + 8 if habit == "other-range" else start
        size: object = "*" if habit == "no-length" else total
        if habit == "grows" and len(served.asked) > 1:
            size = total + 5
        headers = {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{size}"}
        if habit == "gzip":
            headers["Content-Encoding"] = "gzip"
        self._answer(206, body, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        with self.served.answer():
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
                self.served.bodies.append(len(body))
            except OSError:
                self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


@contextmanager
def serving(files: dict[str, bytes], habit: str = "") -> Iterator[Served]:
    """Serve on a free port of this machine until the block ends."""
    served = Served(files, habit)
    server = _Server(("127.0.0.1", 0), partial(_Handler, served))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
