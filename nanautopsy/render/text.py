"""The verdict for a terminal: one screen, read at three in the morning.

Plain ASCII words around whatever the artifacts hold. Color is an addition, never the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import (
    ArtifactReport,
    Autopsy,
    Evidence,
    MissingEvidence,
    RankedCause,
    Source,
)
from nanautopsy.render import _facts
from nanautopsy.render._clean import cleaned, one_line
from nanautopsy.render._console import console, printed
from nanautopsy.render._format import end_cut, middle_cut, percent
from nanautopsy.render._wide_lines import wrapped_lines
from nanautopsy.wording import Phrase, listed, phrase, shortlist

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 80
MAX_WIDTH = 100
"""Longer lines are hard to read, however wide the terminal is."""
MIN_WIDTH = 32
HEIGHT = 23
"""Of 24 lines, one is for the report's path."""
_MORE = " ..."
_SOURCE = 24
"""Columns of each part of a source."""
_LABEL = 9
"""Columns of the labels at the left."""

_COLORS = {"non-finite": "red", "diverged": "yellow", "healthy": "green", "undetermined": "blue"}


@dataclass(frozen=True, slots=True)
class _Room:
    """How much each part may take."""

    evidence: int
    against: int
    remedies: int
    missing: int
    lines: int
    """Lines that one item may take."""


_ROOMS = (
    _Room(evidence=3, against=2, remedies=3, missing=4, lines=4),
    _Room(evidence=3, against=2, remedies=3, missing=4, lines=2),
    _Room(evidence=3, against=1, remedies=2, missing=2, lines=2),
    _Room(evidence=3, against=1, remedies=2, missing=1, lines=2),
    _Room(evidence=3, against=1, remedies=1, missing=1, lines=2),
    _Room(evidence=2, against=1, remedies=1, missing=1, lines=2),
    _Room(evidence=2, against=1, remedies=1, missing=1, lines=1),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One item: a label, a mark before the text, and the text."""

    label: str
    text: str
    style: str = ""
    mark: str = ""
    tail: str = ""
    """Shown after the text in a quieter style: the source."""


def render(
    autopsy: Autopsy,
    *,
    width: int | None = None,
    height: int | None = None,
    color: bool = False,
    language: Language = ENGLISH,
) -> str:
    """The verdict in at most ``height`` lines (23 if not given) of ``width`` columns (80)."""
    autopsy = cleaned(autopsy)
    to = console(max(MIN_WIDTH, min(width or WIDTH, MAX_WIDTH)), color=color)
    lines: list[Text] = []
    for room in _ROOMS:
        lines = [line for row in _rows(autopsy, room, language) for line in _lines(to, row, room)]
        if len(lines) <= max(HEIGHT, height or 0):
            break
    return printed(lines, to)


# --- what is said -----------------------------------------------------------------------------

_BLANK = _Row("", "")
_WHEN, _SEEN, _WHY = phrase("When"), phrase("Seen"), phrase("Why")


def _rows(autopsy: Autopsy, room: _Room, language: Language) -> Iterator[_Row]:
    name = one_line(autopsy.run.path) or "run"
    yield _Row("", one_line(f"nanautopsy {autopsy.version}: {name}"), "dim")
    word = language.say(_facts.verdict_word(autopsy))
    said = word.upper() + _facts.headline(autopsy, language)[len(word) :]
    yield _Row("", one_line(said), f"bold {_COLORS.get(autopsy.verdict, 'blue')}")
    for part in (
        _place_rows(autopsy),
        _why_rows(autopsy, room),
        _next_rows(autopsy, room),
        _hidden_rows(autopsy),
    ):
        rows = list(part)
        if rows:
            yield _BLANK
            yield from (_said(row, language) for row in rows)


def _said(row: _Row, language: Language) -> _Row:
    return replace(
        row,
        label=language.say(row.label),
        text=one_line(language.say(row.text)),
        tail=one_line(language.say(row.tail)),
    )


def _place_rows(autopsy: Autopsy) -> Iterator[_Row]:
    onset = autopsy.onset
    if onset is not None:
        yield _Row(
            _WHEN, phrase("{when}; {after}", when=_facts.when(onset), after=_facts.after(onset))
        )
        yield _Row(phrase("Where"), _facts.where(onset))
        yield _Row(_SEEN, onset.how, tail=_place(onset.source, onset.how))
        return
    finding = _facts.initiating(autopsy)
    if finding is not None:
        if finding.step is not None:
            when = phrase("step {number}", number=finding.step)
            if finding.last_good is not None:
                when = phrase("{place} (last good: {before})", place=when, before=finding.last_good)
            yield _Row(_WHEN, when)
        yield _Row(_SEEN, finding.text, tail=_place(finding.source, finding.text))
    elif autopsy.coverage.seen:
        yield _Row(_SEEN, listed(autopsy.coverage.seen, "; "))


def _why_rows(autopsy: Autopsy, room: _Room) -> Iterator[_Row]:
    if not autopsy.causes:
        if autopsy.failed:
            yield _Row(_WHY, _facts.why(autopsy), "bold")
        return
    best, *rest = autopsy.causes
    also = "".join(f", {percent(c.probability)} {c.id}" for c in rest[:2])
    title = f"{percent(best.probability)} {best.title}"
    yield _Row(_WHY, title, "bold", tail=best.id + also)
    yield from _evidence_rows(best, room)


def _evidence_rows(cause: RankedCause, room: _Room) -> Iterator[_Row]:
    def row(evidence: Evidence, mark: str, style: str) -> _Row:
        return _Row("", evidence.text, style, mark, _place(evidence.source, evidence.text))

    for evidence in _facts.by_strength(cause.evidence, True)[: room.evidence]:
        yield row(evidence, "+", "")
    for evidence in _facts.by_strength(cause.evidence, False)[: room.against]:
        yield row(evidence, "-", "")


def _place(source: Source, text: str) -> str:
    """The source in a few columns: the file's own name, and what the text does not say already."""
    name = source.path.rsplit("/", 1)[-1]
    if "tfevents" in name:
        # Time, host and process follow; the report has them.
        name = name[: name.index("tfevents") + len("tfevents")]
    place = middle_cut(name, _SOURCE, "...")
    if source.line is not None:
        return f"{place}:{source.line}"
    for what in (source.tag, source.tensor):
        if what is not None and what.lower() not in text.lower():
            place += " " + middle_cut(what, _SOURCE, "...")
    return place


def _next_rows(autopsy: Autopsy, room: _Room) -> Iterator[_Row]:
    remedies = autopsy.causes[0].remedies if autopsy.causes else ()
    for i, remedy in enumerate(remedies[: room.remedies]):
        yield _Row(phrase("Do") if i == 0 else "", remedy, mark="*")
    missing = autopsy.coverage.missing
    experiments = [entry for entry in missing if entry.experiment]
    for i, entry in enumerate(experiments[: room.missing]):
        label = phrase("Try") if i == 0 else ""
        yield _Row(label, _how(entry), mark="*", tail=entry.what)
    for problem in _unread(autopsy, reasons=room.lines > 2):
        yield _Row(phrase("Unread"), problem)
    unseen = [entry for entry in missing if not entry.experiment]
    most = max(1, room.missing - len(experiments))
    more = len(unseen) - most
    for i, entry in enumerate(unseen[:most]):
        text = phrase("{what}: {how}", what=entry.what, how=_how(entry))
        tail = phrase("{n} more", n=more) if more > 0 and i == most - 1 else ""
        yield _Row(phrase("Missing") if i == 0 else "", text, mark="*", tail=tail)


def _how(entry: MissingEvidence) -> str:
    """How to collect it, where a line says it."""
    how = entry.how_to_collect
    return how if len(how.splitlines()) < 2 else phrase("see the report")


def _hidden_rows(autopsy: Autopsy) -> Iterator[_Row]:
    if autopsy.hidden:
        yield _Row(phrase("Hidden"), _facts.hidden(autopsy.hidden), "dim")


def _unread(autopsy: Autopsy, *, reasons: bool) -> Iterator[str]:
    """One line on the artifacts that could not be read as a whole."""
    skipped = [a for a in autopsy.run.artifacts if a.status == "skipped"]
    partly = [a for a in autopsy.run.artifacts if a.status == "partly-read"]
    parts = []
    if skipped:
        files = _named(skipped)
        same = skipped[0].problems[:1]
        if same and reasons and all(a.problems[:1] == same for a in skipped):
            files = phrase("{files} ({why})", files=files, why=same[0])
        parts.append(files)
    if partly:
        parts.append(phrase("only in part: {files}", files=_named(partly)))
    if parts:
        yield listed(parts, "; ")


def _named(artifacts: Iterable[ArtifactReport]) -> Phrase:
    """The first of them, and how many more."""
    return shortlist([middle_cut(one_line(a.path), 40, "...") for a in artifacts], 1)


# --- how it is laid out -----------------------------------------------------------------------


def _lines(console: Console, row: _Row, room: _Room) -> list[Text]:
    """The row wrapped behind its label, cut to the room's number of lines."""
    from rich.cells import set_cell_size
    from rich.text import Text

    if row == _BLANK:
        return [Text()]
    title = not (row.label or row.mark) and row.style != ""
    indent = 0 if title else _LABEL + (2 if row.mark else 0)
    width = console.width - indent
    lead = Text()
    lead.append(set_cell_size(row.label, min(_LABEL, indent)), style="bold")
    if row.mark:
        lead.append(f"{row.mark} ", style={"+": "green", "-": "red"}.get(row.mark, "dim"))
    shown = _fitted(console, row, width, max(2, room.lines) if title else room.lines)
    return [(lead if i == 0 else Text(" " * indent)) + line for i, line in enumerate(shown)]


def _fitted(console: Console, row: _Row, width: int, lines: int) -> list[Text]:
    """Text and tail in at most ``lines`` lines: the text is cut before the source is."""
    from rich.text import Text

    tail = middle_cut(one_line(row.tail), width * lines // 2, "...")
    text = end_cut(row.text, width * lines, _MORE)
    while True:
        body = Text(text, style=row.style)
        if tail:
            body.append(" ")
            body.append(f"[{tail}]", style="not bold dim")
        wrapped = wrapped_lines(body, console, width)
        if len(wrapped) <= lines or len(text) <= 8:
            return wrapped[:lines]
        text = text.removesuffix(_MORE)
        text = end_cut(text, len(text) - 1, _MORE)
