"""Text that a program shows and does not say: samples that a language model generates, what a chat
or a data set holds, the session of a test runner.

Samples::

    --- sample ---
    Q: my loss became nan after step 1200, what should I do?
    --- end sample ---
    ===== Generated text (step 200) =====
    ...
    =====================================
    [sample 3]
    Generated: 'The loss: nan means that ...'
    <|assistant|> Loss is NaN: check for division by zero.
    ============================= test session starts ==============================
    ==================== 8 passed, 1 xfailed in 3.12s ====================

What stands there is no metric and no statement of the run. A sample ends with a line of rules, or
with the next row of a kind that the log had before. Of tests that passed, what they print is what
they expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import LogEvent, Record, Series
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take

_SHOWN = (
    r"(?:(?:random|text|model|validation|greedy|unconditional|conditional) )?"
    r"(?:sampl(?:e|es|ing)|generat(?:ed|ion|ions|ing)|completions?|continuations?)"
    r"(?: (?:text|output|outputs|samples?|completions?|from model))?"
)
_BEGIN = re.compile(
    rf"\s*(?:[-=*#~_+<>]{{2,}}\s*|[\[<])(?:begin )?{_SHOWN}"
    r"(?:[ #(]{1,2}(?:step|iter|epoch)?[ #]?\d{1,9})?"
    r"[^\w]{0,80}",
    re.IGNORECASE,
)
_END = re.compile(
    rf"\s*(?:[-=*#~_+]{{3,}}|[-=*#~_+<\[]{{1,80}}\s*/?(?:end\b.{{0,40}}|{_SHOWN})?[^\w]{{1,80}})\s*",
    re.IGNORECASE,
)
_LONGEST = 200
"""Lines."""
_MEMORY = "quotations"
_WITHIN = "quoted lines"
_QUOTE = re.compile(
    r"\W{0,4}(?:<\|?(?:im_start\|>)?(?:user|assistant|system|human|prompt|question|answer)\|?>"
    r"|(?:generated|generation|completion|continuation|prompt|model (?:output|response|answer)"
    r"|sample|user|assistant|human|question|instruction)"
    r"(?: ?(?:#? ?\d{1,9}|\[\d{1,9}\]|text|output))?"
    r"\s{0,3}(?::|->|=>|>>)\s{0,3}(?=['\"`\u201c\u2018<]|(?:[\w'-]+[,.?!]? ){3}))",
    re.IGNORECASE,
)
"""A line of a conversation or a sample: who speaks, then a quotation or several words."""
_TESTS_BEGIN = re.compile(r"=+ test session starts =+")
_TESTS_END = re.compile(
    r"=+ (?P<told>[\w, ]*\b(?:passed|failed|errors?|skipped|ran)\b.*) in \S+s\b.* ?=+"
)
_TESTS_MOST = 20_000


def _on_quote(log: Log, line: Line) -> None:
    _quoted(log).append((line.number - 1, line.number + 1))


def _quoted(log: Log) -> list[tuple[int, int]]:
    """Lines before the first and behind the last of each text whose end is certain."""
    found = log.memory.setdefault(_WITHIN, [])
    assert isinstance(found, list)
    return found


def _on_tests(log: Log, line: Line) -> None:
    begin = line.number
    if line.rank in log.following:
        return

    def take(line: Line) -> Take:
        end = _TESTS_END.fullmatch(line.text.strip())
        if end is None:
            return Take.ASIDE
        if not re.search(r"fail|error", end["told"].replace("xfail", "")):
            _quoted(log).append((begin, line.number))
        return Take.NOT_MINE

    log.follow(line, take, lines=_TESTS_MOST)


def _on_begin(log: Log, line: Line) -> None:
    regions = log.memory.setdefault(_MEMORY, {})
    if not isinstance(regions, dict) or _BEGIN.fullmatch(line.text) is None:
        return
    begin = line.number
    regions[begin] = None
    if line.rank in log.following:
        return

    def take(line: Line) -> Take:
        if _END.fullmatch(line.text) is None:
            return Take.ASIDE
        regions[begin] = line.number
        return Take.NOT_MINE

    log.follow(line, take, lines=_LONGEST)


def without_quotations(log: Log, records: Iterable[Record]) -> Iterator[Record]:
    """The records of a log, without what was read in texts that it shows."""
    regions = log.memory.get(_MEMORY)
    regions = regions if isinstance(regions, dict) else {}
    begins = np.array(sorted(regions), dtype=np.int64)
    ends = _ends(log, begins, [regions[begin] for begin in sorted(regions)])
    certain = np.array(_quoted(log), dtype=np.int64).reshape(-1, 2)
    begins, ends = np.append(begins, certain[:, 0]), np.append(ends, certain[:, 1])
    if not len(begins):
        yield from records
        return
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], np.maximum.accumulate(ends[order])

    def shown(lines: NDArray[np.int64]) -> NDArray[np.bool_]:
        place = np.searchsorted(begins, lines, side="left") - 1
        inside: NDArray[np.bool_] = (place >= 0) & (lines < ends[place])
        return inside

    for record in records:
        if isinstance(record, LogEvent) and record.source.line is not None:
            if shown(np.array([record.source.line]))[0]:
                continue
        elif isinstance(record, Series) and record.lines is not None:
            bad = shown(record.lines)
            if bad.all():
                continue
            if bad.any():
                record = _without(record, ~bad)
        yield record


def _without(series: Series, kept: NDArray[np.bool_]) -> Series:
    lines = None if series.lines is None else series.lines[kept]
    return replace(series, steps=series.steps[kept], values=series.values[kept], lines=lines)


def _ends(log: Log, begins: NDArray[np.int64], stated: Sequence[int | None]) -> NDArray[np.int64]:
    """The line behind the last one of each text; its first where nothing tells.

    The next row of a kind that stands above the text ends it, whatever comes behind; where there
    is no row above, the rows of training may stand below.
    """
    lines, families = log.rows.places()
    shown = np.zeros(len(lines), dtype=np.bool_)
    ends: NDArray[np.int64] = np.array(begins)
    for place, (begin, end) in enumerate(zip(begins.tolist(), stated, strict=True)):
        before = np.unique(families[(lines < begin) & ~shown])
        near = (lines > begin) & (lines <= begin + _LONGEST) & np.isin(families, before)
        known = [int(lines[near].min())] if near.any() else []
        stated_end = [end] if end is not None and len(before) else []
        ends[place] = min([*known, *stated_end], default=begin)
        shown |= (lines > begin) & (lines < ends[place])
    return ends


def _plan(line: Line, lower: str) -> Handler | None:
    if _QUOTE.match(line.text):
        return _on_quote
    if _TESTS_BEGIN.fullmatch(line.text.strip()):
        return _on_tests
    return _on_begin if len(line.text) <= 160 and _BEGIN.fullmatch(line.text) else None


DIALECT = Dialect(
    name="quotations",
    triggers=tuple(
        f"{mark}{word}"
        for mark in ("- ", "-", "= ", "=", "* ", "# ", "[", "<", "> ")
        for word in ("sampl", "generat", "completion", "continuation")
    )
    + tuple(f"{word}:" for word in ("generated", "generation", "completion", "continuation"))
    + ("assistant|>", "user|>", "<user>", "<assistant>", "assistant:", "test session starts"),
    plan=_plan,
)
