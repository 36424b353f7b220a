"""Asking h5py, in another process, where the datasets of a file lie."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nanautopsy.checkpoints.data_file import DataFile, LocalFile
from nanautopsy.wording import Phrase, phrase

_SECONDS = 120
_MOST_ANSWER_BYTES = 512 << 20
_ABSENT = "reading HDF5 needs the package h5py: pip install 'nanautopsy[hdf5]'"


def list_datasets(file: DataFile, begin: int, size: int) -> tuple[list[dict[str, Any]], str | None]:
    """(one mapping a dataset, what went wrong) of the HDF5 file in ``size`` bytes from ``begin``.

    What was told before the other process failed is kept. Raises ``OSError``.
    """
    if not isinstance(file, LocalFile):
        raise OSError("HDF5 is read from a local disk only: copy the file here first")
    request = {
        "sys_path": [entry for entry in sys.path if entry],
        "path": str(file.location),
        "begin": begin,
        "size": size,
    }
    program = Path(__file__).with_name("_hdf5_listing.py")
    command = [sys.executable, "-I", str(program)]
    reason: Phrase | None = None
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
        answer = done.stdout
        if done.returncode:
            reason = phrase("the HDF5 library failed at this file: it is damaged")
    except subprocess.TimeoutExpired as error:
        answer = error.stdout or b""
        reason = phrase("the HDF5 library did not end in {seconds} s", seconds=_SECONDS)
    rows: list[dict[str, Any]] = []
    for line in answer[:_MOST_ANSWER_BYTES].splitlines():
        row = _row(line)
        if row is None:
            continue
        if row.get("absent"):
            raise OSError(_ABSENT)
        if "name" not in row and "problem" in row:
            reason = phrase("not readable as HDF5: {problem}", problem=row["problem"])
        rows.append(row)
    return rows, reason


def _row(line: bytes) -> dict[str, Any] | None:
    """One line of the answer; ``None`` for the last one when it was cut."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
