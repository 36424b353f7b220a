"""The report: one page that stands alone, requests nothing and runs only its own script.

It answers first what died, when, where, why, how sure that is, what to do and what could not be
seen; then it shows the proof, to which every citation links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanautopsy.languages import ENGLISH, Language
from nanautopsy.model import Autopsy, Quote, RankedCause, Source
from nanautopsy.render import _answers, _facts, _page, _tensor_tables
from nanautopsy.render._anchors import Anchors, line_key
from nanautopsy.render._clean import cleaned
from nanautopsy.render._document import document
from nanautopsy.render._points import cited_points
from nanautopsy.render._table import short
from nanautopsy.wording import phrase

if TYPE_CHECKING:
    from markupsafe import Markup

    from nanautopsy.render.figures.svg import Drawing

LONGEST_TEXT = 4000
"""Characters of any string of the result; of what is longer, the end is left out."""
SECTIONS = (
    *(
        "verdict",
        "causes",
        "experiments",
        "missing",
        "onset",
        "figures",
        "lines",
        "points",
        "tensors",
    ),
    *("timeline", "environment", "configuration", "read", "considered"),
)


def render(autopsy: Autopsy, *, language: Language = ENGLISH) -> str:
    """The whole page."""
    autopsy = cleaned(autopsy, LONGEST_TEXT)
    figures, trouble = _figures(autopsy, language)
    names = [f"{d.name}{end}" for d in figures for end in ("", "-title", "-desc")]
    anchors = Anchors((*SECTIONS, *names))
    causes = [_card(cause, anchors) for cause in autopsy.causes]
    considered = [_quiet_cause(cause, anchors) for cause in autopsy.considered]
    quotes = [_quote(quote, anchors) for quote in autopsy.quotes]
    tables = _tables(autopsy, anchors)
    return document(
        "report.html.j2",
        language,
        version=autopsy.version,
        styles=("figures.css", "report.css"),
        scripts=("report.js",),
        filters={"cite": lambda source: _cite(source, anchors, language)},
        autopsy=autopsy,
        run=autopsy.run,
        name=short(_facts.run_name(autopsy.run.path)),
        word=language.say(_facts.verdict_word(autopsy)),
        headline=_answers.headline(autopsy, language),
        answers=_answers.answers(autopsy, causes[0]["anchor"] if causes else ""),
        causes=causes,
        considered=considered,
        figures=figures,
        trouble=trouble,
        undetermined=language.say(_facts.undetermined(autopsy)),
        hidden=language.say(_facts.hidden(autopsy.hidden)),
        quotes=quotes,
        tables=tables,
    )


def _figures(autopsy: Autopsy, language: Language) -> tuple[tuple[Drawing, ...], str]:
    """The figures; or none, and why: the rest of the report must not be lost with them."""
    from nanautopsy.render.figures import draw

    try:
        return draw(autopsy, language), ""
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return (), phrase("The curves could not be drawn: {error}", error=told)


def _card(cause: RankedCause, anchors: Anchors) -> dict[str, Any]:
    return {
        "cause": cause,
        "anchor": anchors.give(("cause", cause.id), cause.id),
        "width": f"{100 * cause.probability:.1f}",
        "sides": [
            (title, mark, [(e, _facts.strength_word(e)) for e in side])
            for title, mark, side in (
                (phrase("For"), "for", _facts.by_strength(cause.evidence, True)),
                (phrase("Against"), "against", _facts.by_strength(cause.evidence, False)),
            )
        ],
    }


def _quiet_cause(cause: RankedCause, anchors: Anchors) -> dict[str, Any]:
    return {
        "cause": cause,
        "anchor": anchors.give(("cause", cause.id), cause.id),
        "result": _facts.STATUS_WORDS.get(cause.status, cause.status),
    }


def _quote(quote: Quote, anchors: Anchors) -> dict[str, Any]:
    """The lines with their numbers; cited ones have ids, so that evidence links to them."""
    cited = set(quote.cited)
    lines = [
        {
            "number": number,
            "text": line,
            "cited": number in cited,
            "onset": number == quote.onset,
            "anchor": anchors.give(line_key(quote.path, number), f"{quote.path}-L{number}")
            if number in cited
            else "",
        }
        for number, line in enumerate(quote.lines, quote.first)
    ]
    return {"path": quote.path, "lines": lines}


def _tables(autopsy: Autopsy, anchors: Anchors) -> dict[str, Any]:
    """Those that others link to first."""
    return {
        "checkpoints": _tensor_tables.checkpoints(autopsy, anchors),
        "tensors": _tensor_tables.tensors(autopsy, anchors),
        "points": cited_points(autopsy, anchors),
        "artifacts": _page.artifacts(autopsy, anchors),
        "timeline": _page.timeline(autopsy, anchors),
        "findings": _page.findings(autopsy, anchors),
        "environment": _page.environment(autopsy),
        "configuration": _page.configuration(autopsy, anchors),
        "series": _page.series(autopsy),
    }


def _cite(source: Source, anchors: Anchors, language: Language) -> Markup:
    """The place, as a link to where the page shows it; a point's neighbors as a second one."""
    from markupsafe import Markup

    place = Markup('<code class="source">{}</code>').format(short(_facts.place(source)))
    first, *more = [*anchors.hrefs(source), ""]
    if not first:
        return place
    linked = Markup('<a class="cited" href="{}">{}</a>').format(first, place)
    if more[:-1]:
        words = language.say(phrase("and its neighbors"))
        linked += Markup(' <a class="also" href="{}">{}</a>').format(more[0], words)
    return linked
