"""Which causes were named when: deaths by day, week, month or year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, TypeAlias

from nanautopsy.scan.overview.runs import ListedRun

Unit: TypeAlias = Literal["day", "week", "month", "year"]
_DAYS: tuple[tuple[Unit, int], ...] = (("day", 21), ("week", 182), ("month", 1096))
"""Up to how many days each unit is used: so no figure has more than some forty columns."""
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""Clocks before that were never set."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Runs by the time that they were last alive, in UTC."""

    unit: Unit
    periods: tuple[str, ...]
    """``2025-03-31``, the Monday of a week, ``2025-03`` or ``2025``: every one from the first to
    the last."""
    judged: tuple[int, ...]
    """In each period, the runs that died or are healthy."""
    deaths: tuple[tuple[str, tuple[int, ...]], ...]
    """By first cause, the most frequent first: the runs that died in each period."""
    timed: int
    """Runs that died and tell when."""
    untimed: int
    """Runs that died and do not."""


def calendar_of(runs: Iterable[ListedRun]) -> Calendar | None:
    """``None`` where no run that died tells when."""
    judged = [run for run in runs if run.failed or run.healthy]
    dated = [(run, when) for run in judged if (when := _date(run.when)) is not None]
    died = [(run, when) for run, when in dated if run.failed]
    if not died:
        return None
    first, last = min(when for _, when in dated), max(when for _, when in dated)
    span = (last - first).days
    unit: Unit = next((name for name, most in _DAYS if span <= most), "year")
    periods = tuple(_label(begin, unit) for begin in _begins(first, last, unit))
    causes = Counter(run.died_of for run, _ in died)
    counts = Counter((run.died_of, _label(when, unit)) for run, when in died)
    all_judged = Counter(_label(when, unit) for _, when in dated)
    order = sorted(causes, key=lambda cause: (-causes[cause], cause))
    return Calendar(
        unit,
        periods,
        tuple(all_judged[period] for period in periods),
        tuple((cause, _row(counts, cause, periods)) for cause in order),
        len(died),
        sum(run.failed for run in judged) - len(died),
    )


def _row(counts: Counter[tuple[str, str]], cause: str, periods: Sequence[str]) -> tuple[int, ...]:
    return tuple(counts[cause, period] for period in periods)


def _date(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        when = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None
    return when if when >= EARLIEST else None


def _begin(when: datetime, unit: Unit) -> datetime:
    day = when.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "day":
        return day
    return day.replace(day=1) if unit == "month" else day.replace(day=1, month=1)


def _label(when: datetime, unit: Unit) -> str:
    form = {"month": "%Y-%m", "year": "%Y"}.get(unit, "%Y-%m-%d")
    return _begin(when, unit).strftime(form)


def _begins(first: datetime, last: datetime, unit: Unit) -> Iterator[datetime]:
    """The beginning of every period from ``first`` to ``last``."""
    longest = {"day": 1, "week": 7, "month": 31, "year": 366}[unit]
    begin = _begin(first, unit)
    while begin <= last:
        yield begin
        begin = _begin(begin + timedelta(days=longest), unit)
