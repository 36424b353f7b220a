"""What jumped where a run resumed: a state that was not restored shows at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Axis, Finding, LogEvent, Run, Series, SeriesRole
from nanautopsy.quantities import position
from nanautopsy.signal import shown
from nanautopsy.wording import phrase

_NUMBER = re.compile(r"(?<!\d)(\d{2,9})(?!\d)(?=\D*$)")
_ROLES: tuple[SeriesRole, ...] = ("learning_rate", "loss", "grad_norm", "loss_scale")


def _detect(run: Run) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for event in run.events_of("run-resumed"):
        for axis, step in (*places(event), *_before_the_file(run, event)):
            found = list(_jumps(run, event, axis, step)) or list(_deaths(run, event, axis, step))
            for finding in found:
                # The log and the curves may tell of one resume.
                if (finding.id, finding.text) not in told:
                    told.add((finding.id, finding.text))
                    yield finding
            if found:
                break


def _jumps(run: Run, event: LogEvent, axis: Axis, step: int) -> Iterator[Finding]:
    """The first jump of each role."""
    for role in _ROLES:
        for series in run.by_role(role):
            whole = with_earlier(run, series, step)
            finding = _jump(whole, event, step) if series.axis == axis else None
            if finding is not None:
                yield finding
                break


def _deaths(run: Run, event: LogEvent, axis: Axis, step: int) -> Iterator[Finding]:
    """A number of training that was calm up to the resume, and not finite in the first row behind
    it: weights that had died before would not have been calm."""
    for series in run.by_role("loss", "grad_norm"):
        whole = with_earlier(run, series, step)
        if series.axis != axis or series.earlier_deaths:
            continue
        resumed = behind(whole, event, step)
        before, after = np.abs(whole.values[~resumed]), whole.values[resumed]
        if len(before) < thresholds.CALM_POINTS or not len(after) or np.isfinite(after[0]):
            continue
        usual = float(np.median(before[-thresholds.CALM_POINTS :]))
        if not np.isfinite(before).all() or before[-1] > thresholds.SUDDEN_FACTOR * usual:
            continue
        index = int(np.argmax(resumed))
        yield Finding(
            id="dead-at-resume",
            text=phrase(
                "{tag} was about {usual} up to the resume at {place}, and is not finite in the "
                "first row behind it",
                tag=series.tag,
                usual=shown(usual),
                place=position(axis, step),
            ),
            source=whole.at(index),
            step=int(whole.steps[index]),
            last_good=int(whole.steps[~resumed][-1]),
            data={"what": series.role, "axis": axis},
        )
        return


def with_earlier(run: Run, series: Series, step: int) -> Series:
    """With what another file, which ends before it, holds of the same metric up to ``step``: a run
    that goes on begins a log of its own."""
    for other in run.by_role(series.role):
        alike = (other.tag, other.axis, other.rank) == (series.tag, series.axis, series.rank)
        if alike and len(other) and len(series) and other.steps[-1] <= step <= series.steps[0]:
            return replace(
                series,
                steps=np.concatenate([other.steps, series.steps]),
                values=np.concatenate([other.values, series.values]),
                lines=None,
                times=None,
                missing=None,
            )
    return series


def places(event: LogEvent) -> Iterator[tuple[Axis, int]]:
    """Where the run may have gone on: behind a step, or an epoch. An epoch that is named may be
    the last one before, or the next."""
    stated, epoch = event.data.get("step"), event.data.get("epoch")
    step = stated if isinstance(stated, int) else event.step
    if step is not None:
        yield "step", step
    name = str(event.data.get("checkpoint") or "").rpartition("/")[2]
    if step is None and (number := _NUMBER.search(name)) is not None:
        # What the number counts, the jump at it tells.
        yield from (("step", int(number[1]) - 1), ("step", int(number[1])))
    if isinstance(epoch, int):
        yield from (("epoch", epoch - 1), ("epoch", epoch))


def _before_the_file(run: Run, event: LogEvent) -> Iterator[tuple[Axis, int]]:
    """Right before the first row, where the log of the resumed run holds none above the line."""
    line = event.source.line
    for series in run.by_role("loss"):
        if series.source.path == event.source.path and series.lines is not None and line:
            if len(series) and series.lines[0] > line and series.steps[0] > 0:
                yield series.axis, int(series.steps[0]) - 1
                return


def _jump(series: Series, event: LogEvent, step: int) -> Finding | None:
    """Medians on either side of the resume that differ by more than a continued run shows.

    A learning rate counts in both directions; the others only upward.
    """
    after_it = behind(series, event, step)
    usable = np.isfinite(series.values)
    values = np.abs(series.values)
    # A rate of two decimals is soon 0.00.
    shown_before = usable & ~after_it & ((values > 0) | (series.role != "learning_rate"))
    before = values[shown_before][-thresholds.RESUME_WINDOW :]
    after = values[usable & after_it][: thresholds.RESUME_WINDOW]
    if len(before) < 2 or not len(after):
        return None
    old, new = float(np.median(before)), float(np.median(after))
    factor = thresholds.RESUME_JUMP[series.role]
    lower = series.role == "learning_rate" and new > 0 and old / new >= factor
    if old <= 0 or not (new / old >= factor or lower):
        return None
    index = int(np.argmax(after_it))
    return Finding(
        id="resume-jump",
        text=phrase(
            "{tag} goes from about {old} to about {new} where the run resumed at {place}",
            tag=series.tag,
            old=shown(old),
            new=shown(new),
            place=position(series.axis, step),
        ),
        source=series.at(index),
        step=int(series.steps[index]),
        last_good=int(series.steps[~after_it][-1]),
        data={"what": series.role, "ratio": new / old, "resumed": str(event.source)}
        | {"axis": series.axis},
    )


def behind(series: Series, event: LogEvent, step: int) -> NDArray[np.bool_]:
    """(points,) which of them the resumed run logged: those behind its line, where both stand in
    one file, since some programs repeat the step that they resume at; else those behind the step.
    """
    line = event.source.line
    if series.lines is not None and line is not None and series.source.path == event.source.path:
        return np.asarray(series.lines > line)
    return np.asarray(series.steps > step)


DETECTOR = Detector("resumes", _detect)
