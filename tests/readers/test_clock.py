"""Times written as text: with a zone they are times, without one they are none."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import read_file, series_of

from nanautopsy.readers import json_lines, table
from nanautopsy.readers._clock import clock_time

NOON = 1714564800.0  # 2024-05-01 12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01 12:00:00 UTC", NOON),
        ("2024-05-01T14:00:00.250+02:00", NOON + 0.25),
        ("2024-05-01T06:30:00,5-0530", NOON + 0.5),
        ("2024-05-01T12:00:00", None),
        ("2024-05-01 12:00", None),
        ("2024-13-01T12:00:00Z", None),
        ("2024-05-01T12:00:60Z", None),
        ("05/01/2024 12:00:00Z", None),
        ("2024", None),
        ("", None),
    ],
)
def test_clock_time(text: str, seconds: float | None) -> None:
    assert clock_time(text) == seconds


@given(st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(timezone.utc)))
def test_as_the_standard_library_reads_it(moment: datetime) -> None:
    assert clock_time(moment.isoformat()) == pytest.approx(moment.timestamp(), abs=1e-4)


@pytest.mark.parametrize("zone", ["Z", ""])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_in_metrics(tmp_path: Path, kind: str, zone: str) -> None:
    rows = [(i, f"2024-05-01T12:{i // 60:02}:{i % 60:02}{zone}") for i in range(300)]
    path = tmp_path / f"metrics.{kind}"
    if kind == "csv":
        text = "step,time,loss\n" + "".join(f"{i},{time},2.5\n" for i, time in rows)
        reader = table.READER
    else:
        text = "".join(json.dumps({"step": i, "time": t, "loss": 2.5}) + "\n" for i, t in rows)
        reader = json_lines.READER  # type: ignore[assignment]
    path.write_text(text)
    found = series_of(read_file(reader, path))
    assert set(found) == {"loss"} and found["loss"].steps.tolist() == list(range(300))
    times = found["loss"].times
    if zone:
        assert times is not None and np.array_equal(times, NOON + np.arange(300))
    else:
        assert times is None
