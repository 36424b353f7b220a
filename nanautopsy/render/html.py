"""The report: one page that stands alone, requests nothing and runs only its own script.

Everything that came from an artifact is escaped by the template engine. The content security
policy admits the one style sheet and the one script below by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from nanautopsy.languages import ENGLISH, Language, translated
from nanautopsy.model import Autopsy, RankedCause, Source
from nanautopsy.render import _facts, _format, _page
from nanautopsy.render._clean import cleaned, one_line
from nanautopsy.wording import counted, phrase, rephrased

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


_TAGS = {"en": "en", "zh": "zh-Hans"}
"""How the page names its language."""


def render(autopsy: Autopsy, *, language: Language = ENGLISH) -> str:
    """The whole page."""
    from markupsafe import Markup

    autopsy = cleaned(autopsy)
    style, script = _resource("report.css"), _resource("report.js")
    word = language.say(_facts.verdict_word(autopsy))
    figures, trouble = _figures(autopsy, language)
    return (
        _environment(language)
        .get_template("report.html.j2")
        .render(
            autopsy=autopsy,
            run=autopsy.run,
            name=_facts.run_name(autopsy.run.path),
            word=word,
            headline=_headline(autopsy, word),
            story=translated(_story(autopsy), language),
            starter=_facts.initiating(autopsy),
            causes=translated([_card(cause) for cause in autopsy.causes], language),
            considered=translated([_quiet_cause(c) for c in autopsy.considered], language),
            figures=figures,
            trouble=trouble,
            undetermined=language.say(_facts.undetermined(autopsy)),
            tables=translated(_tables(autopsy), language),
            style=Markup(style),
            script=Markup(script),
            policy=_policy(style, script),
            tag=_TAGS[language.code],
        )
    )


def _figures(autopsy: Autopsy, language: Language) -> tuple[list[dict[str, Any]], str]:
    """The figures; or none, and why: the rest of the report must not be lost with them."""
    from markupsafe import Markup

    from nanautopsy.render.figures import draw

    try:
        drawn = draw(autopsy, language)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return [], language.say(phrase("The curves could not be drawn: {error}", error=told))
    return [
        {"svg": Markup(figure.svg), "title": figure.title, "caption": figure.caption}
        for figure in drawn
    ], ""


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _resource(name: str) -> str:
    """A file beside the templates, with the line ends that a browser hashes."""
    text = (files("nanautopsy.render") / "templates" / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _environment(language: Language) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.globals["_"] = lambda text, **values: language.say(phrase(text, **values))
    environment.globals["_n"] = lambda n, one, many: language.say(counted(n, one, many))
    environment.filters |= {
        "prose": _prose,
        "cite": _cite,
        "line": one_line,
        "percent": _format.percent,
        "safe_link": _facts.safe_link,
    }
    return environment


# --- what the template shows ------------------------------------------------------------------


def _headline(autopsy: Autopsy, word: str) -> str:
    """The headline without the verdict, which stands above it."""
    text = one_line(autopsy.headline)
    for colon in (": ", "："):
        if text.startswith(word + colon):
            text = text[len(word + colon) :]
            text = text[:1].upper() + text[1:]
    return text.replace("non-finite", "non\N{NON-BREAKING HYPHEN}finite")


def _story(autopsy: Autopsy) -> list[tuple[str, str]]:
    """The facts of the hero: a label and a line each."""
    onset, finding = autopsy.onset, _facts.initiating(autopsy)
    lines: list[tuple[str, str]] = []
    if onset is not None:
        lines += [
            (phrase("What"), _facts.what(onset)),
            (phrase("When"), _facts.when(onset)),
            (phrase("Where"), rephrased(_facts.where(onset), one_line)),
        ]
    elif finding is not None:
        lines.append((phrase("What"), one_line(finding.text)))
        if finding.step is not None:
            when = phrase("step {number}", number=finding.step)
            if finding.last_good is not None:
                when = phrase("{place} (last good: {before})", place=when, before=finding.last_good)
            lines.append((phrase("When"), when))
    if _facts.why(autopsy):
        lines.append((phrase("Why"), rephrased(_facts.why(autopsy), one_line)))
    if autopsy.causes:
        lines.append((phrase("How sure"), rephrased(_facts.how_sure(autopsy), one_line)))
    return lines


def _card(cause: RankedCause) -> dict[str, Any]:
    return {
        "cause": cause,
        "anchor": _facts.anchor(cause),
        "width": f"{100 * cause.probability:.1f}",
        "sides": [
            (title, mark, [(e, _facts.strength_word(e)) for e in side])
            for title, mark, side in (
                (phrase("For"), "for", _facts.by_strength(cause.evidence, True)),
                (phrase("Against"), "against", _facts.by_strength(cause.evidence, False)),
            )
        ],
    }


def _quiet_cause(cause: RankedCause) -> dict[str, Any]:
    return {
        "cause": cause,
        "anchor": _facts.anchor(cause),
        "result": _facts.STATUS_WORDS.get(cause.status, cause.status),
    }


def _tables(autopsy: Autopsy) -> dict[str, Any]:
    telling = _page.telling_checkpoints(autopsy)
    limit = _page.MAX_TENSORS // max(1, len(telling))
    return {
        "timeline": _page.timeline(autopsy),
        "findings": _page.findings(autopsy),
        "environment": _page.environment(autopsy),
        "configuration": _page.configuration(autopsy),
        "artifacts": _page.artifacts(autopsy),
        "series": _page.series(autopsy),
        "checkpoints": _page.checkpoints(autopsy),
        "tensors": [_page.tensors(checkpoint, limit) for checkpoint in telling],
    }


def _prose(text: str) -> Markup:
    """One line; balanced backticks become code."""
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]+)`", one_line(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def _cite(source: Source) -> Markup:
    from markupsafe import Markup

    return Markup('<code class="source">{}</code>').format(one_line(_facts.place(source)))
