"""Rows of public programs that abbreviate the names of their numbers, or leave them to the place.

Samples::

     70: -nan, -nan avg loss, 0.001000 rate, 3.178208 seconds, 4480 images    (Darknet)
    s:250 tel:6.4321                                                          (llm.c)
    s:251 trl:6.3312 lr:0.000215 norm:1.25
    250 train 6.331200                                                        (build-nanogpt)
    Train loss 250 0.331200 Grad Norm 1.250000 3.99s/it                       (Tacotron 2)
    250:\t-6.331200                                                           (WaveGlow)
    250: nGT 43, recall 23, proposals 0, loss: x 2.4, ..., total 113.6        (pytorch-yolo2)
    Ep. 1 : Up. 250 : Sen. 12,800 : Cost 6.3312 : Time 12.0s : 3e4 words/s : gNorm 1.2 : L.r. 3e-4
                                                                              (Marian)
    2024-05-01 10:00:00,123\tljs\tINFO\t[2.4, 2.1, 3.0, 18.2, 1.5, 1.2, 250, 0.0002]      (VITS)
    2024-05-01 10:00:00,123\t44k\tINFO\tLosses: [2.4, 2.1, 3.0, 18.2, 1.2], step: 250, lr: 0.0002
                                                                              (so-vits-svc)
    Score at iteration 250 is 6.3312                                          (Deeplearning4j)
    2024-05-01 10:00:00.123456  | loss/Average               6.3312           (rlpyt, dowel)
    2024-05-01 10:00:00.123456: train_loss -0.6331                            (nnU-Net)
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.metric_row import Row
from nanautopsy.readers.text.numbers import SPLIT, parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import is_loss, is_metric

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|nan|inf)"


def _form(text: str) -> re.Pattern[str]:
    """Groups are the numbers; ``n`` is the counter."""
    return re.compile(text.replace("<number>", _NUMBER), re.IGNORECASE)


_FORMS = (
    _form(
        r"\s*(?P<n>\d{1,9}): (?P<loss><number>), (?P<avg_loss><number>) avg(?: loss)?,"
        r" (?P<lr><number>) rate,"
    ),
    _form(
        r"s:(?P<n>\d{1,9})(?: tel:(?P<val_loss><number>)| eval:(?P<eval_accuracy><number>)"
        r"| trl:(?P<train_loss><number>)(?: lr:(?P<lr><number>))?"
        r"(?: norm:(?P<grad_norm><number>))?)\s*$"
    ),
    _form(
        r"(?P<n>\d{1,9}) (?:train (?P<train_loss><number>)|val (?P<val_loss><number>)"
        r"|hella (?P<hella_accuracy><number>))\s*$"
    ),
    _form(r"Train loss (?P<n>\d{1,9}) (?P<train_loss><number>) Grad Norm (?P<grad_norm><number>) "),
    _form(r"Validation loss (?P<n>\d{1,9}): +(?P<val_loss><number>)\s*$"),
    _form(r"(?P<n>\d{1,9}):\t(?P<loss><number>)\s*$"),
    _form(r"(?P<n>\d{1,9}): nGT \d+, .*\btotal (?P<total_loss><number>)\s*$"),
    _form(
        r"Ep\. \d+ : Up\. (?P<n>\d{1,9}) : Sen\. [\d,]+ : Cost (?P<cost><number>)"
        r"(?:.* : gNorm (?P<grad_norm><number>))?(?:.* : L\.r\. (?P<lr><number>))?"
    ),
    _form(
        r".*\tINFO\t\[(?P<disc_loss><number>), (?P<gen_loss><number>), (?P<fm_loss><number>),"
        r" (?P<mel_loss><number>), (?P<dur_loss><number>), (?P<kl_loss><number>), (?P<n>\d{1,9}),"
        r" (?P<lr><number>)\]\s*$"
    ),
    _form(
        r".*\tINFO\tLosses: \[(?P<disc_loss><number>), (?P<gen_loss><number>),"
        r" (?P<fm_loss><number>), (?P<mel_loss><number>), (?P<kl_loss><number>)\],"
        r" step: (?P<n>\d{1,9}), lr: (?P<lr><number>)"
        r"(?:, reference_loss: (?P<reference_loss><number>))?"
    ),
    _form(r".*\bScore at iteration (?P<n>\d{1,9}) is (?P<score_loss><number>)\s*$"),
)
_CELL = _form(
    r"(?:[\dTZ :.,/+-]*\|\s)?(?P<name>[A-Za-z][\w/.-]*)(?P<gap>\s+)(?P<value><number>)\s*"
)


def _row_of(line: Line, match: re.Match[str]) -> Row:
    found = fields(line.parts)

    def field(group: str) -> Field:
        return found[len(fields(SPLIT.split(match.string[: match.start(group)].encode())))]

    tags = tuple(name for name, text in match.groupdict().items() if text and name != "n")
    return Row(Basis.COUNTER, "terse", field("n"), None, None, tags, tuple(map(field, tags)))


def _on_cell(log: Log, line: Line) -> None:
    """A line that is one cell of a table: without a counter above it, its name counts by itself."""
    match = _CELL.fullmatch(line.text)
    value = None if match is None else parse(match["value"])
    if match is not None and value is not None:
        counter = log.context(line) or Counter(Basis.RECORD, family=match["name"])
        log.rows.add(match["name"], log.start_row(counter, line), value)


def _plan(line: Line, lower: str) -> Handler | None:
    for expression in _FORMS:
        if match := expression.match(line.text):
            return _row_of(line, match)
    cell = _CELL.fullmatch(line.text)
    if cell is None or not is_metric(cell["name"]):
        return None
    return _on_cell if len(cell["gap"]) > 1 or is_loss(cell["name"]) else None


DIALECT = Dialect(
    name="terse-rows",
    triggers=("loss", "norm", ": cost ", " avg, ", " tel:", " trl:", " eval:", " train ",
              " val ", " hella ", "score at iteration", ":\t", ": ngt ", "info\t["),
    plan=_plan,
    metrics=True,
)  # fmt: skip
