"""What the loss scaler did: settling, or falling to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nanautopsy import thresholds
from nanautopsy.checkpoints.states import state_series
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    exhausted = run.events_of("loss-scale-minimum")
    if exhausted:
        yield Finding(
            id="loss-scale-collapse",
            text=phrase("the loss scaler gave up at its minimum"),
            source=exhausted[0].source,
            step=exhausted[0].step,
            data={"exhausted": True, "persistent": True},
        )
    skips = [e for e in run.events_of("overflow-skipped") if e.rank in (None, 0)]
    if skips:
        told = list(_from_skips(run, skips, bool(exhausted)))
        yield from told
        if any(finding.id == "loss-scale-collapse" for finding in told):
            return  # each fall with its step, which a scale that is logged now and then has not
    logged = run.by_role("loss_scale")
    saved = state_series(run.checkpoints, "loss_scale", "loss_scale")
    for series in logged or ((saved,) if saved is not None else ()):
        yield from _from_series(series, _logging_interval(run), saved=series is saved)


def _logging_interval(run: Run) -> int:
    """Steps between two logged losses: as far apart may two skips in a row be told."""
    gaps = [np.diff(s.steps) for s in run.by_role("loss") if len(s) > 1 and s.axis == "step"]
    return max((int(np.median(gap)) for gap in gaps), default=1)


def _from_skips(run: Run, skips: Sequence[LogEvent], exhausted: bool) -> Iterator[Finding]:
    """The longest run of halvings, without a rise of the scale between, that the log shows.

    It begins with the last stretch without a good step in it: the search for the scale at the
    beginning is no part of a collapse that comes later.
    """
    scales = [_number(e, "scale_after") for e in skips]
    longest, current, start, best = 1, 1, 0, 0
    for i in range(1, len(skips)):
        falling = scales[i] is not None and scales[i - 1] is not None
        if falling and scales[i] <= scales[i - 1]:  # type: ignore[operator]
            current += 1
        else:
            current, start = 1, i
        if current > longest:
            longest, best = current, start
    if longest >= thresholds.SCALE_COLLAPSE_SKIPS:
        best = _last_stretch(skips, best, best + longest, _logging_interval(run))
    known = [s for s in scales if s is not None]
    lowest = min(known) if known else None
    if not known:
        best, longest = _untold(skips)
    first = skips[best] if longest > thresholds.SCALE_COLLAPSE_SKIPS else skips[0]
    reached = ""
    if lowest is not None:
        reached = phrase(
            " without the loss scale rising between, down to {lowest}", lowest=shown(lowest)
        )
    if lowest is None:
        collapsed = longest >= thresholds.SCALE_EXHAUSTED_SKIPS and _to_the_end(run, skips)
    else:
        collapsed = (
            lowest <= thresholds.SCALE_PATHOLOGICAL
            and scales[-1] == lowest
            and longest >= thresholds.SCALE_COLLAPSE_SKIPS
        )
    yield Finding(
        id="loss-scale-collapse" if collapsed else "overflow-skips",
        text=phrase(
            "{count} steps skipped for overflow, {longest} of them in a row{reached}",
            count=len(skips),
            longest=longest,
            reached=reached,
        ),
        source=first.source,
        step=first.step,
        data={
            "count": len(skips),
            "longest": longest,
            "lowest": lowest,
            "exhausted": exhausted,
            "from_start": best == 0,
        },
    )


def _untold(skips: Sequence[LogEvent]) -> tuple[int, int]:
    """Where the last skips at steps in a row begin, and at how many steps, where no scale is told.

    Each rank may say it of the same step. Of skips whose steps are not known one by one, nothing
    says that they came in a row.
    """
    start, length = len(skips) - 1, 1
    for i in range(len(skips) - 1, 0, -1):
        step, before = skips[i].step, skips[i - 1].step
        if step is None or before is None or step - before not in (0, 1):
            break
        start, length = i - 1, length + step - before
    return start, length


def _to_the_end(run: Run, skips: Sequence[LogEvent]) -> bool:
    """Whether no step with a finite loss comes after the last skip but the one it is said at."""
    last = skips[-1].step
    finite = [s.steps[np.isfinite(s.values)] for s in run.by_role("loss") if s.axis == "step"]
    return last is not None and all(not len(steps) or steps[-1] <= last + 1 for steps in finite)


def _last_stretch(skips: Sequence[LogEvent], start: int, end: int, interval: int) -> int:
    """Where the last skips in a row of ``skips[start:end]`` begin."""
    for i in range(end - 1, start, -1):
        step, before = skips[i].step, skips[i - 1].step
        if step is not None and before is not None and step - before > max(interval, 1):
            return i
    return start


def _number(event: LogEvent, name: str) -> float | None:
    value = event.data.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _from_series(series: Series, interval: int, saved: bool) -> Iterator[Finding]:
    """``saved``: of checkpoints, between which a scaler halves and doubles many times: only the
    one that holds the last value shows that it had fallen to its end."""
    values = series.values[np.isfinite(series.values) & (series.values > 0)]
    if len(values) < 2 or values.max() == values[-1] or values[-1] > thresholds.SCALE_PATHOLOGICAL:
        return
    start = _first_at_the_end(series) if saved else _last_fall(series, interval)
    before = max(start - 1, 0)
    falls = int(np.log2(values.max()) - np.log2(values[-1]))
    if falls >= thresholds.SCALE_COLLAPSE_SKIPS:
        yield Finding(
            id="loss-scale-collapse",
            text=phrase(
                "{tag} falls from {before} at step {step} to {last} and stays there",
                tag=series.tag,
                before=shown(float(series.values[before])),
                step=int(series.steps[before]),
                last=shown(float(values[-1])),
            ),
            source=series.at(start),
            step=int(series.steps[start]),
            last_good=int(series.steps[start - 1]) if start else None,
            data={
                "lowest": float(values[-1]),
                "longest": falls,
                "exhausted": False,
                "axis": series.axis,
            },
        )


def _first_at_the_end(series: Series) -> int:
    """Index of the first of the equal points at the end."""
    others = np.flatnonzero(series.values != series.values[-1])
    return int(others[-1]) + 1 if len(others) else 0


def _last_fall(series: Series, interval: int) -> int:
    """Index of the first point of the fall that ends at the last value.

    Where the whole series falls, its first point stands after a skipped step already. A scaler
    with hysteresis holds its scale for a point between two halvings; held for longer, the scale
    had settled, and what fell before was the search for it. So it had where only changes are
    logged and steps lie between.
    """
    values, gaps = series.values, np.diff(series.steps)
    usual = max(interval, int(np.median(gaps)))
    start = at = int((values <= values[-1]).argmax())
    while at > 0 and values[at - 1] >= values[at] and start - at < _HELD:
        at -= 1
        if values[at] > values[at + 1]:
            start = at + 1
            if gaps[at] > usual:
                return start
    return 0 if start <= 1 else start


_HELD = 2
"""Points with an equal scale that end a fall."""


DETECTOR = Detector("loss-scale", _detect)
