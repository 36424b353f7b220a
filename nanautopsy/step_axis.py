"""What a logged point's step is, where the artifact counts something else.

Trackers number their rows and log the training step beside the metrics; monitors count samples;
some logs count nothing. Every translation that is a guess leaves a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from nanautopsy.model import Fact, Scalar, Series
from nanautopsy.spellings import number
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_COUNTERS = (
    *("train/global_step", "trainer/global_step", "training/global_step", "global_step"),
    *("global_steps", "train/step", "train_step", "training_step", "num_updates", "step"),
    *("iteration", "iter", "train/iteration", "train/iter"),
)
"""Counters that are logged as a metric beside a tracker's own row number, most telling first."""
_OTHER_AXES = frozenset({"epoch", "epochs", "time", "runtime", "timestamp", "samples", "tokens"})
"""Words in the name of an axis that does not count steps."""
_LARGEST = 2**53
"""Counters beyond it are no whole numbers any more, in the float64 in which they are logged."""
_MOST_INTERVAL = 10**9


def on_training_step(
    series: list[Series], declared: Mapping[str, Scalar], notes: list[str]
) -> list[Series]:
    """Replace a tracker's row numbers by the training steps logged beside the metrics.

    ``declared`` maps patterns of metric names to the counter that the program itself named as
    their axis; without it a counter is known by its name.
    """
    by_tag: dict[str, Series] = {}
    for one in series:
        if one.axis == "step":
            by_tag.setdefault(one.tag.lower(), one)
    named = next((by_tag[tag] for tag in _COUNTERS if tag in by_tag), None)
    moved = []
    for one in series:
        counter = _declared(one.tag, declared, by_tag) or named
        if counter is None or one.axis != "step" or one is counter:
            moved.append(one)
        else:
            moved.append(_on_counter(one, counter, notes))
    return moved


def _declared(
    tag: str, declared: Mapping[str, Scalar], by_tag: Mapping[str, Series]
) -> Series | None:
    """The counter that was declared for a metric; the most exact pattern wins."""
    patterns = [p for p in declared if p == tag or (p.endswith("*") and fnmatchcase(tag, p))]
    for pattern in sorted(patterns, key=len, reverse=True):
        axis = str(declared[pattern])
        if axis.lower() in by_tag and not _OTHER_AXES & frozenset(words(axis)):
            return by_tag[axis.lower()]
    return None


def _on_counter(one: Series, counter: Series, notes: list[str]) -> Series:
    """One series on the steps of a counter of the same file."""
    usable = _table(counter)
    if usable is None:
        notes.append(
            phrase(
                "{path}: {tag!r} is no steady counter; steps are the tracker's row numbers",
                path=counter.source.path,
                tag=counter.tag,
            )
        )
        return one
    rows, counts = usable
    if np.array_equal(rows, counts):
        return one
    notes.append(
        phrase(
            "{path}: steps are those of {tag!r}, not the tracker's row numbers",
            path=counter.source.path,
            tag=counter.tag,
        )
    )
    # A row without the counter belongs to the last training step that was logged before it.
    position = np.searchsorted(rows, one.steps, side="right") - 1
    before = position < 0
    steps = np.where(before, 0, counts[np.maximum(position, 0)])
    alone = before | (rows[np.maximum(position, 0)] != one.steps)
    shared = alone[1:] & (steps[1:] == steps[:-1]) & (one.steps[1:] != one.steps[:-1])
    if 2 * int(shared.sum()) > len(one):
        steps = _between(one.steps, rows, counts)
        notes.append(
            phrase(
                "{path}: steps are interpolated where {tag!r} was not logged",
                path=counter.source.path,
                tag=counter.tag,
            )
        )
    return replace(one, steps=steps)


def _table(counter: Series) -> tuple[np.ndarray, np.ndarray] | None:
    """(rows, counts) in order of rows; ``None`` when the values do not count training steps."""
    there = np.ones(len(counter), bool) if counter.missing is None else ~counter.missing
    rows, values = counter.steps[there], counter.values[there]
    if not len(rows) or not np.isfinite(values).all() or (np.abs(values) > _LARGEST).any():
        return None
    order = np.argsort(rows, kind="stable")
    rows, counts = rows[order], values[order].astype(np.int64)
    if (counts != values[order]).any():
        return None
    falls = np.flatnonzero(counts[1:] < counts[:-1]) + 1
    # A resumed run goes back to its checkpoint; a counter within epochs to its beginning.
    if (counts[falls] <= counts[0]).any():
        return None
    return rows, counts


def _between(steps: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Row numbers on a counter that is logged now and then, at an even pace between."""
    first, last = 0, len(rows) - 1
    span = float(rows[last] - rows[first])
    pace = float(counts[last] - counts[first]) / span if span > 0 else 1.0
    inside = np.interp(steps, rows, counts)
    inside = np.where(steps > rows[last], counts[last] + (steps - rows[last]) * pace, inside)
    inside = np.where(steps < rows[first], counts[first] + (steps - rows[first]) * pace, inside)
    whole: np.ndarray = np.clip(np.floor(inside), 0, _LARGEST).astype(np.int64)
    return whole


def counted_in_samples(series: Sequence[Series]) -> list[Series]:
    """Mark the series whose steps are samples, as their writers' names for them say.

    DeepSpeed's monitor names its tags ``Train/Samples/...`` (deepspeed/runtime/engine.py).
    Megatron logs most metrics a second time as ``<tag> vs samples`` (megatron/training); the twin
    says nothing new.
    """
    have = {(one.source.path, one.tag) for one in series}
    kept = []
    for one in series:
        twin = one.tag.removesuffix(" vs samples")
        if twin != one.tag and (one.source.path, twin) in have:
            continue
        by_samples = twin != one.tag or one.tag.startswith("Train/Samples/")
        kept.append(replace(one, axis="samples") if by_samples and one.axis == "step" else one)
    return kept


def count_steps(
    series: Sequence[Series], facts: Mapping[str, Fact], notes: list[str]
) -> list[Series]:
    """Give steps to training metrics that are counted in records or samples, where the logging
    interval or the batch size is known."""
    return [_counted(one, facts, notes) for one in series]


def _counted(one: Series, facts: Mapping[str, Fact], notes: list[str]) -> Series:
    if one.role not in ("loss", "grad_norm", "learning_rate", "loss_scale"):
        return one
    if one.axis == "record":
        interval = _whole(facts.get("logging_steps"))
        if interval is not None and _within(one.steps, _LARGEST // interval):
            notes.append(
                phrase(
                    "{path}: states no steps; counted as every {interval} steps "
                    "({config}: logging_steps)",
                    path=one.source.path,
                    interval=interval,
                    config=facts["logging_steps"].source.path,
                )
            )
            return replace(one, steps=one.steps * interval, axis="step")
    if one.axis == "samples":
        batch = _whole(facts.get("train_batch_size"))
        if batch is not None and not (one.steps % batch).any():
            notes.append(
                phrase(
                    "{path}: counts samples; steps of {batch} samples ({config}: train_batch_size)",
                    path=one.source.path,
                    batch=batch,
                    config=facts["train_batch_size"].source.path,
                )
            )
            return replace(one, steps=one.steps // batch, axis="step")
    return one


def _within(steps: np.ndarray, largest: int) -> bool:
    return bool(((steps <= largest) & (steps >= -largest)).all())


def _whole(fact: Fact | None) -> int | None:
    """A fact that is a usable whole number of at least 1."""
    value = None if fact is None else number(fact.value)
    return int(value) if value is not None and 1 <= value <= _MOST_INTERVAL else None
