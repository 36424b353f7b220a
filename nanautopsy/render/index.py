"""The index page: what the runs of a catalog tell together, with a link to each run's report.

It stands alone as a report does. Ten thousand runs are data that its script shows a page at a
time; without scripts the first of them, those that died leading, are a plain table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanautopsy.explain import titles as cause_titles
from nanautopsy.languages import ENGLISH, Language
from nanautopsy.render import _index_groups, _index_summary, _index_tables
from nanautopsy.render._clean import cleaned
from nanautopsy.render._document import document
from nanautopsy.render._format import percent
from nanautopsy.render._table import short
from nanautopsy.scan.overview.rates import FEW
from nanautopsy.wording import Phrase, phrase

if TYPE_CHECKING:
    from nanautopsy.render.figures.svg import Drawing
    from nanautopsy.scan.overview.overview import Overview
    from nanautopsy.scan.overview.rates import Rate

LONGEST_TEXT = 4000
"""Characters of any string of the catalog; of what is longer, the end is left out."""

OPEN_GROUPS = 12
"""Groups that are not folded away."""


@dataclass(frozen=True, slots=True)
class Linked:
    """The reports beside the page."""

    hrefs: Mapping[int, str] = field(default_factory=dict)
    """Where a run's report is, relative to the page, by the run's key."""
    missing: tuple[tuple[str, int], ...] = ()
    """Why runs have none, and how many."""


def render(
    overview: Overview,
    linked: Linked | None = None,
    *,
    version: str,
    language: Language = ENGLISH,
) -> str:
    """The whole page; ``version``: of nanautopsy."""
    overview = cleaned(overview, LONGEST_TEXT)
    linked = linked or Linked()
    titles = cause_titles()
    figure, trouble = _figure(overview, language)
    cards = [_index_groups.card(group, linked.hrefs, titles) for group in overview.groups.groups]
    values: dict[str, Any] = {
        "name": _name(overview),
        "headline": _index_summary.headline(overview),
        "bar": _index_summary.bar(overview),
        "causes": _index_tables.causes(overview, titles),
        "figures": [] if figure is None else [figure],
        "trouble": trouble,
        "alike": [card for card in cards if card.count > 1],
        "open_groups": OPEN_GROUPS,
        "few": FEW,
        "alone": [card for card in cards if card.count == 1],
        "groups": overview.groups,
        "rates": overview.rates if overview.rates.libraries else None,
        "judged": overview.rates.overall.judged,
        "runs": _index_tables.runs(overview, linked.hrefs, language),
        "unread": _index_tables.unread(overview),
        "archives": list(_index_tables.archives(overview)),
        "linked": linked,
        "overview": overview,
    }
    sections = [name for name, there in _sections(values) if there]
    return document(
        "index.html.j2",
        language,
        version=version,
        styles=("figures.css", "index.css"),
        scripts=("index.js",),
        filters={"interval": _interval, "rate": _rate},
        answers=_index_summary.answers(overview, sections),
        sections=sections,
        **values,
    )


def _sections(values: Mapping[str, Any]) -> list[tuple[str, bool]]:
    return [
        ("causes", bool(values["causes"].rows)),
        ("time", bool(values["figures"])),
        ("alike", bool(values["alike"] or values["alone"])),
        ("versions", values["rates"] is not None),
        ("runs", bool(values["runs"].plain.rows)),
        ("unread", bool(values["unread"].rows)),
        ("method", True),
    ]


def _name(overview: Overview) -> str:
    """What the page is of: its one archive, or the catalog."""
    archives = {run.archive for run in overview.runs}
    return short(archives.pop() if len(archives) == 1 else overview.catalog)


def _figure(overview: Overview, language: Language) -> tuple[Drawing | None, str]:
    """Causes over time; or nothing, and why: the rest of the page must not be lost with it."""
    if overview.calendar is None:
        return None, ""
    from nanautopsy.render.figures import draw_overview

    try:
        return draw_overview(overview.calendar, language), ""
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return None, phrase("Causes over time could not be drawn: {error}", error=told)


def _rate(rate: Rate) -> str:
    """Its percentage; nothing where there is no run."""
    return percent(rate.share) if rate.judged else ""


def _interval(rate: Rate) -> Phrase:
    """Where the rate lies."""
    low, high = rate.interval
    return phrase("{low} to {high}", low=percent(low), high=percent(high))
