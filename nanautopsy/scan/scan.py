"""The order of a scan: find runs, leave out what did not change, analyze, keep.

Runs are found while others are analyzed, and results are kept as they come, each batch in one
transaction; whatever ends the scan costs the runs that were being analyzed, and the next scan
takes them up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nanautopsy.model import Problem
from nanautopsy.read import load_readers
from nanautopsy.remote import is_url
from nanautopsy.role_patterns import parse_roles
from nanautopsy.scan.ahead import ahead
from nanautopsy.scan.find_runs import find_runs
from nanautopsy.scan.fingerprint import fingerprint_of, is_same, with_content
from nanautopsy.scan.kinds import Kinds, Told
from nanautopsy.scan.limits import Limits
from nanautopsy.scan.parts import FoundRun
from nanautopsy.scan.pool import LocalPool, RunLimits
from nanautopsy.scan.results import Known, ScanResult
from nanautopsy.scan.rules import asking_of, rules_of, same_readers
from nanautopsy.scan.settings import Job, Settings
from nanautopsy.scan.tally import Tally
from nanautopsy.scan.tree import Tree, open_tree
from nanautopsy.scan.workers import cores

MOST_AHEAD = 20_000
"""Runs that are found before they are asked for: so many say how long a scan will take, and take
some 40 MB."""


class Keeping(Protocol):
    """What a scan needs of a catalog."""

    def known(self, archive: str) -> dict[str, Known]:
        """By root, what is held of an archive's runs."""

    def record(self, results: Iterable[ScanResult]) -> None:
        """Keep all or none."""

    def forget(self, archive: str, roots: Iterable[str]) -> None:
        """Drop runs."""

    def records(self, archive: str, root: str) -> bytes:
        """What was read of a run."""

    def kinds(self, archive: str, asking: str) -> dict[str, Told]:
        """By path, what files recorded that were asked in this way."""

    def keep_kinds(self, archive: str, asking: str, told: Iterable[tuple[str, Told]]) -> None:
        """Keep what files recorded."""

    def forget_kinds(self, archive: str, paths: Iterable[str]) -> None:
        """Drop what files recorded."""


class Pool(Protocol):
    """Where runs are analyzed."""

    def results(self, jobs: Iterable[Job]) -> Iterator[list[ScanResult]]:
        """What is done, as soon as it is, and nothing at times when nothing is; jobs are asked for
        as workers come free."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an archive is scanned."""

    jobs: int | None = None
    """Processes; all cores where it is not said."""
    timeout: float | None = None
    """Seconds for one run."""
    memory_limit: int | None = None
    """Bytes for one run."""
    limits: Limits = field(default_factory=Limits)
    dask: str | None = None
    """Address of a dask.distributed scheduler."""
    redact: bool = True
    redact_urls: bool = False
    roles: tuple[str, ...] = ()
    known_issues: str | None = None
    check_content: bool = False
    retry: bool = False
    """Scan runs again that could not be analyzed, though they did not change."""
    prune: bool = False
    """Forget runs of the catalog that are no longer in the archive."""


@dataclass(slots=True)
class Scan:
    """One scan of one archive."""

    tree: Tree
    settings: Settings
    options: Options
    catalog: Keeping | None = None
    tally: Tally = field(default_factory=Tally)
    progress: Callable[[Tally], None] = lambda tally: None

    def results(self) -> Iterator[ScanResult]:
        """Each new result, after the catalog holds it."""
        address, asking = self.settings.address, asking_of(self.settings)
        known: dict[str, Known] = {}
        told: dict[str, Told] | None = None
        if self.catalog is not None:
            known, told = self.catalog.known(address), self.catalog.kinds(address, asking)
        kinds = Kinds(self.tree, load_readers().parts, told)
        self.progress(self.tally)
        with open_pool(self.options, self.settings) as pool:
            for done in pool.results(self._jobs(known, kinds)):
                if self.catalog is not None:
                    self.catalog.record(done)
                    self.catalog.keep_kinds(address, asking, kinds.news())
                for result in done:
                    self.tally.add(result)
                self.progress(self.tally)
                yield from done
        if self.catalog is not None:
            self.catalog.keep_kinds(address, asking, kinds.news())
        self._part_with(known, told or {})

    def _jobs(self, known: dict[str, Known], kinds: Kinds | None = None) -> Iterator[Job]:
        """What is to be analyzed; takes out of ``known`` what is still there."""
        kinds = kinds or Kinds(self.tree, load_readers().parts)
        rules = rules_of(self.settings)
        for run in ahead(self._found(kinds), MOST_AHEAD):
            job = self._job(run, rules, known.pop(run.root, None))
            if job is None:
                self.tally.unchanged += 1
                self.progress(self.tally)
            else:
                yield job

    def _found(self, kinds: Kinds) -> Iterator[FoundRun]:
        for run in find_runs(kinds, self.options.limits):
            self.tally.found += 1
            yield run
        self.tally.listed = True

    def _job(self, run: FoundRun, rules: str, known: Known | None) -> Job | None:
        """``None`` where the catalog holds what would come out."""
        fingerprint = fingerprint_of(run.files)
        if self.options.check_content:
            fingerprint = with_content(fingerprint, self.tree, run.files)
        records = b""
        if known is not None and is_same(known.fingerprint, fingerprint):
            again = self.options.retry and known.outcome != "analyzed"
            if known.rules == rules and not again:
                return None
            if self.catalog is not None and same_readers(known.rules, rules):
                records = self.catalog.records(self.settings.address, run.root)
        return Job(self.settings, run.root, run.files, fingerprint, rules, records)

    def _part_with(self, missing: Collection[str], files: Collection[str]) -> None:
        """Count, and if asked forget, the runs that the whole search did not meet, and files."""
        if self.options.limits != Limits() or self.tree.problems:
            return  # what was not looked at is not gone
        self.tally.gone = len(missing)
        if self.options.prune and self.catalog is not None:
            self.catalog.forget(self.settings.address, missing)
            self.catalog.forget_kinds(self.settings.address, files)


def open_pool(options: Options, settings: Settings) -> AbstractContextManager[Pool]:
    """Where the options say that runs are analyzed."""
    limits = RunLimits(options.timeout, options.memory_limit)
    if options.dask is None:
        return LocalPool(options.jobs or cores(), limits)
    from nanautopsy.scan.dask_pool import DaskPool

    return DaskPool(options.dask, settings, limits)


def open_scan(
    archive: str | os.PathLike[str],
    options: Options | None = None,
    catalog: Keeping | None = None,
    progress: Callable[[Tally], None] | None = None,
) -> Scan:
    """A scan that is ready to begin.

    Raises :class:`~nanautopsy.discover.NothingToRead` for an archive that is not there,
    :class:`~nanautopsy.role_patterns.UnclearRole` and :class:`NotADirectoryError` as
    :func:`nanautopsy.analyze` does.
    """
    options = options or Options()
    parse_roles(options.roles)
    if options.known_issues is not None and not Path(options.known_issues).is_dir():
        raise NotADirectoryError(f"{options.known_issues}: no directory of known issues")
    given = os.fspath(archive)
    tree = open_tree(given)
    settings = Settings(
        archive=given if is_url(given) else tree.address,
        address=tree.address,
        redact=options.redact,
        redact_urls=options.redact_urls,
        roles=options.roles,
        known_issues=options.known_issues,
    )
    scan = Scan(tree, settings, options, catalog)
    if progress is not None:
        scan.progress = progress
    return scan


def list_runs(
    archive: str | os.PathLike[str], limits: Limits | None = None
) -> tuple[Iterator[FoundRun], list[Problem]]:
    """The runs of an archive, and the problems that come up while they are asked for.

    Raises :class:`~nanautopsy.discover.NothingToRead`.
    """
    tree = open_tree(os.fspath(archive))
    return find_runs(Kinds(tree, load_readers().parts), limits), tree.problems


def scan(
    archive: str | os.PathLike[str],
    *,
    catalog: str | os.PathLike[str] | Keeping | None = None,
    options: Options | None = None,
    progress: Callable[[Tally], None] | None = None,
) -> Iterator[ScanResult]:
    """Analyze every run of an archive; yields results as they come.

    With a ``catalog`` (a path, a database URL, or an open one) results are kept in it, and runs
    that it holds unchanged are neither read nor yielded. Worker processes import the main module: a
    script calls this under ``if __name__ == "__main__":``. Raises what :func:`open_scan` does, and
    ``CatalogTrouble``, ``ClusterTrouble`` or ``WorkerTrouble`` where those fail.
    """
    if not isinstance(catalog, (str, os.PathLike)):
        yield from open_scan(archive, options, catalog, progress).results()
        return
    from nanautopsy.scan.catalog import Catalog

    with Catalog.open(catalog) as opened:
        yield from open_scan(archive, options, opened, progress).results()
