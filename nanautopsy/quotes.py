"""The lines of the text artifacts that the result cites, with those around them.

Renderers see no files, so what they may show of a log is taken here: around the first bad step, the
whole of a traceback, and around every cited line, the most important first until there is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanautopsy.model import Artifact, Autopsy, Finding, LogEvent, Quote, Series, Source
from nanautopsy.readers.text.blocks import Block, blocks
from nanautopsy.readers.text.lines import clean

BEFORE, AFTER = 20, 5
"""Lines around the first bad step: what maintainers ask for."""
AROUND = 3
"""Lines on either side of every other cited line."""
MOST_TRACEBACK = 60
"""Lines of a traceback, its end; torch's longest ordinary ones have about 50."""
MOST_CITED = 80
"""Places quoted; a report of a failure has about 20."""
MOST_CHARACTERS = 64_000
"""Of all quotes together, so that any format has room for them."""
LINE_CHARACTERS = 500
"""A longer line is cut, with a mark."""
CUT = "…"
_RECORDS = frozenset({"wandb", "tensorboard"})
"""Kinds of artifacts whose numbers count records, and no lines."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Lines to quote: from ``first`` to ``last``, because of those that are ``cited``."""

    path: str
    first: int
    last: int
    cited: int
    excerpt: str = ""
    is_onset: bool = False


def quoted(autopsy: Autopsy, artifacts: Iterable[Artifact]) -> tuple[Quote, ...]:
    """The quotes for a finished result, in order of artifacts and lines.

    ``artifacts``: what the result was read from. A file that is gone, or that changed its length
    meanwhile, is quoted as far as it can be read.
    """
    places = {
        path: location
        for artifact in artifacts
        if artifact.kind not in _RECORDS
        for path, location in artifact.members
        if isinstance(location, Path)
    }
    windows = [w for w in _windows(autopsy) if w.path in places][:MOST_CITED]
    found = {
        path: _lines(places[path], [w for w in windows if w.path == path])
        for path in dict.fromkeys(window.path for window in windows)
    }
    kept = _within_bounds(windows, found)
    return tuple(
        quote
        for path in places
        if path in found
        for quote in _joined(path, [w for w in kept if w.path == path], found[path])
    )


# --- what to quote --------------------------------------------------------------------------------


def _windows(autopsy: Autopsy) -> Iterator[_Window]:
    """Most important first; each cited line once."""
    onset = _onset(autopsy)
    told = set()
    if onset is not None:
        yield onset
        told.add((onset.path, onset.cited))
    for event in autopsy.run.events_of("traceback"):
        window = _traceback(event)
        if window is not None and (window.path, window.cited) not in told:
            told.add((window.path, window.cited))
            yield window
    for source in _cited(autopsy):
        if source.line is not None and (source.path, source.line) not in told:
            told.add((source.path, source.line))
            first, last = max(1, source.line - AROUND), source.line + AROUND
            yield _Window(source.path, first, last, source.line, source.excerpt or "")


def _cited(autopsy: Autopsy) -> Iterator[Source]:
    if autopsy.onset is not None:
        yield autopsy.onset.source
    for cause in autopsy.causes:
        yield from (e.source for e in sorted(cause.evidence, key=lambda e: -e.strength))
    by_role = sorted(autopsy.findings, key=lambda f: f.role != "initiating")
    yield from (finding.source for finding in by_role)
    yield from (entry.source for entry in autopsy.timeline)
    for cause in autopsy.considered:
        yield from (evidence.source for evidence in cause.evidence)


def _onset(autopsy: Autopsy) -> _Window | None:
    """Around the line of the first bad step, in the log that shows it."""
    first_bad = autopsy.onset or _turning_point(autopsy.findings)
    if first_bad is None:
        return None
    source = first_bad.source
    logs = {a.path for a in autopsy.run.artifacts if a.kind == "text-log"}
    if source.path not in logs or source.line is None:
        shown = _at_step(autopsy, first_bad.step, logs)
        if shown is None:
            return None
        source = shown
    line = source.line or 1
    first, last = max(1, line - BEFORE), line + AFTER
    return _Window(source.path, first, last, line, source.excerpt or "", is_onset=True)


def _turning_point(findings: Sequence[Finding]) -> Finding | None:
    """Where a run that stayed finite began to go wrong."""
    diverged = [f for f in findings if f.role == "initiating" or f.id == "diverged-loss"]
    return min(diverged, key=lambda f: (f.step is None, f.step or 0), default=None)


def _at_step(autopsy: Autopsy, step: int | None, logs: set[str]) -> Source | None:
    """The first line of a log that shows a number of this step or of a later one."""
    if step is None:
        return None
    rank = None if autopsy.onset is None else autopsy.onset.rank
    series = [s for s in autopsy.run.series if s.source.path in logs and s.lines is not None]
    candidates = [(s, at) for s in series if (at := _first_from(s, step)) is not None]
    if not candidates:
        return None
    best, at = min(candidates, key=lambda pair: (_unlike(pair[0], rank), -len(pair[0])))
    return best.at(at)


def _first_from(series: Series, step: int) -> int | None:
    if series.axis != "step":
        return None
    later = np.flatnonzero(series.steps >= step)
    return int(later[0]) if len(later) else None


def _unlike(series: Series, rank: int | None) -> tuple[bool, bool]:
    return rank is not None and series.rank != rank, series.role not in ("loss", "grad_norm")


def _traceback(event: LogEvent) -> _Window | None:
    last = event.source.line
    if last is None:
        return None
    started = event.data.get("started_at")
    first = started if isinstance(started, int) else last
    first = max(first, last - MOST_TRACEBACK)
    return _Window(event.source.path, first, last + 1, last, event.source.excerpt or "")


# --- reading --------------------------------------------------------------------------------------


def _lines(location: Path, windows: Sequence[_Window]) -> Mapping[int, str]:
    """The text of each wanted line, by its number; one pass, which ends behind the last of them."""
    wanted = {n for w in windows for n in range(w.first, w.last + 1)}
    excerpts = {w.cited: w.excerpt for w in windows if w.excerpt}
    found: dict[int, str] = {}
    end = max(wanted)
    try:
        for block in blocks(location):
            if not isinstance(block, Block):
                continue
            if block.first_line > end:
                break
            lines = range(block.first_line, block.first_line + block.data.count(b"\n") + 1)
            if not wanted.isdisjoint(lines):
                _take(block, wanted, excerpts, found)
    except OSError:
        pass  # it could be read before; what is found so far stands
    return found


def _take(
    block: Block, wanted: set[int], excerpts: Mapping[int, str], found: dict[int, str]
) -> None:
    number = block.first_line
    at = 0
    while at < len(block.data):
        end = block.data.find(b"\n", at)
        end = len(block.data) if end < 0 else end
        if number in wanted:
            text = _shown(block.data[at:end], excerpts.get(number, ""))
            if text or number not in found:
                found[number] = text
        at, number = end + 1, number + 1


def _shown(raw: bytes, excerpt: str) -> str:
    """One line, as a terminal leaves it: of what a progress bar wrote over and over, the last; or
    what is cited of it, which may stand in any of them."""
    parts = [part for part in clean(raw).split(b"\r") if part.strip()]
    if not parts:
        return ""
    beginning = excerpt[:40].encode()
    cited = [part for part in parts if beginning and beginning in part]
    text = (cited or parts)[-1][: 4 * LINE_CHARACTERS].decode("utf-8", "replace").rstrip()
    text = text.replace("\t", "    ")
    return text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1] + CUT


# --- putting together -----------------------------------------------------------------------------


def _within_bounds(
    windows: Sequence[_Window], found: Mapping[str, Mapping[int, str]]
) -> list[_Window]:
    """The windows whose lines fit together into the bound; those that do not are left out."""
    kept: list[_Window] = []
    taken: set[tuple[str, int]] = set()
    room = MOST_CHARACTERS
    for window in windows:
        lines = found[window.path]
        new = {(window.path, n) for n in _numbers(window, lines)} - taken
        cost = sum(len(lines[n]) + 1 for _, n in new)
        if window.cited in lines and cost <= room:
            kept.append(window)
            taken |= new
            room -= cost
    return kept


def _joined(path: str, windows: Sequence[_Window], lines: Mapping[int, str]) -> Iterator[Quote]:
    """One quote for each run of consecutive lines."""
    numbers = sorted({n for w in windows for n in _numbers(w, lines)})
    cited = {w.cited for w in windows}
    onset = next((w.cited for w in windows if w.is_onset), None)
    ends = [i for i, n in enumerate(numbers) if i + 1 == len(numbers) or numbers[i + 1] != n + 1]
    begin = 0
    for end in ends:
        run = numbers[begin : end + 1]
        begin = end + 1
        yield Quote(
            path=path,
            first=run[0],
            lines=tuple(lines[n] for n in run),
            cited=tuple(n for n in run if n in cited),
            onset=onset if onset in run else None,
        )


def _numbers(window: _Window, lines: Mapping[int, str]) -> list[int]:
    return [n for n in range(window.first, window.last + 1) if n in lines]
