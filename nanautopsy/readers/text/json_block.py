"""A JSON object that a program prints over many lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from nanautopsy.model import ConfigRecord, Scalar, Source
from nanautopsy.readers._flatten import flatten
from nanautopsy.readers._python_repr import load_repr
from nanautopsy.readers.text.dialect import Line, Log, Take

_SEEN = "json_block"
_MAX_LINES = 4000
_MAX_CHARACTERS = 1 << 20
_PYTHON_WORD = re.compile(r"(?<=[:,\[\s-])(?:inf|nan|None|True|False)(?=\s*[,\]}])")
_JSON_WORDS = {
    "inf": "Infinity",
    "nan": "NaN",
    "None": "null",
    "True": "true",
    "False": "false",
}


Accept = Callable[[Mapping[str, Scalar]], bool]


def follow_json(log: Log, line: Line, kind: str, accept: Accept | None = None) -> None:
    """Collect the object that begins on this line and report it as configuration, when it is one:
    ``accept`` is asked with its flat form."""
    text = line.text
    lines = [text[text.index("{") :]]
    source = Source(log.path, line=line.number, excerpt=line.excerpt)

    def finish() -> None:
        values = parse_object("\n".join(lines))
        seen = log.memory.setdefault(_SEEN, set())
        if not values or (accept is not None and not accept(values)):
            return
        if not isinstance(seen, set) or (mark := hash(tuple(values.items()))) in seen:
            return  # every rank prints the same
        seen.add(mark)
        log.out.append(ConfigRecord(kind, values, source))

    depth = lines[0].count("{") - lines[0].count("}")
    size = len(lines[0])
    if depth <= 0:
        finish()
        return

    def take(line: Line) -> Take:
        nonlocal depth, size
        text = line.text
        lines.append(text)
        size += len(text)
        depth += text.count("{") - text.count("}")
        return Take.LAST if depth <= 0 or size > _MAX_CHARACTERS else Take.MORE

    log.follow(line, take, finish, _MAX_LINES)


def parse_object(text: str) -> dict[str, Scalar] | None:
    """The flat form of a printed JSON object or Python dictionary, ``None`` if it is none.

    Python's ``inf`` and ``nan`` stand for JSON's words where a program formats its own
    (DeepSpeed prints ``"steps_per_print": inf``).
    """
    try:
        value = _loaded(text[: text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    return flatten(value) if isinstance(value, dict) else None


def _loaded(text: str) -> Any:
    if re.match(r"\{\s*'", text):
        return load_repr(text)
    return json.loads(_PYTHON_WORD.sub(lambda word: _JSON_WORDS[word[0]], text))
