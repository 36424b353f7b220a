"""The reports of runs beside an index page, from what the catalog holds: no artifact is read.

A report is written once: its time stamp is that of the scan that it shows, by which, with the
version that wrote it, the next index knows it again; its name tells how it was redacted. Reports
are made in processes of their own, so that one that fails costs no other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from nanautopsy import __version__
from nanautopsy.languages import ENGLISH, Language
from nanautopsy.outputs import is_ours, write_file
from nanautopsy.own_reports import is_own_report
from nanautopsy.render.index import Linked
from nanautopsy.scan.catalog import Catalog
from nanautopsy.scan.overview.runs import ListedRun
from nanautopsy.scan.settings import Settings
from nanautopsy.scan.workers import Workers, WorkerTrouble, cores
from nanautopsy.wording import phrase

Wanted: TypeAlias = Literal["failed", "all", "none"]
_LONGEST_NAME = 80
_AHEAD = 4
"""Reports that wait for each worker."""
_SECONDS = 300.0
"""For one report; giants take some ten."""
_HEAD = 1024
"""Bytes at a report's beginning that say who wrote it."""
_SAME = 2.0
"""Seconds by which a file system may round a time stamp."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A report to be made."""

    id: int
    archive: str
    root: str
    path: Path
    scanned_at: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where the reports of an index lie, and how they are made."""

    folder: Path
    """Beside the page."""
    settings: Settings
    wanted: Wanted = "failed"
    language: Language = ENGLISH
    jobs: int | None = None
    """Processes; all cores where it is not said."""

    def fill(
        self,
        catalog: Catalog,
        raw: Sequence[ListedRun],
        shown: Sequence[ListedRun],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Linked:
        """Write the reports that are not there yet, and say where all are.

        ``raw``: the runs as the catalog names them; ``shown``: the same, as the page does, so that
        no file is called by what the page hides. Raises ``OSError`` where nothing can be written,
        and :class:`~nanautopsy.scan.catalog.CatalogTrouble`.
        """
        why: Counter[str] = Counter()
        drafts = []
        for run, named in zip(raw, shown, strict=True):
            reason = self._unwanted(run)
            if reason:
                why[reason] += 1
            else:
                drafts.append(self._draft(run, named))
        due = [draft for draft in drafts if not _is_current(draft)]
        failed = {}
        if due:
            self.folder.mkdir(parents=True, exist_ok=True)
            for done, (draft, reason) in enumerate(self._made(catalog, due), 1):
                if reason:
                    failed[draft.id] = reason
                    why[reason] += 1
                progress(done, len(due))
        base = self.folder.name
        hrefs = {d.id: f"{base}/{d.path.name}" for d in drafts if d.id not in failed}
        return Linked(hrefs, tuple(why.most_common()))

    def _unwanted(self, run: ListedRun) -> str:
        """Why a run gets no report; empty where it does."""
        if self.wanted == "none":
            return phrase("none was asked for")
        if run.verdict is None:
            return phrase("the run was not analyzed")
        if self.wanted == "failed" and not run.failed:
            return phrase("the run did not die, and reports of all were not asked for")
        return ""

    def _draft(self, run: ListedRun, named: ListedRun) -> Draft:
        how = (self.settings.redact, self.settings.redact_urls, self.settings.known_issues)
        told = f"{run.archive}\0{run.root}\0{how}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(told, digest_size=5)
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", named.root)[-_LONGEST_NAME:].strip("-.")
        suffix = "" if self.language.code == "en" else f".{self.language.code}"
        name = f"{readable or 'run'}-{digest.hexdigest()}{suffix}.html"
        return Draft(run.id, run.archive, run.root, self.folder / name, run.scanned_at)

    def _made(self, catalog: Catalog, due: Iterable[Draft]) -> Iterator[tuple[Draft, str]]:
        """Each report with what went wrong, if anything did."""
        count = self.jobs or cores()
        workers = Workers(count)
        workers.check()
        waiting: deque[tuple[Draft, Future[str], Callable[[], Future[str]]]] = deque()
        try:
            for draft in due:
                records = catalog.records(draft.archive, draft.root)
                job = (make, records, draft, self.language, self.settings)
                call = partial(workers.schedule, *job, seconds=_SECONDS)
                waiting.append((draft, call(), call))
                if len(waiting) >= count * _AHEAD:
                    yield _outcome(workers, *waiting.popleft())
            while waiting:
                yield _outcome(workers, *waiting.popleft())
        except BaseException:
            workers.stop()
            raise
        workers.close()


def make(records: bytes, draft: Draft, language: Language, settings: Settings) -> str:
    """Judge a run by what was read of it, and write its report; why not, if it cannot be."""
    from nanautopsy.outputs import render
    from nanautopsy.scan.stored_run import StaleRecords, unpack
    from nanautopsy.scan.work import judged_again

    if not records:
        return phrase("what was read is too large to be kept; `nanautopsy analyze` makes one")
    try:
        autopsy = judged_again(unpack(records), settings)
    except StaleRecords:
        return phrase("what was read is kept as another version keeps it; scan again")
    if os.path.lexists(draft.path) and not is_ours(draft.path):
        return phrase("a file that is no report of nanautopsy's has its name")
    write_file(draft.path, render(autopsy, "html", language=language))
    os.utime(draft.path, (draft.scanned_at, draft.scanned_at))
    return ""


def _is_current(draft: Draft) -> bool:
    """Whether it was written of the same scan by the same version."""
    try:
        with open(draft.path, "rb") as file:
            written, head = os.fstat(file.fileno()).st_mtime, file.read(_HEAD)
    except OSError:
        return False
    mark = f'content="nanautopsy {__version__}"'.encode()
    return abs(written - draft.scanned_at) <= _SAME and is_own_report(head) and mark in head


def _outcome(
    workers: Workers, draft: Draft, future: Future[str], again: Callable[[], Future[str]]
) -> tuple[Draft, str]:
    try:
        return draft, workers.outcome(future, again)
    except WorkerTrouble:
        raise
    except TimeoutError:
        return draft, phrase("it took longer than {n:g} s", n=_SECONDS)
    except OSError as error:
        return draft, phrase("it cannot be written: {why}", why=error.strerror or str(error))
    except Exception as error:
        return draft, phrase("making it failed: {error}", error=type(error).__name__)
