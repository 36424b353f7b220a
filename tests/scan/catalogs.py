"""Looking at a catalog past our own code, and waiting for it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

KILLS = int(os.environ.get("NANAUTOPSY_KILLS", "2"))
"""How often a test kills, at random moments: ``NANAUTOPSY_KILLS=10`` for more than a glance."""


def when(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counted(catalog: Path) -> int:
    """Runs that an SQLite catalog holds."""
    try:
        with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as database:
            return int(database.execute("select count(*) from runs").fetchone()[0])
    except sqlite3.Error:
        return 0


def assert_sound(catalog: Path) -> None:
    """By SQLite's own checks; and no run twice."""
    with closing(sqlite3.connect(catalog)) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("pragma foreign_key_check").fetchall() == []
        places = database.execute("select archive, root from runs").fetchall()
    assert len(places) == len(set(places))
