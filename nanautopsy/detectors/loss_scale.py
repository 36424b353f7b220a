"""What the loss scaler did: settling, or falling to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, LogEvent, Run, Series
from nanautopsy.signal import shown


def _detect(run: Run) -> Iterator[Finding]:
    exhausted = run.events_of("loss-scale-minimum")
    if exhausted:
        yield Finding(
            id="loss-scale-collapse",
            text="the loss scaler gave up at its minimum",
            source=exhausted[0].source,
            step=exhausted[0].step,
            data={"exhausted": True},
        )
    skips = [e for e in run.events_of("overflow-skipped") if e.rank in (None, 0)]
    if skips:
        yield from _from_skips(skips, bool(exhausted))
    for series in run.by_role("loss_scale"):
        yield from _from_series(series)


def _from_skips(skips: Sequence[LogEvent], exhausted: bool) -> Iterator[Finding]:
    """The longest run of halvings, without a rise of the scale between, that the log shows."""
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
    known = [s for s in scales if s is not None]
    lowest = min(known) if known else None
    first = skips[best] if longest > thresholds.SCALE_COLLAPSE_SKIPS else skips[0]
    reached = f", down to {shown(lowest)}" if lowest is not None else ""
    collapsed = (
        lowest is not None
        and lowest <= thresholds.SCALE_PATHOLOGICAL
        and scales[-1] == lowest
        and longest >= thresholds.SCALE_COLLAPSE_SKIPS
    )
    yield Finding(
        id="loss-scale-collapse" if collapsed else "overflow-skips",
        text=f"{len(skips)} steps skipped for overflow, {longest} of them in a row without the "
        f"loss scale rising between{reached}",
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


def _number(event: LogEvent, name: str) -> float | None:
    value = event.data.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _from_series(series: Series) -> Iterator[Finding]:
    values = series.values[np.isfinite(series.values) & (series.values > 0)]
    if len(values) < 2 or values.max() == values[-1] or values[-1] > thresholds.SCALE_PATHOLOGICAL:
        return
    peak = int(series.values.argmax())
    falls = int(np.log2(values.max() / values[-1]))
    if falls >= thresholds.SCALE_COLLAPSE_SKIPS:
        yield Finding(
            id="loss-scale-collapse",
            text=f"{series.tag} falls from {shown(float(values.max()))} at step "
            f"{int(series.steps[peak])} to {shown(float(values[-1]))} and stays there",
            source=series.at(peak),
            step=int(series.steps[peak]),
            data={"lowest": float(values[-1]), "longest": falls, "exhausted": False},
        )


DETECTOR = Detector("loss-scale", _detect)
