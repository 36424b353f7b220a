"""The tables of the index page, before any HTML."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from nanautopsy.languages import Language
from nanautopsy.render._facts import VERDICT_WORDS
from nanautopsy.render._format import duration, moment, percent, thousands
from nanautopsy.render._long_table import MOST_ROWS, LongTable, long_table
from nanautopsy.render._table import Cell, Row, Table, capped, code, integer, table, text
from nanautopsy.render._table import number as number_cell
from nanautopsy.wording import Phrase, phrase

if TYPE_CHECKING:
    from nanautopsy.scan.overview.overview import Overview
    from nanautopsy.scan.overview.runs import ListedRun

OUTCOMES: Mapping[str, Phrase] = {
    "unreadable": phrase("Unreadable"),
    "timed-out": phrase("Timed out"),
    "out-of-memory": phrase("Out of memory"),
    "crashed": phrase("Crashed"),
}
"""What became of runs that were not analyzed, as a scan calls it."""
UNDETERMINED = phrase("undetermined")
_SHORT_DATE = len("2025-01-31 23:59")
_ASK = phrase("All of them: `nanautopsy runs`.")


def runs(overview: Overview, hrefs: Mapping[int, str], language: Language) -> LongTable:
    """Every run; ``hrefs``: its report, by its key."""
    verdict, cause, signature = phrase("Verdict"), phrase("Cause"), phrase("Signature")
    headings = (
        phrase("Run"),
        verdict,
        cause,
        phrase("Probability"),
        phrase("Onset step"),
        phrase("Last alive"),
        phrase("Steps after"),
        phrase("Time after"),
        phrase("Layer"),
        phrase("Model"),
        signature,
    )
    several = len({run.archive for run in overview.runs}) > 1
    listed, left_out = capped(overview.runs, MOST_ROWS)
    rows = [_run(run, hrefs.get(run.id, ""), several, language) for run in listed]
    whole = table(phrase("Runs"), headings, rows)
    return long_table(whole, {verdict, cause, signature}, left_out, _ASK)


def _run(run: ListedRun, href: str, several: bool, language: Language) -> Row:
    when = run.when
    cells = (
        code(_place(run, several), href=href),
        Cell(language.say(verdict_word(run)), bad=run.failed),
        code(run.cause or (language.say(UNDETERMINED) if run.failed else "")),
        _probability(run),
        integer(run.onset_step),
        number_cell(when, moment(when)[:_SHORT_DATE]),
        integer(run.wasted_steps if run.failed else None),
        _spent(run.wasted_seconds if run.failed else None),
        code(run.onset_layer or ""),
        text(run.model or ""),
        code(run.signature or ""),
    )
    return Row(cells)


def verdict_word(run: ListedRun) -> Phrase:
    """The verdict, or what became of a run without one."""
    if run.verdict is None:
        return OUTCOMES.get(run.outcome) or phrase("{outcome}", outcome=run.outcome)
    return VERDICT_WORDS[run.verdict] if run.verdict in VERDICT_WORDS else phrase("unknown")


def _place(run: ListedRun, several: bool) -> str:
    """The run's folder in its archive; with the archive where several are listed."""
    if several:
        return run.archive if run.root == "." else f"{run.archive}/{run.root}"
    return run.root


def _probability(run: ListedRun) -> Cell:
    if run.probability is None or not run.failed:
        return Cell("")
    return Cell(percent(run.probability), round(run.probability, 4))


def _spent(seconds: float | None) -> Cell:
    return Cell("") if seconds is None else Cell(duration(seconds), round(seconds))


def causes(overview: Overview, titles: Mapping[str, str]) -> Table:
    """A row a cause: how often it was the first, and what was spent after."""
    failed = overview.failed
    steps: Counter[str] = Counter()
    spent: dict[str, float] = defaultdict(float)
    for run in failed:
        steps[run.died_of] += run.wasted_steps or 0
        spent[run.died_of] += run.wasted_seconds or 0.0
    rows = []
    for cause, count in overview.causes.most_common():
        share = count / len(failed)
        known = cause in titles
        rows.append(
            Row(
                (
                    code(cause) if cause != UNDETERMINED else Cell(UNDETERMINED),
                    text(titles[cause] if known else phrase("no cause was probable enough")),
                    Cell(thousands(count), count),
                    Cell(percent(share), round(share, 4)),
                    Cell(thousands(steps[cause]), steps[cause]) if steps[cause] else Cell(""),
                    _spent(spent[cause] or None),
                )
            )
        )
    headings = (
        phrase("Cause"),
        phrase("What happened"),
        phrase("Runs"),
        phrase("Share"),
        phrase("Steps after"),
        phrase("Time after"),
    )
    shown, left_out = capped(rows)
    return table(phrase("Causes"), headings, shown, left_out, _ASK)


def unread(overview: Overview) -> Table:
    """The runs that were not analyzed, and why."""
    several = len({run.archive for run in overview.runs}) > 1
    shown, left_out = capped(overview.unread)
    rows = [
        Row((code(_place(run, several)), text(verdict_word(run)), text(run.reason)))
        for run in shown
    ]
    headings = (phrase("Run"), phrase("What became of it"), phrase("Why"))
    return table(phrase("Runs that were not read"), headings, rows, left_out, _ASK)


def archives(overview: Overview) -> Iterator[tuple[str, int]]:
    """Each archive with its runs, the largest first."""
    yield from Counter(run.archive for run in overview.runs).most_common()
