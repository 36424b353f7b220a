"""Numbers of layers below a heading that says of what they are, a line or a dictionary of them.

Samples::

    activations:
        block0     mean -1.3e-02 std 9.1e-01 absmax 3.2e+00
        block1     mean +nan std nan absmax inf
    step 40: per-parameter gradient norms
      fc1.weight = 0.2134
      fc1.bias   = nan
    total norm is not finite, dumping norms of gradients
    {'encoder.0.weight': tensor(0.2134), 'encoder.0.bias': tensor(nan)}

A heading names a gradient, an activation or a weight, of several layers, and holds no number of its
own but a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.named_layer import (
    KEYSTR,
    LAYER_WORD,
    PATH,
    looks_like_a_layer,
    spelled,
)
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import counter_kind, is_loss
from nanautopsy.tag_words import words

_KINDS = (
    ("grad", re.compile(r"\bgrad(?:ient)?s?\b|grad[_ ]?norms?\b|\bgnorms?\b", re.IGNORECASE)),
    ("act", re.compile(r"\bact(?:ivation)?s?\b|\b(?:layer|block|forward) outputs?\b", re.I)),
    ("weight", re.compile(r"\b(?:weight|param(?:eter)?)s?\b", re.IGNORECASE)),
)
_SEVERAL = re.compile(
    r"\b(?:gradients|grads|norms|gnorms|activations|acts|outputs|weights|params|parameters|stats"
    r"|statistics)\b"
    r"|\b(?:per|by|each|every)[-_ ](?:layer|param|parameter|tensor|module|block|leaf)\b",
    re.IGNORECASE,
)
_END = re.compile(
    r"[:=*#\-({\[]\s*$|\b(?:norms|grads|gradients|activations|stats|layer|parameter)\)?\s*$"
)
_STATISTICS = "norm mean std max min absmax amax rms var l2 abs".split()
_STEP = re.compile(r"\b(?:step|iter|iteration|update)s?\s*[:=#]?\s*(\d{1,12})\b", re.IGNORECASE)
_LEADING = re.compile(r"\s*\[?(\d{1,9})(?:\]|:)\s")
_NEAR = 1000
"""Steps from one logged row to the next."""
_MOST_HEADING = 160
_NAME = rf"(?:{PATH}|\d+(?:\.\d+)*\.[A-Za-z]\w*(?:\.\w+)*|{KEYSTR}|{LAYER_WORD}|[A-Za-z_]\w*)"
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_VALUE = rf"(?:(?:tensor|Array|np\.float\d+|array)\(\s*)?(?P<value>{_NUMBER})(?:,[^()]*)?\)?"
_ONE = re.compile(
    rf"[\s\-*|>{{(\[]*['\"]?(?P<name>{_NAME})['\"]?\s*(?:[:=|,]|->|\s)\s*{_VALUE}[\s,}})|\]]*(?:(?:#|//|<-)[^\n]{{0,80}}|\([^()]{{0,60}}\))?",
    re.IGNORECASE,
)
_PAIR = re.compile(rf"(?P<key>[A-Za-z|][\w|]*)\s*[:= ]\s*(?P<value>{_NUMBER})", re.IGNORECASE)
_ROW = re.compile(
    rf"[\s\-*|>]*(?P<name>{_NAME})\s*[:|]?\s+(?P<pairs>{_PAIR.pattern}(?:[\s,|;]+{_PAIR.pattern})*)\s*".replace(
        "(?P<key>", "(?:"
    ).replace("(?P<value>", "(?:"),
    re.IGNORECASE,
)
_MEMBER = re.compile(rf"['\"](?P<name>[A-Za-z_][\w./\[\]~-]*)['\"]\s*:\s*{_VALUE}", re.IGNORECASE)
_DICTIONARY = re.compile(r"\s*(?:\w+\()?\{")
_FEWEST = 2
"""Rows below a heading: a single one is of something else."""
_MOST_ROWS = 5000


def heading(text: str) -> str | None:
    """The family of tags of what stands below: ``grad_norm``, ``act``; ``None`` for any other
    line."""
    if len(text) > _MOST_HEADING or "{" in text[:-1] or not _SEVERAL.search(text):
        return None
    kind = next((kind for kind, pattern in _KINDS if pattern.search(text)), None)
    if kind is None or not _END.search(text):
        return None
    # A number of its own makes it a row, and so does a value that is told of the whole.
    bare = _STEP.sub("", re.sub(r"\[[^\]]*\]", "", text))
    if re.search(r"[:=]\s*[-+]?(?:\d|nan\b|inf\b)", bare, re.IGNORECASE):
        return None
    said = [name for name in _STATISTICS if name in words(text) or f"{name}s" in words(text)]
    return f"{kind}_{said[0]}" if said else kind


def rows_of(text: str, family: str) -> Iterator[tuple[str, float]]:
    """Tags and values of a line below the heading; none for a line that is no row."""
    if _DICTIONARY.match(text) and len(found := list(_MEMBER.finditer(text))) > 1:
        for member in found:
            yield from _tagged(family, member["name"], member["value"])
        return
    if (one := _ONE.fullmatch(text)) is not None:
        yield from _tagged(family, one["name"], one["value"])
    elif (row := _ROW.fullmatch(text)) is not None:
        kind = family.partition("_")[0]
        for pair in _PAIR.finditer(row["pairs"]):
            named = words(pair["key"])
            if not set(named).isdisjoint(_STATISTICS):
                yield from _tagged(f"{kind}_{'_'.join(named)}", row["name"], pair["value"])


def _tagged(family: str, name: str, number: str) -> Iterator[tuple[str, float]]:
    value = parse(number.lower().removesuffix("inity"))
    layer = spelled(name)
    last = re.split(r"[./]", layer)[-1]  # blocks.0.ffn_norm.weight is no norm of weights
    if value is not None and not (is_loss(last) or counter_kind(last) is not None):
        family = family if "_" in family else f"{family}_norm"
        yield f"{family}/{layer}", value


def _on_heading(log: Log, line: Line) -> None:
    family = heading(line.text)
    if family is None or line.rank in log.following:
        return
    step = _step(line.text, log.context(line))
    counter = log.context(line) if step is None else Counter(Basis.COUNTER, step, family="layer")
    rows: list[tuple[Line, list[tuple[str, float]]]] = []

    def take(line: Line) -> Take:
        found = list(rows_of(line.text, family))
        if not found:
            return Take.NOT_MINE
        rows.append((line, found))
        return Take.MORE

    def end() -> None:
        _write(log, rows, counter)
        rows.clear()

    log.follow(line, take, end, _MOST_ROWS)
    if line.rank is not None and None not in log.following:
        # The rank that is written on the heading is often not on what is printed below it.
        log.follow(Line(line.number, line.whole, line.labelled, ()), take, end, _MOST_ROWS)


def _step(text: str, context: Counter | None) -> int | None:
    """The step that a heading states, by name or as a number in front that goes on from that of
    the lines before: ``[36] gradient norms:``."""
    if (named := _STEP.search(text)) is not None:
        return int(named[1])
    leading = _LEADING.match(text)
    if leading is None or context is None or context.n < 0:
        return None
    return int(leading[1]) if 0 < int(leading[1]) - context.n <= _NEAR else None


def _write(
    log: Log, rows: list[tuple[Line, list[tuple[str, float]]]], counter: Counter | None
) -> None:
    layers = {tag.partition("/")[2] for _, found in rows for tag, _ in found}
    if len(layers) < _FEWEST or not any(map(looks_like_a_layer, layers)):
        return
    for line, found in rows:
        row = log.start_row(counter or Counter(Basis.RECORD, family="layers below"), line)
        for tag, value in found:
            log.rows.add(tag, row, value)
        if counter is not None and counter.basis is not Basis.EPOCH:
            log.set_context(counter, line)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if heading(line.text) is not None else None


DIALECT = Dialect(
    name="headed-rows",
    triggers=("grad", "norm", "activation", "weight", "param", "outputs"),
    plan=_plan,
)
