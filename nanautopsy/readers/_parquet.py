"""Parquet files, through pyarrow where it is installed: column names, and rows in batches.

A Parquet file is read from its end: without the footer nothing in it can be found, so a file that
was cut off is lost as a whole (https://parquet.apache.org/docs/file-format/).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

MAGIC = b"PAR1"
_BATCH_ROWS = 65536
_LARGEST_GROUP = 512 << 20
"""Uncompressed bytes of one row group: a history has megabytes."""


class Unreadable(Exception):
    """Why nothing can be read, in one line."""


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """An open file."""

    file: Any
    names: tuple[str, ...]
    """The columns at the top."""
    rows: int

    def batches(self, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Column name to Arrow array, for so many rows at a time.

        Raises :class:`Unreadable` where the file turns out to be damaged.
        """
        pyarrow: Any = import_module("pyarrow")
        try:
            for group in range(self.file.num_row_groups):
                self._check_size(group)
                parts = self.file.iter_batches(
                    _BATCH_ROWS, row_groups=[group], columns=list(wanted), use_threads=False
                )
                for part in parts:
                    yield dict(zip(part.schema.names, part.columns, strict=True))
        except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
            raise Unreadable(f"cannot be read on: {_one_line(error)}") from None

    def _check_size(self, group: int) -> None:
        # Of the row group as a whole: where a column's statistics are damaged, asking for the
        # column's own metadata ends the process from within pyarrow.
        size = self.file.metadata.row_group(group).total_byte_size
        if size > _LARGEST_GROUP:
            raise Unreadable(f"a row group of {size} bytes is larger than a history's")


def open_parquet(location: Path) -> ParquetFile:
    """Read the footer. Raises :class:`Unreadable`, and :class:`OSError` from the file system."""
    with open(location, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(MAGIC)))
        if size < 12 or file.read() != MAGIC:
            raise Unreadable("cut off: a Parquet file without its end cannot be read")
    try:
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise Unreadable("needs pyarrow: pip install 'nanautopsy[parquet]'") from None
    try:
        opened = parquet.ParquetFile(location)
        names = tuple(opened.schema_arrow.names)
        return ParquetFile(opened, names, opened.metadata.num_rows)
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Unreadable(f"is not whole Parquet: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
