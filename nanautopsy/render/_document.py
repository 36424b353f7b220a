"""What every HTML page shares: the template engine, one style, one script, and the policy.

A page requests nothing. Its content security policy admits the one style sheet and the one script
by their hashes, and nothing else; everything that came from an artifact is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from nanautopsy.languages import Language
from nanautopsy.render import _facts, _format
from nanautopsy.render._clean import one_line
from nanautopsy.render._format import end_cut
from nanautopsy.render._older_browsers import with_fallbacks
from nanautopsy.render._table import short
from nanautopsy.wording import counted, phrase, rephrased

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TAGS = {"en": "en", "zh": "zh-Hans"}
"""How a page names its language."""
LONGEST_LINE = 1000
"""Characters of a line of text; what is longer ends with an ellipsis."""


def document(
    template: str,
    language: Language,
    *,
    version: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    filters: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """A page of ``template``, which extends ``base.html.j2``; ``version``: who wrote it, by which
    :mod:`nanautopsy.own_reports` knows it again.

    ``styles``, ``scripts``: files beside the templates that follow ``base.css`` and ``base.js``.
    ``filters``: further ones for the template, beside its ``values``.
    """
    from markupsafe import Markup

    style = with_fallbacks("\n".join(_resource(name) for name in ("base.css", *styles)))
    script = "\n".join(_resource(name) for name in ("base.js", *scripts))
    environment = _environment(language)
    environment.filters |= filters or {}
    return environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        tag=TAGS[language.code],
        version=version,
        **values,
    )


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
        finalize=language.say,
    )
    environment.globals["_"] = lambda text, **values: language.say(phrase(text, **values))
    environment.globals["_n"] = lambda n, one, many: language.say(counted(n, one, many))
    own: dict[str, Callable[..., Any]] = {
        "prose": lambda text: prose(language.say(text)),
        "line": lambda text: line(language.say(text)),
        "short": lambda text: short(language.say(text)),
        "percent": _format.percent,
        "thousands": _format.thousands,
        "island": island,
        "safe_link": _facts.safe_link,
    }
    environment.filters |= own
    return environment


def line(text: str) -> str:
    """One line of at most :data:`LONGEST_LINE` characters."""
    return rephrased(text, lambda part: end_cut(one_line(part), LONGEST_LINE))


def prose(text: str) -> Markup:
    """One line; balanced backticks become code."""
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]+)`", line(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def island(data: Any) -> Markup:
    """JSON that no text in it can end: it stands in a script element that nothing runs."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)
