"""Lines that give the numbers of one layer each, behind the line that has the step.

Samples::

    step 31 loss 2.1034
      ['params']['Dense_0']['kernel']: |g|=0.2134                       (jax.tree_util.keystr)
        grad .layers[0].weight norm 0.2134                              (Equinox)
    grad[conv1] shape=(16, 16) min=-0.2134 max=0.2134
    act_rms[blocks[1]] = 0.2134
    31: fc1.weight.grad -> mean 0.0021 std 0.0213
    Dense_1 kernel grad: mean=0.0021, max=0.0213

The words around the path say what is measured: a gradient, an activation or a weight. Where the
layers of the first step stand above its line, as hooks print them, so do those of every step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

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
from nanautopsy.readers.text.words import is_metric
from nanautopsy.tag_words import words

_WHAT = r"(?:\|?(?:grad|∇|dw|act|out|weight|param|hidden|forward|backward|w|layer|module)\w*\|?)"
_NUMBERED = (
    r"(?:L\d{1,3}|(?:layer|block)[ #]\d{1,3})"
    r"(?:[ ./_]{1,3}(?:[a-z]{1,9}_)?(?:attn|attention|mlp|ffn|norm|ln|moe)\b)?"
)
"""A layer by its number, and its part: ``L01 attn |``"""
_START = re.compile(
    r"\s*(?:[-*•>|]\s*)?(?:\[?(?P<n>\d{1,9})\]?\s*[:|]\s+)?"
    rf"(?:(?P<what>{_WHAT}(?:[ _](?:norm|stats?|max|of|for))*)\b\|?(?:\s*[:|]\s*|\s+|(?=[\[(])))?"
    r"(?:[\[(](?P<inside>[A-Za-z_][\w./~-]*(?:\[\d+\][\w./~-]*)*)[\])]"
    rf"|(?P<path>{_NUMBERED}(?=\s*[|:])|{PATH}|{KEYSTR}|{LAYER_WORD}"
    r"|[A-Za-z_]\w*(?= (?:kernel|bias|weight)\b)))"
    rf"(?P<more>(?:[ :](?:kernel|bias|weight|{_WHAT}))*)(?=[\s:=|,\]-]|$)",
    re.IGNORECASE,
)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf)"
_PAIR = re.compile(
    r"(?P<key>\|{1,2}[A-Za-z∇]\w*\|{1,2}|[A-Za-z][\w/]*(?:[ -](?:norm|max|min|mean|std|abs|rms))?)"
    rf"\s*(?:[:=]|->)?\s*\(?(?:tensor\()?(?P<value>{_NUMBER})(?=[\s,;|)\]}}]|$)",
    re.IGNORECASE,
)
_VALUE = re.compile(rf"\s*(?::|=|->)\s*(?P<value>{_NUMBER})", re.IGNORECASE)
_PLACE = re.compile(r":(?:[\w.<>]*:)?\d+\b")
"""Behind a module that logs: loguru's ``trainer.loop:_step:212``."""
_OF_THE_RUN = re.compile(r"(?<![\w.])(?:loss|lr|learning[ _]rate)\b\s*[:=]?\s*[-\d]", re.IGNORECASE)
"""Numbers that a row of the whole run holds, whoever prints it."""
_STATISTIC = frozenset(
    "norm mean std max min abs absmax amax maxabs absmean rms l2 var g w gnorm grad".split()
)
_QUANTITY = frozenset("g w grad".split())
_KINDS = (
    ("grad", re.compile(r"grad|∇|\bdw\b|gnorm|\|g\|", re.IGNORECASE)),
    ("act", re.compile(r"act|\bout|hidden|forward", re.IGNORECASE)),
    ("weight", re.compile(r"weight(?!\.)|param|\bw\b", re.IGNORECASE)),
)
_MODULE = re.compile(
    rf"(?:(?:[\w\[\]]+[./])*(?:\w*(?:attn|attention|mlp|ffn|conv|norm|dense|linear|block|layer)s?_?\d*"
    rf"|(?:layers?|blocks?|h)[._/]\d+)(?:[./\[][a-z_]\w*\]?)?|{LAYER_WORD}|{_NUMBERED})(?<!weight)(?<!bias)(?<!kernel)",
    re.IGNORECASE,
)
"""A module, and no parameter: where nothing says what is measured, hooks measure what it gives."""
_MASK = re.compile(r"(?:^|[./_])masks?$", re.IGNORECASE)
"""A buffer, which holds -Inf by design: ``blocks.0.attn.causal_mask``."""
_GRADIENT_END = re.compile(r"\.grad$")
_MEMORY = "layer-rows"


@dataclass(slots=True)
class _Found:
    layer: str
    n: int | None
    """A step on the line itself."""
    points: dict[str, float]


@dataclass(slots=True)
class _Above:
    """Layers that stand above the line of their step."""

    context: Counter | None
    rows: list[tuple[Line, _Found]] = field(default_factory=list)


def _found(text: str) -> _Found | None:
    """What a line says of one layer; ``None`` for any other line."""
    start = _START.match(text)
    if start is None:
        return None
    layer = start["inside"] or start["path"]
    last = re.split(r"[./]", _GRADIENT_END.sub("", layer))[-1]
    value = _VALUE.match(text, start.end())
    if value is not None and start["inside"] and (whole := _of_brackets(start, value)):
        return whole
    if value is not None or is_metric(last):
        return None  # a metric of its own: actor.grad_norm: 0.3
    if start["inside"] and not start["what"]:
        return None
    if _MASK.search(layer):
        return None
    if _PLACE.match(text, start.end()) or _OF_THE_RUN.search(text, start.end()):
        return None
    about = f"{start['what'] or ''} {start['more']} {layer if _GRADIENT_END.search(layer) else ''}"
    layer = re.sub(r"\s+", ".", spelled(layer))  # L01 attn, whose tag is one word
    points = dict(_points(text[start.end() :], about, layer))
    return _Found(layer, int(start["n"]) if start["n"] else None, points) if points else None


def _of_brackets(start: re.Match[str], value: re.Match[str]) -> _Found | None:
    """``grad_norm[fc1.weight] = 0.2134``: the whole line is one number, of a layer in brackets."""
    kind, number = _kind(start["what"] or ""), parse(value["value"])
    rest = value.string[value.end() :].strip(" ,;|")
    if kind is None or number is None or rest or not looks_like_a_layer(start["inside"]):
        return None
    named = [word for word in words(start["what"]) if word in _STATISTIC and word not in _QUANTITY]
    tag = f"{kind}_{'_'.join(named) or 'norm'}/{start['inside']}"
    return _Found(start["inside"], int(start["n"]) if start["n"] else None, {tag: number})


def _points(rest: str, about: str, layer: str) -> Iterator[tuple[str, float]]:
    for pair in _PAIR.finditer(rest):
        key, value = pair["key"], parse(pair["value"])
        have = frozenset(words(key.strip("|")))
        kind = _kind(key) or _kind(about) or ("act" if _MODULE.fullmatch(layer) else None)
        if value is None or kind is None or not have & _STATISTIC:
            continue
        statistic = "_".join(word for word in words(key.strip("|")) if word not in ("g", "w", kind))
        yield f"{kind}_{statistic or 'norm'}/{layer}", value


def _kind(text: str) -> str | None:
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), None)


def _on_line(log: Log, line: Line) -> None:
    found = _found(line.text)
    if found is None:
        return
    if found.n is not None:
        _write(log, line, found, Counter(Basis.COUNTER, found.n, family="layer"))
        return
    context = log.context(line)
    above = log.memory.get(_MEMORY)
    if context is None and above is None and len(log.rows) == 0:
        above = log.memory[_MEMORY] = _Above(None)
    if isinstance(above, _Above):
        _keep(log, line, found, above)
        return
    log.memory[_MEMORY] = True
    _write(log, line, found, context)


def _keep(log: Log, line: Line, found: _Found, above: _Above) -> None:
    """Until the next line with a counter has been read."""
    if not above.rows:
        above.context = log.context(line)

        def take(line: Line) -> Take:
            if log.context(line) == above.context:
                return Take.ASIDE
            _flush(log, line, above)
            return Take.NOT_MINE

        log.follow(line, take, lambda: _flush(log, line, above))
    above.rows.append((line, found))


def _flush(log: Log, line: Line, above: _Above) -> None:
    context = log.context(line)
    for at, found in above.rows:
        _write(log, at, found, context)
    above.rows.clear()


def _write(log: Log, line: Line, found: _Found, counter: Counter | None) -> None:
    row = log.start_row(counter or Counter(Basis.RECORD, family=f"layer {found.layer}"), line)
    if counter is not None and counter.basis is not Basis.EPOCH:
        log.set_context(counter, line)  # it speaks for the next layers, however many there are
    log.rows.write(tuple(found.points), row, list(found.points.values()))


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_line if _found(line.text) is not None else None


DIALECT = Dialect(
    name="layer-rows",
    triggers=("norm", "grad", "mean", "max", "|g|", "std", "rms"),
    plan=_plan,
    metrics=True,
)
