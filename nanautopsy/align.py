"""Records in, one Run on one step axis out.

Roles are given to series, steps of different counters are brought together, restarts are merged
(the later attempt wins where both logged a step), and every guess on the way becomes a note.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from nanautopsy import facts as canonical
from nanautopsy.attempts import merge_attempts, take
from nanautopsy.console_steps import event_with_step, rows_of_consoles, with_steps
from nanautopsy.continuations import continuations
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
    Scalar,
    Series,
    Source,
)
from nanautopsy.readers._step_keys import rank_in_name, rank_of_tag
from nanautopsy.role_patterns import RolePattern, give_roles
from nanautopsy.setting_conflicts import machine_conflicts, setting_conflicts
from nanautopsy.step_axis import count_steps, counted_in_samples, on_training_step
from nanautopsy.wording import phrase, shortlist

_TAGS_TOLD = 3
"""Tags that one note lists."""

_Record = TypeVar("_Record")


def align(
    path: str,
    discovery: Discovery,
    readings: Sequence[Reading],
    problems: Sequence[str] = (),
    roles: Sequence[RolePattern] = (),
) -> Run:
    """One run of everything that was read; ``problems`` are those of loading the readers, and
    ``roles`` those that the user gives."""
    notes: list[str] = [*problems, *discovery.notes]
    raw = _series(readings, notes)
    consoles = rows_of_consoles(raw, notes)
    stepped = [with_steps(one, consoles.get(one.source.path)) for one in raw]
    named = give_roles(counted_in_samples(stepped), roles, notes)
    series = _merged(named, notes)
    events = tuple(
        _of_its_rank(event_with_step(event, consoles.get(event.source.path)))
        for event in _of_type(readings, LogEvent)
    )
    configs = list(_of_type(readings, ConfigRecord))
    environments = list(_of_type(readings, EnvironmentRecord))
    facts = canonical.derive(configs, environments, events, series)
    notes.extend(setting_conflicts(configs, environments, facts))
    notes.extend(machine_conflicts(environments))
    series = count_steps(series, facts, notes)
    if not any(event.kind == "run-resumed" and _is_placed(event) for event in events):
        # Files of one writer are joined by now; rows of others have their steps only now.
        events += tuple(continuations(named) or continuations(series))
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


def _is_placed(resume: LogEvent) -> bool:
    """Whether it says where the run went on."""
    return resume.step is not None or not {"step", "epoch"}.isdisjoint(resume.data)


def _series(readings: Sequence[Reading], notes: list[str]) -> list[Series]:
    """As the readers gave them, trackers' rows on training steps, nulls dropped."""
    found: list[Series] = []
    for reading in readings:
        own = [record for record in reading.records if isinstance(record, Series)]
        if reading.artifact.kind.startswith("wandb"):
            # What a run file holds with lines was printed: it has steps of its own already.
            is_run = reading.artifact.kind == "wandb"
            printed = [one for one in own if is_run and one.lines is not None]
            tracked = [one for one in own if not (is_run and one.lines is not None)]
            own = on_training_step(tracked, _declared_axes(reading), notes) + printed
        found.extend(map(_of_its_rank, _without_nulls(own, notes)))
    return found


_Ranked = TypeVar("_Ranked", Series, LogEvent)


def _of_its_rank(record: _Ranked) -> _Ranked:
    """With the rank that its tag, or its file, is named after, where nothing else says it."""
    if record.rank is not None:
        return record
    tag = rank_of_tag(record.tag) if isinstance(record, Series) else None
    rank = rank_in_name(record.source.path) if tag is None else tag[1]
    return record if rank is None else replace(record, rank=rank)


def _merged(series: Sequence[Series], notes: list[str]) -> list[Series]:
    """With the attempts of one writer joined."""
    merged, told = merge_attempts(series)
    notes.extend(told)
    notes.extend(_several_runs(merged))
    return merged


def _several_runs(series: Sequence[Series]) -> Iterator[str]:
    """A note where directories beside each other hold the same training loss, as sweeps do."""
    homes: dict[str, set[str]] = {}
    for one in series:
        if one.role == "loss" and one.rank is None:
            path = one.source.path
            # Of the runs in one database, each is a home of its own.
            home = path if "#" in path else path.rpartition("/")[0]
            homes.setdefault(one.tag, set()).add(home)
    most = max(homes, key=lambda tag: len(homes[tag]), default=None)
    if most is not None and len(homes[most]) > 1:
        yield phrase(
            "{n} places hold a {tag!r} of their own: they are judged as one run, and the earliest "
            "failure counts",
            n=len(homes[most]),
            tag=most,
        )


def _declared_axes(reading: Reading) -> Mapping[str, Scalar]:
    """Patterns of metric names to the counter that the program declared as their axis."""
    records = (r for r in reading.records if isinstance(r, ConfigRecord))
    return next((r.values for r in records if r.kind == "wandb_axes"), {})


def _without_nulls(series: Sequence[Series], notes: list[str]) -> list[Series]:
    """Drop explicit nulls: a value that is not there is neither zero nor NaN."""
    kept, nulls = [], {}
    for one in series:
        if one.missing is None:
            kept.append(one)
            continue
        nulls[one.tag] = int(one.missing.sum())
        kept.append(take(one, np.flatnonzero(~one.missing)))
    if nulls:
        notes.append(
            phrase(
                "{path}: {n} null values of {tags} are missing values, not NaN",
                path=series[0].source.path,
                n=sum(nulls.values()),
                tags=shortlist([repr(tag) for tag in nulls], _TAGS_TOLD),
            )
        )
    return kept


# --- artifacts, packages, environment ---------------------------------------------------------


def _reports(discovery: Discovery, readings: Sequence[Reading]) -> tuple[ArtifactReport, ...]:
    reports = []
    for reading in readings:
        problems = [
            phrase("{place}: {problem}", place=p.source, problem=p.text)
            if p.source.path
            else p.text
            for p in reading.problems
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
        ArtifactReport(
            path, "unknown", size, "skipped", (phrase("no reader knows this kind of file"),)
        )
        for path, size in discovery.unclaimed
    )
    return tuple(reports)


def _packages(environments: Sequence[EnvironmentRecord]) -> Mapping[str, Package]:
    """Every package with the first version stated for it, and what contradicts it.

    Lock files come last: what they lock need not be what was installed.
    """
    stated: dict[str, list[tuple[str, Source]]] = {}
    for environment in sorted(environments, key=lambda one: "packages_note" in one.facts):
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
