"""Reading a text as a log, for the tests of the text log reader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from reading import of_type, problems_of, read_file

from nanautopsy.model import LogEvent, Record, Series
from nanautopsy.readers.text_log import READER

FIXTURES = Path(__file__).parent / "fixtures" / "text"

Points = dict[tuple[str, str], tuple[list[int], list[float]]]


def read_log(path: Path) -> list[Record]:
    """All records of a log."""
    return read_file(READER, path)


def read_text(folder: Path, text: str) -> list[Record]:
    """All records of a log that holds the text; reading it must not fail anywhere."""
    path = folder / "train.log"
    path.write_text(text, encoding="utf-8", newline="")
    records = read_log(path)
    assert not problems_of(records)
    return records


def log_series(records: Iterable[Record]) -> dict[tuple[str, str], Series]:
    """By tag and axis, of one rank."""
    found = of_type(records, Series)
    by_key = {(series.tag, series.axis): series for series in found}
    assert len(by_key) == len(found)
    return by_key


def points_of(records: Iterable[Record]) -> Points:
    """Steps and values by tag and axis."""
    return {
        key: (series.steps.tolist(), series.values.tolist())
        for key, series in log_series(records).items()
    }


def events_of(records: Iterable[Record], kind: str) -> list[LogEvent]:
    """The events of one kind."""
    return [event for event in of_type(records, LogEvent) if event.kind == kind]


def same(found: tuple[list[int], list[float]], steps: list[int], values: list[float]) -> bool:
    """Whether a series has these points, NaN equal to NaN."""
    return found[0] == steps and np.array_equal(found[1], values, equal_nan=True)
