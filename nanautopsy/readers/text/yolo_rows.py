"""Rows of numbers whose meaning is their place: YOLOv3, YOLOv5 up to 6 and YOLOv7.

Samples (``results.txt`` has no heading; the console's stands once an epoch and names no loss)::

         0/299     3.88G   0.08017    0.0508   0.02634    0.1573        45       640 ...
         1/299     3.88G       nan       nan       nan       nan        45       640: 100%|##| 5/5

The places are those of ``train.py``: epoch/last, memory, box, objectness and class loss, their
total (not in YOLOv5 5.0 to 6.0), labels in the last batch, image size; in ``results.txt`` seven
more: precision, recall, two means of the average precision, and the three losses of validation.
"""

from __future__ import annotations

import re

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter

_ROW = re.compile(
    r"\s*(\d{1,6})/(\d{1,6})\s+\d[\d.]*G((?:\s+(?:nan|inf|-?\d[\d.]*(?:e[+-]?\d+)?)){5,13})"
    r"\s*(?::|%|$)"
)
_BAR = re.compile(r"\|\s*(\d{1,9})/(\d{1,9})\b")
_TRAIN = ("box_loss", "obj_loss", "cls_loss", "total_loss")
_VALIDATION = ("precision", "recall", "mAP50", "mAP50-95")
_WIDTHS = (5, 6, 12, 13)
"""Numbers behind the memory: without or with the total, without or with the validation's."""


def _on_row(log: Log, line: Line) -> None:
    match = _ROW.match(line.text)
    if match is None:
        return
    cells = match[3].split()
    width = len(cells)
    if width not in _WIDTHS:
        return
    losses = width - 2 if width < 7 else width - 9
    tags = list(_TRAIN[:losses])
    values = cells[:losses]
    if width > 6:
        tags += [*_VALIDATION, *(f"val/{name}" for name in _TRAIN[:3])]
        values += cells[losses + 2 :]
    bar = _BAR.search(line.text, match.end())
    epoch = float(match[1])
    if bar is None:
        counter = Counter(Basis.EPOCH, epoch=epoch, family="yolo epoch")
    else:
        counter = Counter(Basis.BATCH, int(bar[1]), int(bar[2]), epoch, "yolo batch")
    numbers = [parse(value) for value in values]
    if None not in numbers:
        row = log.start_row(counter, line)
        log.rows.write(tuple(tags), row, [number or 0.0 for number in numbers])


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_row if _ROW.match(line.text) else None


DIALECT = Dialect(name="yolo-rows", triggers=("g   ",), plan=_plan, metrics=True)
