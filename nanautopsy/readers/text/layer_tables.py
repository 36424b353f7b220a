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

    module              absmax  #nonfinite                                           (a hook)
    blocks.0.fc2         12.86           0

A column is read when its name says of what it is: a gradient, an activation or a weight. One that
counts non-finite elements says which layers hold any.
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
_OF_MODULES = re.compile(r"layer|module|param|block", re.I)
_OF_PARAMETERS = re.compile(r"param|weight", re.I)
_SIZE = re.compile(r"(?:abs[ _]?)?(?:max|mean|norm|std|rms|min)", re.I)
"""Columns that say of what they are by the heading of the names."""
_COLUMN = re.compile(r"#?[A-Za-z_|][\w|/.%()]*(?: [\w|]+){0,2}")
_NAME = re.compile(r"[A-Za-z_.][\w./\[\]:~-]*")
_COUNT = re.compile(
    r"(?:#|n_|num_?|no\. ?of )?(?P<what>nans?|infs?|non[-_ ]?finites?)"
    r"(?:[-_ ]?(?:count|elements|values))?",
    re.IGNORECASE,
)
"""A column that counts. One that is called ``nan`` alone may be a flag, which counts as well."""
_MOST_COLUMNS = 20
_MOST_ROWS = 5000
_PER_LAYER = ("layer_gradient", "layer_activation", "layer_parameter")


def is_heading(text: str) -> bool:
    """Whether the line heads a table of layers: what it names it does not state."""
    cells = [cell for cell in _GAP.split(text.strip().strip("|").strip()) if cell]
    return (
        len(cells) > 1
        and _OF_LAYERS.fullmatch(cells[0]) is not None
        and all(map(_COLUMN.fullmatch, cells))
    )


def counts_of(text: str) -> dict[int, str]:
    """Place of each column that counts non-finite elements, and the value of which it tells."""
    if not is_heading(text):
        return {}
    cells = [cell for cell in _GAP.split(text.strip().strip("|").strip()) if cell]
    if _OF_MODULES.match(cells[0]) is None:
        return {}  # names may be those of a data set's columns, whose gaps are NaN
    found = {i: m for i, cell in enumerate(cells) if (m := _COUNT.fullmatch(cell))}
    if all(cells[i].lower() == "inf" for i in found):
        return {}  # an inference's time
    return {i: "inf" if m["what"].lower().startswith("inf") else "nan" for i, m in found.items()}


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
    columns, counts = columns_of(line.text) or [], counts_of(line.text)
    held: list[tuple[str, str, Line]] = []
    counter = log.context(line) or Counter(Basis.RECORD, family="layer table")

    def take(line: Line) -> Take:
        text = line.text.translate(_BORDERS)
        if _RULE.fullmatch(text):
            return Take.MORE
        name, *cells = [c for c in _GAP.split(text.strip().strip("|").strip()) if c] or [""]
        values = [(tag, parse(cells[i - 1])) for i, tag in columns if i <= len(cells)]
        told = {i: parse(cells[i - 1]) for i in counts if i <= len(cells)}
        known = [value for _, value in values] + list(told.values())
        if not _NAME.fullmatch(name) or all(value is None for value in known):
            return Take.NOT_MINE
        held.extend((name, counts[i], line) for i, n in told.items() if n is not None and n >= 1)
        if not columns:
            return Take.MORE
        row = log.start_row(counter, line)
        for tag, value in values:
            if value is not None:
                log.rows.add(f"{tag.replace(' ', '_')}/{name}", row, value)
        if counter.basis is not Basis.RECORD:
            log.set_context(counter, line)
        return Take.MORE

    def tell() -> None:
        if held:
            name, value, at = held[0]
            layers = tuple(dict.fromkeys(name for name, _, _ in held))
            log.event("nonfinite-text", at, value=value, quantity=None, layer=name, layers=layers)

    log.follow(line, take, tell, lines=_MOST_ROWS)


def _plan(line: Line, lower: str) -> Handler | None:
    headed = columns_of(line.text) is not None or counts_of(line.text)
    return _on_heading if headed else None


DIALECT = Dialect(
    name="layer-tables",
    triggers=(
        "grad",
        "weight",
        "act",
        "param",
        "norm",
        "nan",
        "nans",
        "inf",
        "nonfinite",
        "non-finite",
    ),
    plan=_plan,
)
