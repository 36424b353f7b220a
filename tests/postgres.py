"""A PostgreSQL server of the tests' own, where the program is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

_UNPRIVILEGED = 65534
"""The server refuses to run as root."""


@dataclass
class Server:
    """A running server, reached by a socket in its own directory."""

    programs: Path
    directory: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"catalog_{next(self.numbers)}"
        self.run("createdb", "-h", str(self.directory), "-U", "tester", name)
        return f"postgresql://tester@/{name}?host={self.directory}"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the user that owns the server."""
        as_user = []
        if os.geteuid() == 0:
            as_user = ["setpriv", f"--reuid={_UNPRIVILEGED}", "--clear-groups"]
        command = [*as_user, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.directory)


@contextmanager
def start() -> Iterator[Server | None]:
    """A server in a directory of its own; ``None`` where none is installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = installed[-1] if installed else shutil.which("initdb")
    if found is None:
        yield None
        return
    # A socket's path may have 107 characters, fewer than many a test's directory.
    home = Path(tempfile.mkdtemp(prefix="nanautopsy-pg-"))
    server = Server(Path(found).parent, home)
    data = str(home / "data")
    try:
        if os.geteuid() == 0:
            os.chown(home, _UNPRIVILEGED, -1)
        server.run("initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -k {home} -c fsync=off"
        server.run("pg_ctl", "-D", data, "-l", str(home / "log"), "-w", "-o", options, "start")
        try:
            yield server
        finally:
            server.run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
