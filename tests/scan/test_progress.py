"""What is said while a scan goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nanautopsy.scan import progress
from nanautopsy.scan.progress import ScanProgress
from nanautopsy.scan.tally import Tally


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def tally(**counts: int) -> Tally:
    made = Tally(found=counts.pop("found"), listed=True, unchanged=counts.pop("unchanged", 0))
    made.verdicts.update(counts)
    made.outcomes["analyzed"] = sum(counts.values())
    return made


def test_a_log_gets_a_line_at_times(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ScanProgress()
    shown(Tally())
    clock(11)
    shown(Tally(found=7))
    clock(1)
    shown(tally(found=100, healthy=1))
    clock(10)
    shown(tally(found=100, healthy=11))
    assert capsys.readouterr().err.splitlines() == [
        "0/7+ runs",
        "11/100 runs, 0.5/s, 3 min left: 11 healthy",
    ]


def test_the_pace_is_that_of_the_last_while(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ScanProgress()
    shown(tally(found=2000))
    for second in range(1, 101):  # a thousand in a moment, then two a second
        clock(1)
        shown(tally(found=2000, unchanged=1000, healthy=2 * second))
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "1200/2000 runs, 2.0/s, 7 min left: 200 healthy"


def test_quiet_is_quiet(clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    shown = ScanProgress(quiet=True)
    clock(100)
    shown(Tally())
    assert capsys.readouterr().err == ""
