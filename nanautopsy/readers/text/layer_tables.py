"""Tables with a row for each layer, printed behind the line that has the step.

Samples::

    step 31 loss 2.1034
    layer        grad_norm   weight_norm
    Dense_0         0.2134        1.2000
    Dense_1            nan        1.2000

    | layer | grad norm | grad max |
    |---|---|---|
    | fc1 | 0.2134 | 0.0213 |

             grad_norm  act_max                                                      (pandas)
    fc1       0.213400      1.5

A column is read when its name says of what it is: a gradient, an activation or a weight.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import counter_kind
from nanautopsy.roles import classify

_GAP = re.compile(r"\s*\|\s*|\t|\s{2,}")
_RULE = re.compile(r"[-=+|:\s\u2500-\u257f]+")
_BORDERS = str.maketrans("\u2502\u2503\u2551", "|||")
_BARS = re.compile(r"\|{1,2}(?P<what>d?[gw]|grads?|weights?|params?)\|{1,2}(?=\s|$)", re.IGNORECASE)
"""A norm as it is written in formulas, which is no cell of its own."""
_OF_LAYERS = re.compile(r"(?:layer|module|param(?:eter)?|tensor|name|block)(?:[ _]?name)?s?", re.I)
_OF_PARAMETERS = re.compile(r"param|weight", re.I)
_SIZE = re.compile(r"(?:abs[ _]?)?(?:max|mean|norm|std|rms|min)", re.I)
"""Columns that say of what they are by the heading of the names."""
_COLUMN = re.compile(r"[A-Za-z_|][\w|/.%()]*(?: [\w|]+){0,2}")
_NAME = re.compile(r"[A-Za-z_.][\w./\[\]:~-]*")
_MOST_COLUMNS = 20
_MOST_ROWS = 5000
_PER_LAYER = ("layer_gradient", "layer_activation", "layer_parameter")


def columns_of(text: str) -> list[tuple[int, str]] | None:
    """Place and name of each column to be read, behind the layer's name; ``None`` where the line is
    no heading of such a table."""
    bare = _BARS.sub(_norm, text.translate(_BORDERS))
    cells = [cell for cell in _GAP.split(bare.strip().strip("|").strip()) if cell]
    what = ""
    if cells and _OF_LAYERS.fullmatch(cells[0]):
        what = "param " if _OF_PARAMETERS.match(cells[0]) else ""
        cells = cells[1:]
    elif not bare.startswith("    ") or (cells and counter_kind(cells[0]) is not None):
        return None  # a counter's row is one of all layers
    if not 1 <= len(cells) <= _MOST_COLUMNS or not all(map(_COLUMN.fullmatch, cells)):
        return None
    named = [f"{what}{cell}" if _SIZE.fullmatch(cell) else cell for cell in cells]
    found = [(i, name) for i, name in enumerate(named, 1) if _is_per_layer(name)]
    return found if found and (len(cells) > 1 or text.lstrip()[:1].isalpha()) else None


def _norm(bars: re.Match[str]) -> str:
    weight = bars["what"].lower()[0] in ("w", "p")
    return "weight_norm" if weight else "grad_norm"


def _is_per_layer(name: str) -> bool:
    return len(name) > 1 and classify(f"{name.replace(' ', '_')}/layers.0.weight")[0] in _PER_LAYER


def _on_heading(log: Log, line: Line) -> None:
    columns = columns_of(line.text)
    if columns is None:
        return
    counter = log.context(line) or Counter(Basis.RECORD, family="layer table")

    def take(line: Line) -> Take:
        text = line.text.translate(_BORDERS)
        if _RULE.fullmatch(text):
            return Take.MORE
        name, *cells = [c for c in _GAP.split(text.strip().strip("|").strip()) if c] or [""]
        values = [(tag, parse(cells[i - 1])) for i, tag in columns if i <= len(cells)]
        if not _NAME.fullmatch(name) or not any(value is not None for _, value in values):
            return Take.NOT_MINE
        row = log.start_row(counter, line)
        for tag, value in values:
            if value is not None:
                log.rows.add(f"{tag.replace(' ', '_')}/{name}", row, value)
        if counter.basis is not Basis.RECORD:
            log.set_context(counter, line)
        return Take.MORE

    log.follow(line, take, lines=_MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if columns_of(line.text) is not None else None


DIALECT = Dialect(
    name="layer-tables",
    triggers=("grad", "weight", "act", "param", "norm"),
    plan=_plan,
)
