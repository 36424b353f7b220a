"""The order of the stages, on one screen; nothing else knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nanautopsy import __version__
from nanautopsy.align import align
from nanautopsy.causes.interface import Case
from nanautopsy.checkpoints.examine import examine
from nanautopsy.coverage import cover
from nanautopsy.detectors.interface import Detector
from nanautopsy.diagnose import Diagnosis, diagnose, load_causes
from nanautopsy.discover import Discovery, NothingToRead, discover
from nanautopsy.headline import headline
from nanautopsy.known_issues import Catalog, KnownIssue, merged, read_directory
from nanautopsy.model import Artifact, Autopsy, Finding, Reading, Run, Source
from nanautopsy.next_steps import next_steps
from nanautopsy.onset import Located, locate
from nanautopsy.plugins import Parts, load_parts
from nanautopsy.quotes import quoted
from nanautopsy.read import load_readers, read
from nanautopsy.redact import redact as hide
from nanautopsy.role_patterns import RolePattern, parse_roles
from nanautopsy.timeline import tell
from nanautopsy.wording import phrase


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that reads and judges: load it once, use it for many runs."""

    readers: Parts
    causes: Parts
    detectors: tuple[Detector, ...]
    issues: Catalog


def load_rules(known_issues: str | Path | Iterable[KnownIssue] = ()) -> Rules:
    """Our parts and third parties'. Raises :class:`NotADirectoryError`."""
    detectors = load_parts(("nanautopsy.detectors",), "DETECTOR").parts
    return Rules(load_readers(), load_causes(), detectors, _catalog(known_issues))


def analyze(
    path: str | Path,
    *,
    redact: bool = True,
    redact_urls: bool = False,
    progress: Callable[[str], None] | None = None,
    roles: Iterable[str] = (),
    known_issues: str | Path | Iterable[KnownIssue] = (),
) -> Autopsy:
    """Read a run directory (or a single file) and say when, where and why it died.

    ``redact``: hide home directories, names, addresses and secrets; ``redact_urls``: buckets and
    internal URLs too. ``roles``: what metrics are whose names do not say it, as
    ``loss=my/criterion*`` (:mod:`nanautopsy.role_patterns`). ``known_issues``: a directory of
    defects beside the package's own (:mod:`nanautopsy.known_issues`), whose unusable files are told
    in the run's notes, or the issues themselves.

    Raises :class:`nanautopsy.discover.NothingToRead` when there is nothing to read,
    :class:`nanautopsy.role_patterns.UnclearRole` for a role that is none, and
    :class:`NotADirectoryError` for a directory of issues that is none.
    """
    patterns = parse_roles(roles)
    rules = load_rules(known_issues)
    discovery = discover(Path(path), rules.readers.parts)
    run = read_run(str(path), discovery, rules, roles=patterns, progress=progress)
    if progress is not None:
        progress("diagnosing")
    return judge(run, rules, redact=redact, redact_urls=redact_urls, artifacts=discovery.artifacts)


@np.errstate(all="ignore")
def read_run(
    path: str,
    discovery: Discovery,
    rules: Rules,
    *,
    roles: Sequence[RolePattern] = (),
    progress: Callable[[str], None] | None = None,
) -> Run:
    """Everything that the artifacts hold, on one step axis.

    Raises :class:`nanautopsy.discover.NothingToRead` when none of them could be read.
    """
    say = progress or (lambda text: None)
    by_name = {reader.name: reader for reader in rules.readers.parts}
    readings = []
    for artifact in discovery.artifacts:
        say(f"reading {artifact.path}")
        readings.append(read(artifact, by_name))
    if all(reading.skipped is not None for reading in readings):
        raise NothingToRead(_why_nothing(path, discovery, readings))
    say("measuring checkpoints")
    readings = examine(readings)
    problems = (*rules.readers.problems, *rules.causes.problems, *rules.issues.problems)
    return align(path, discovery, readings, problems, roles)


@np.errstate(all="ignore")
def judge(
    run: Run,
    rules: Rules,
    *,
    redact: bool = True,
    redact_urls: bool = False,
    artifacts: Iterable[Artifact] = (),
) -> Autopsy:
    """What the run died of, from what was read of it.

    ``artifacts``: where its logs lie, to quote the lines that the result cites.
    """
    findings = _detect(run, rules.detectors)
    located = locate(run, findings)
    case = Case(run, located.findings, located.onset, located.verdict, rules.issues.issues)
    autopsy = _assemble(case, located, diagnose(case, rules.causes.parts))
    autopsy = replace(autopsy, quotes=quoted(autopsy, artifacts))
    return hide(autopsy, urls=redact_urls) if redact else autopsy


def _catalog(known_issues: str | Path | Iterable[KnownIssue]) -> Catalog:
    """The package's defects and the caller's."""
    if isinstance(known_issues, (str, Path)):
        own = read_directory(known_issues)
        return Catalog(merged(own.issues), own.problems)
    return Catalog(merged(known_issues), ())


def _why_nothing(path: str, discovery: Discovery, readings: Sequence[Reading]) -> str:
    """One line: how many files there are, and what stands in the way of the first."""
    files = len(readings) + len(discovery.unclaimed) + len(discovery.problems)
    reasons = [f"{r.artifact.path}: {r.skipped}" for r in readings]
    reasons += [f"{p.source}: {p.text}" for p in discovery.problems]
    reasons += [f"{name}: no reader knows this kind of file" for name, _ in discovery.unclaimed]
    more = f" (and {files - 1} more)" if files > 1 else ""
    return f"{path}: nothing readable: {reasons[0]}{more}"


def _detect(run: Run, detectors: Iterable[Detector]) -> list[Finding]:
    """Every detector's findings; one that fails leaves a finding that says so."""
    findings: list[Finding] = []
    for detector in detectors:
        try:
            findings.extend(detector.detect(run))
        except Exception as error:
            text = phrase(
                "the {detector} detector failed: {error}",
                detector=detector.id,
                error=f"{type(error).__name__}: {error}",
            )
            findings.append(Finding("detector-failed", text, Source(".")))
    return findings


def _assemble(case: Case, located: Located, diagnosis: Diagnosis) -> Autopsy:
    steps = next_steps(case, diagnosis.causes, diagnosis.considered)
    return Autopsy(
        run=case.run,
        verdict=located.verdict,
        headline=headline(
            located.verdict,
            located.onset,
            located.findings,
            loss_read=bool(case.run.by_role("loss", "eval_loss")),
        ),
        onset=located.onset,
        causes=diagnosis.causes,
        considered=diagnosis.considered,
        findings=located.findings,
        timeline=tell(case.run, located.findings, located.onset),
        coverage=cover(case.run, located.verdict, located.onset, steps),
        version=__version__,
    )
