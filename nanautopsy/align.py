"""Records in, one Run on one step axis out.

Roles are given to series, steps of different counters are brought together, restarts are merged
(the later attempt wins where both logged a step), and every guess on the way becomes a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from nanautopsy import facts as canonical
from nanautopsy.console_steps import with_state_steps
from nanautopsy.discover import Discovery, natural_key
from nanautopsy.model import (
    ArtifactReport,
    Checkpoint,
    ConfigRecord,
    EnvironmentRecord,
    Fact,
    LogEvent,
    Package,
    Reading,
    Run,
    Series,
    Source,
)
from nanautopsy.roles import classify

_STEP_TAGS = ("train/global_step", "trainer/global_step", "global_step", "train/step", "step")
"""Counters that trackers log as a metric beside their own row number, most telling first."""

_MOST_ATTEMPTS = 100
"""More falls of a step counter than this are writers that interleave, not restarts."""

_Record = TypeVar("_Record")


def align(
    path: str, discovery: Discovery, readings: Sequence[Reading], problems: Sequence[str] = ()
) -> Run:
    """One run of everything that was read; ``problems`` are those of loading the readers."""
    notes: list[str] = [*problems, *discovery.notes]
    series = _series(readings, notes)
    events = tuple(_of_type(readings, LogEvent))
    configs = list(_of_type(readings, ConfigRecord))
    environments = list(_of_type(readings, EnvironmentRecord))
    facts = canonical.derive(configs, environments, events, series)
    series = _count_records(series, facts, notes)
    checkpoints = sorted(
        _of_type(readings, Checkpoint),
        key=lambda c: (c.step is None, c.step or 0, natural_key(c.path)),
    )
    return Run(
        path=path,
        artifacts=_reports(discovery, readings),
        series=tuple(series),
        events=events,
        checkpoints=tuple(checkpoints),
        config={
            f"{record.kind}.{key}": Fact(value, record.source)
            for record in configs
            for key, value in record.values.items()
        },
        facts=facts,
        packages=_packages(environments),
        environment=_environment(environments),
        notes=tuple(dict.fromkeys(notes)),
    )


def _of_type(readings: Iterable[Reading], kind: type[_Record]) -> Iterable[_Record]:
    return (
        record for reading in readings for record in reading.records if isinstance(record, kind)
    )


# --- series -----------------------------------------------------------------------------------


def _series(readings: Sequence[Reading], notes: list[str]) -> list[Series]:
    raw: list[Series] = []
    for reading in readings:
        own = [record for record in reading.records if isinstance(record, Series)]
        raw.extend(_on_training_step(own, notes))
    raw = with_state_steps(raw, notes)
    named = []
    for one in raw:
        role, layer = classify(one.tag)
        one = replace(_without_nulls(one, notes), role=role, layer=layer)
        named.extend(_split_attempts(one))
    return _without_copies([merged for merged in _merge_attempts(named, notes) if len(merged)])


def _on_training_step(series: list[Series], notes: list[str]) -> list[Series]:
    """Replace a tracker's row number by the training step that it logged beside the metrics."""
    by_tag = {one.tag: one for one in series if one.axis == "step"}
    counter = next((by_tag[tag] for tag in _STEP_TAGS if tag in by_tag), None)
    if counter is None or len(counter) == 0 or not np.isfinite(counter.values).all():
        return series
    order = np.argsort(counter.steps, kind="stable")
    rows, counts = counter.steps[order], counter.values[order].astype(np.int64)
    if np.array_equal(rows, counts) or (np.diff(counts) < 0).any():
        return series
    notes.append(
        f"{counter.source.path}: steps are those of {counter.tag!r}, not the tracker's row numbers"
    )
    moved = []
    for one in series:
        if one.axis != "step" or one is counter:
            moved.append(one)
            continue
        # A row without the counter belongs to the last training step that was logged before it.
        position = np.searchsorted(rows, one.steps, side="right") - 1
        steps = np.where(position >= 0, counts[np.maximum(position, 0)], 0)
        moved.append(replace(one, steps=steps))
    return moved


def _without_nulls(series: Series, notes: list[str]) -> Series:
    """Drop explicit nulls: a value that is not there is neither zero nor NaN."""
    if series.missing is None:
        return series
    notes.append(
        f"{series.source.path}: {int(series.missing.sum())} null values of {series.tag!r} "
        "are missing values, not NaN"
    )
    return _take(series, np.flatnonzero(~series.missing))


def _take(series: Series, index: np.ndarray) -> Series:
    return replace(
        series,
        steps=series.steps[index],
        values=series.values[index],
        times=None if series.times is None else series.times[index],
        lines=None if series.lines is None else series.lines[index],
        missing=None,
    )


def _merge_attempts(series: Sequence[Series], notes: list[str]) -> list[Series]:
    """Join the files of one writer that follow each other in time; keep parallel writers apart.

    Files of one directory whose spans of time do not overlap are restarts; those that overlap are
    ranks, which stay series of their own. Without times, order of the files is order in time.
    """
    groups: dict[tuple[str, str, str, int | None], list[Series]] = {}
    for one in series:
        directory, _, name = one.source.path.rpartition("/")
        family = "tfevents" if "tfevents" in name else name
        groups.setdefault((directory, family, one.tag + "\0" + one.axis, one.rank), []).append(one)
    merged: list[Series] = []
    for members in groups.values():
        chains: list[list[Series]] = []
        for one in sorted(members, key=_start):
            # Attempts of one text log have no times: they stand in the order of the file.
            chain = next((c for c in chains if _follows(one, c[-1])), None)
            if chain is None:
                chains.append([one])
            else:
                chain.append(one)
        merged.extend(_join(chain, notes) for chain in chains)
    return merged


def _without_copies(series: Sequence[Series]) -> list[Series]:
    """Drop a series that another of its tag holds in full: a state saved again at a later step."""
    by_tag: dict[tuple[str, str, int | None], list[Series]] = {}
    for one in series:
        by_tag.setdefault((one.tag, one.axis, one.rank), []).append(one)
    copies = set()
    for members in by_tag.values():
        kept: list[Series] = []
        for one in sorted(members, key=len, reverse=True):
            if any(_holds(longer, one) for longer in kept):
                copies.add(id(one))
            else:
                kept.append(one)
    return [one for one in series if id(one) not in copies]


def _holds(longer: Series, shorter: Series) -> bool:
    index = np.searchsorted(longer.steps, shorter.steps)
    inside = index < len(longer)
    return bool(
        inside.all()
        and np.array_equal(longer.steps[index], shorter.steps)
        and np.array_equal(longer.values[index], shorter.values, equal_nan=True)
    )


def _start(series: Series) -> tuple[float, tuple[tuple[int, int, str], ...]]:
    start = 0.0 if series.times is None or not len(series) else float(np.nanmin(series.times))
    return start, natural_key(series.source.path)


def _follows(later: Series, earlier: Series) -> bool:
    if later.times is None or earlier.times is None or not len(later) or not len(earlier):
        return True
    return float(np.nanmin(later.times)) >= float(np.nanmax(earlier.times))


def _join(chain: Sequence[Series], notes: list[str]) -> Series:
    """One series of several attempts: from a later one's first step on, the earlier is dropped."""
    kept: list[Series] = []
    for i, one in enumerate(chain):
        later = [int(other.steps.min()) for other in chain[i + 1 :] if len(other)]
        if later and len(one) and int(one.steps.max()) >= min(later):
            cut = min(later)
            dropped = one.values[one.steps >= cut]
            bad = int((~np.isfinite(dropped)).sum())
            notes.append(
                f"{one.source.path}: logged again from step {cut} on by a later attempt, which "
                f"counts; {len(dropped)} points of {one.tag!r} are set aside"
                + (f", {bad} of them non-finite" if bad else "")
            )
            one = _take(one, np.flatnonzero(one.steps < cut))
        kept.append(one)
    if len(kept) == 1:
        return _by_step(kept[0])
    # One place is cited for a merged series: where its last attempt stands.
    joined = replace(
        kept[-1],
        steps=np.concatenate([one.steps for one in kept]),
        values=np.concatenate([one.values for one in kept]),
        times=_concatenate([one.times for one in kept]),
        lines=_concatenate([one.lines for one in kept]),
        missing=None,
    )
    return _by_step(joined)


def _concatenate(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [column for column in columns if column is not None]
    return np.concatenate(present) if len(present) == len(columns) else None


def _by_step(series: Series) -> Series:
    """Sorted by step, one point a step: the last one, or the first that is non-finite.

    Several points at one step of one attempt are parts of it (micro-batches, ranks in one file);
    when one part was NaN, the step was.
    """
    order = np.argsort(series.steps, kind="stable")
    steps, bad = series.steps[order], ~np.isfinite(series.values[order])
    if not len(steps):
        return series
    first = np.append(True, steps[1:] != steps[:-1])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(steps)) - 1
    bad_at = np.where(bad, np.arange(len(steps)), len(steps))
    first_bad = np.minimum.reduceat(bad_at, starts)
    return _take(series, order[np.where(first_bad < len(steps), first_bad, ends)])


def _split_attempts(series: Series) -> list[Series]:
    """The attempts inside one file: a restart appends and its steps begin lower again.

    A counter that falls back to its beginning time and again counts within epochs; it is no axis,
    so its points are numbered instead.
    """
    falls = np.flatnonzero(np.diff(series.steps) < 0) + 1
    if not len(falls):
        return [series]
    parts = np.split(np.arange(len(series)), falls)
    to_beginning = sum(int(series.steps[p[0]]) <= int(series.steps[0]) for p in parts[1:])
    if to_beginning > 2 or len(falls) > _MOST_ATTEMPTS:
        steps = np.arange(len(series), dtype=np.int64)
        return [replace(series, steps=steps, axis="record")]
    return [_take(series, part) for part in parts]


def _count_records(
    series: Sequence[Series], facts: Mapping[str, Fact], notes: list[str]
) -> list[Series]:
    """Give steps to a log that states none, where the logging interval is known."""
    interval = canonical.number(facts["logging_steps"].value) if "logging_steps" in facts else None
    counted = []
    for one in series:
        if one.axis == "record" and interval and interval >= 1 and _is_training(one):
            notes.append(
                f"{one.source.path}: states no steps; counted as every {int(interval)} steps "
                f"({facts['logging_steps'].source.path}: logging_steps)"
            )
            one = replace(one, steps=(one.steps * int(interval)), axis="step")
        counted.append(one)
    return counted


def _is_training(series: Series) -> bool:
    return series.role in ("loss", "grad_norm", "learning_rate", "loss_scale")


# --- artifacts, packages, environment ---------------------------------------------------------


def _reports(discovery: Discovery, readings: Sequence[Reading]) -> tuple[ArtifactReport, ...]:
    reports = []
    for reading in readings:
        problems = [
            str(p.source) + ": " + p.text if p.source.path else p.text for p in reading.problems
        ]
        if reading.skipped is not None and reading.skipped not in (
            p.text for p in reading.problems
        ):
            problems.insert(0, reading.skipped)
        artifact = reading.artifact
        reports.append(
            ArtifactReport(
                artifact.path,
                artifact.kind,
                artifact.bytes,
                reading.status,
                tuple(problems),
                reading.digest,
            )
        )
    reports.extend(
        ArtifactReport(problem.source.path, "unreadable", 0, "skipped", (problem.text,))
        for problem in discovery.problems
    )
    reports.extend(
        ArtifactReport(path, "unknown", size, "skipped", ("no reader knows this kind of file",))
        for path, size in discovery.unclaimed
    )
    return tuple(reports)


def _packages(environments: Sequence[EnvironmentRecord]) -> Mapping[str, Package]:
    """Every package with the first version stated for it, and what contradicts it."""
    stated: dict[str, list[tuple[str, Source]]] = {}
    for environment in environments:
        for name, version in environment.packages.items():
            stated.setdefault(name, []).append((version, environment.source))
    packages = {}
    for name, places in sorted(stated.items()):
        version, source = places[0]
        conflicts = tuple((other, place) for other, place in places[1:] if other != version)
        packages[name] = Package(name, version, source, conflicts)
    return packages


def _environment(environments: Sequence[EnvironmentRecord]) -> Mapping[str, Fact]:
    known: dict[str, Fact] = {}
    for environment in environments:
        for name, value in environment.facts.items():
            known.setdefault(name, Fact(value, environment.source))
    return known
