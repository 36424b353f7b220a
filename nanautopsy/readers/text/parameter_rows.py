"""Rows that give the size of one parameter each, as programs print them before they train.

Samples::

    layers.0.pos_bias_u          (4, 8)       mean=+nan std=nan max=nan
      embed.weight: torch.Size([132, 32]) min nan max nan
    init prototypes [10, 32] norm=0.0000
    embedding_head/kernel        |w|max=0
    lm_head.weight | 132x32 | absmax 3.1e+37

or a list under a heading that says what it gives::

    param absmax:
      Dense_0/kernel   0.4553
      head/kernel      nan

What is NaN, absurdly large or zero throughout in one of them was so before the first step; whether
the row stands before it, those ask who weigh it. A gradient's or an activation's row is none.
"""

from __future__ import annotations

import math
import re

from nanautopsy import thresholds
from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.load_report import REPORT_LINES
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.parameter_table import columns_of, is_rule, row_of

_SHAPE = (
    r"(?:(?:torch\.)?Size\(\[(?P<size>[\d, ]*)\]\)|[(\[](?P<dims>\d+(?:, ?\d+)*),?[)\]]"
    r"|(?P<by>\d+(?:x\d+)+))"
)
_LAST = (
    r"(?:\w*(?:weight|kernel|bias|embeddings?|scale|gamma|beta|emb|proj|table|token)\w*"
    r"|(?:wte|wpe|w|b|v|u))"
)
"""What a parameter's name ends with, where no shape stands beside it."""
_ROW = re.compile(
    r"\s*(?:[-*>|]\s*)?(?:\[?(?:init(?:ial\w*)?|param(?:eter)?s?|weights?|stats?|check|sanity)\b\]?"
    r"\s*[:|]?\s+){0,2}['\"`]?"
    r"(?P<name>[A-Za-z_]\w*(?:[./]\w+)*|\d+(?:[./]\w+)+)['\"`]?\s*[:|]?\s*"
    rf"(?:(?:shape)?\s*[=:]?\s*{_SHAPE})?(?P<rest>.*)$",
    re.IGNORECASE,
)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|nan|inf)"
_STATISTIC = re.compile(
    r"(?<![\w.])(?P<key>\|{1,2}[wW\u03b8p]?\|{1,2}_?(?:max|2|F|inf)?|(?:l2[ _]?)?norm|abs["
    r" _]?max|max[ _]?abs"
    r"|amax|max|min|mean|avg|std|rms|mu|sigma|abs[ _]?mean)\s*[=:]?\s*"
    rf"(?P<value>{_NUMBER})(?=[\s,;|)\]]|$)",
    re.IGNORECASE,
)
_LARGEST = re.compile(r"\||norm|max|std|rms|sigma", re.IGNORECASE)
"""Statistics that are zero for zeros alone, or for a constant."""
_DEVIATION = re.compile(r"std|sigma", re.IGNORECASE)
_OF_OTHERS = re.compile(
    r"grad|\u2207|\bact(?:ivation)?s?\b|\bout(?:put)?s?\b|\binputs?\b|\bloss\b|\blr\b|\bupdate"
    r"|\bmoment|exp_avg|\bstep\b|\bepoch\b|\biter|running_|buffer|mask|image|batch|label|target",
    re.IGNORECASE,
)
_PARAMETER = re.compile(rf"(?:^|[./]){_LAST}$", re.IGNORECASE)
_OFFSET = re.compile(r"(?:^|[./_])(?:bias|b|beta|mean)$", re.IGNORECASE)


_HEADING = re.compile(
    r"[^:]{0,40}?\b(?:param(?:eter)?s?|weights?)[ _/]+(?:L2[ _])?"
    r"(?P<key>abs[ _]?max|max[ _]?abs|largest|norms?|rms|magnitudes?)\b"
    r"(?: (?:by|per|of each) \w+| \([^()]{1,30}\)| (?:at|before|after) [\w ]{1,20})?\s*:\s*$",
    re.IGNORECASE,
)
_LISTED = re.compile(
    rf"\s*(?:[-*]\s*)?['\"`]?(?P<name>[A-Za-z_]\w*(?:[./]\w+)*)['\"`]?\s*[:=|]?\s+"
    rf"(?:{_SHAPE}\s*)?(?P<value>{_NUMBER})\s*",
    re.IGNORECASE,
)


def _read(text: str) -> tuple[str, bool, list[tuple[str, float]]] | None:
    """Name, whether it is a matrix, and the statistics of a row."""
    row = _ROW.match(text)
    if row is None or _OF_OTHERS.search(text):
        return None
    dims = re.findall(r"\d+", row["size"] or row["dims"] or row["by"] or "")
    shaped = any(row[name] is not None for name in ("size", "dims", "by"))
    name = row["name"]
    path = re.search(r"[./]", name) is not None
    if not _PARAMETER.search(name) and not (shaped and (path or len(dims) > 1)):
        return None
    found = _STATISTIC.search(row["rest"])
    if found is None or len(row["rest"][: found.start()].split()) > 3:
        return None
    values = [(m["key"].lower(), parse(m["value"])) for m in _STATISTIC.finditer(row["rest"])]
    matrix = len(dims) > 1 or (not shaped and not _OFFSET.search(name))
    return name, matrix, [(key, value) for key, value in values if value is not None]


def _kind(matrix: bool, values: list[tuple[str, float]]) -> str | None:
    """What is wrong with the parameter, as the kind of event; ``None`` for nothing."""
    # The deviation of a single element is NaN by definition.
    if any(not math.isfinite(value) for key, value in values if not _DEVIATION.match(key)):
        return "nonfinite-text"
    sizes = [abs(value) for key, value in values if _LARGEST.search(key)]
    if sizes and max(sizes) >= thresholds.ABSURD_WEIGHT:
        return "absurd-parameter"
    spread = [key for key, _ in values if _LARGEST.search(key)]
    if matrix and spread and all(value == 0 for _, value in values):
        return "zero-parameter"
    return None


def _on_row(log: Log, line: Line) -> None:
    found = _read(line.text)
    if found is not None:
        _judge(log, line, *found)


def _judge(log: Log, line: Line, name: str, matrix: bool, values: list[tuple[str, float]]) -> None:
    kind = _kind(matrix, values)
    if kind == "nonfinite-text":
        value = "nan" if any(math.isnan(v) for _, v in values) else "inf"
        log.event(kind, line, value=value, quantity="parameters", layer=name, printed=True)
    elif kind is not None and not len(log.rows):
        log.event(kind, line, layer=name)


def _on_heading(log: Log, line: Line) -> None:
    """A list of one number for each parameter; it ends where a line is something else."""

    def take(line: Line) -> Take:
        row = _LISTED.fullmatch(line.text)
        value = None if row is None else parse(row["value"])
        if row is None or value is None:
            return Take.NOT_MINE
        kind = _kind(False, [("max", value)])
        if kind == "nonfinite-text":
            said = "nan" if math.isnan(value) else "inf"
            log.event(
                kind, line, value=said, quantity="parameters", layer=row["name"], printed=True
            )
        elif kind is not None and not len(log.rows):
            log.event(kind, line, layer=row["name"])
        return Take.MORE

    log.follow(line, take, lambda: None, REPORT_LINES)


def _on_table(log: Log, line: Line) -> None:
    """A table whose heading names the columns."""
    columns = columns_of(line.text)
    if columns is None:
        return

    def take(line: Line) -> Take:
        row = row_of(line.text, columns)
        if row is None:
            return Take.MORE if is_rule(line.text) else Take.NOT_MINE
        _judge(log, line, *row)
        return Take.MORE

    log.follow(line, take, lambda: None, REPORT_LINES)


def _plan(line: Line, lower: str) -> Handler | None:
    if len(line.text) < 120 and not _OF_OTHERS.search(line.text) and _HEADING.match(line.text):
        return _on_heading
    if len(line.text) < 200 and not _OF_OTHERS.search(line.text) and columns_of(line.text):
        return _on_table
    return _on_row if len(line.text) < 400 and _read(line.text) is not None else None


DIALECT = Dialect(
    name="parameter-rows",
    triggers=("norm", "mean", "max", "std", "rms", "nan"),
    plan=_plan,
    statement=True,
)
