"""One run in, one result out: what a worker does, on this machine or another."""

from __future__ import annotations

import os
import posixpath
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nanautopsy.autopsy import Rules, judge, load_rules, read_run
from nanautopsy.discover import Discovery, NothingToRead, claim_all, heads, natural_key
from nanautopsy.model import Autopsy, Problem
from nanautopsy.read import MEMORY_RAN_OUT
from nanautopsy.redact import added, redact_value
from nanautopsy.remote import is_url
from nanautopsy.render.json import document
from nanautopsy.role_patterns import parse_roles
from nanautopsy.scan.packing import pack as packed_document
from nanautopsy.scan.results import Outcome, ScanResult
from nanautopsy.scan.settings import Job, Settings
from nanautopsy.scan.signature import signature_of
from nanautopsy.scan.stored_run import StaleRecords, StoredRun, pack, unpack
from nanautopsy.scan.waste import waste_of


def examine(job: Job) -> ScanResult:
    """The run's result, whatever happens short of the process ending."""
    began = time.perf_counter()
    try:
        judged = _again(job)
        autopsy = judged or _anew(job)
        full = [
            a.path for a in autopsy.run.artifacts if any(MEMORY_RAN_OUT in p for p in a.problems)
        ]
        if full:
            raise MemoryError(full[0])
        made = document(autopsy)
        result = replace(
            unanalyzed(job, "analyzed", "", 0.0),
            again=judged is not None,
            document=made,
            packed=packed_document(made),
            signature=signature_of(autopsy),
            waste=waste_of(autopsy),
            records=pack(autopsy),
        )
    except NothingToRead as error:
        result = unanalyzed(job, "unreadable", str(error), 0.0)
    except OSError as error:
        result = unanalyzed(job, "unreadable", f"{error.filename}: {error.strerror or error}", 0.0)
    except MemoryError as error:
        where = f" while {error} was read" if str(error) else ""
        result = unanalyzed(job, "out-of-memory", f"memory ran out{where}", 0.0)
    except Exception as error:
        result = unanalyzed(job, "crashed", _defect(error), 0.0)
    return replace(result, seconds=time.perf_counter() - began)


def unanalyzed(job: Job, outcome: Outcome, reason: str, seconds: float) -> ScanResult:
    """The result of a run of which nothing else is known."""
    return ScanResult(
        archive=job.settings.address,
        root=job.root,
        fingerprint=job.fingerprint,
        rules=job.rules,
        outcome=outcome,
        scanned_at=time.time(),
        seconds=seconds,
        size=job.size,
        reason=_told(reason, job),
    )


def _told(reason: str, job: Job) -> str:
    """One line, which may leave with the catalog."""
    line = " ".join(reason.split())
    if not job.settings.redact:
        return line
    hidden, _ = redact_value((line,), urls=job.settings.redact_urls)
    return hidden[0]


def _again(job: Job) -> Autopsy | None:
    """Judged by what was read before; ``None`` where that is not all there is."""
    if not job.records:
        return None
    try:
        stored = unpack(job.records)
    except StaleRecords:
        return None
    return judged_again(stored, job.settings) if stored.complete else None


def judged_again(stored: StoredRun, settings: Settings) -> Autopsy:
    """What was read of a run, judged by the rules of today."""
    autopsy = judge(
        stored.run,
        _rules(settings.known_issues),
        redact=settings.redact,
        redact_urls=settings.redact_urls,
    )
    return replace(autopsy, hidden=added(autopsy.hidden, stored.hidden), quotes=stored.quotes)


def _anew(job: Job) -> Autopsy:
    """Read and judged. Raises :class:`~nanautopsy.discover.NothingToRead`."""
    rules = _rules(job.settings.known_issues)
    roles = parse_roles(job.settings.roles)
    inside = "" if job.root == "." else f"/{job.root}"
    with _discovery(job, rules) as discovery:
        run = read_run(job.settings.address + inside, discovery, rules, roles=roles)
        found = discovery.artifacts
        return judge(
            run,
            rules,
            redact=job.settings.redact,
            redact_urls=job.settings.redact_urls,
            artifacts=found,
        )


@lru_cache(maxsize=2)
def _rules(known_issues: str | None) -> Rules:
    return load_rules(known_issues or ())


@contextmanager
def _discovery(job: Job, rules: Rules) -> Iterator[Discovery]:
    """The run's artifacts, on this machine's disk as far as they must be."""
    problems: list[Problem] = []
    names = names_in_run(job)
    if not is_url(job.settings.archive):
        archive = Path(job.settings.address)
        base = archive if archive.is_dir() else archive.parent
        found = [(name, base / path) for name, path in names]
        yield claim_all(heads(found, problems), rules.readers.parts, problems)
        return
    from nanautopsy.scan.remote_run import discover_remote

    with tempfile.TemporaryDirectory(prefix="nanautopsy-") as folder:
        yield discover_remote(job, names, rules.readers.parts, Path(folder))


def names_in_run(job: Job) -> list[tuple[str, str]]:
    """(path relative to the run, path relative to the archive) of its files, in natural order."""
    paths = [file.path for file in job.files]
    base = posixpath.dirname(job.root) if job.root in paths else job.root
    named = [(posixpath.relpath(path, base or "."), path) for path in paths]
    return sorted(named, key=lambda pair: _walking_order(pair[0]))


def _walking_order(path: str) -> list[tuple[bool, tuple[tuple[int, int, str], ...]]]:
    """As a walk meets them: the files of a folder before the folders in it."""
    parts = path.split("/")
    return [(i < len(parts) - 1, natural_key(part)) for i, part in enumerate(parts)]


def _defect(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f"{os.sep}nanautopsy{os.sep}" in f.filename]
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"a defect of nanautopsy: {type(error).__name__}{place}: {error}"
