"""What to do with the lines of one shape that are rows of metrics, or headings with a counter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nanautopsy.readers.text.dialect import Line, Log, Many
from nanautopsy.readers.text.fields import Field
from nanautopsy.readers.text.patterns import Numbers
from nanautopsy.readers.text.rows import Basis, Bulk, Counter, Floats, Ints

_MAX_DIGITS = 18
"""Of a counter: what 64 bits hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """What to do with each line of one shape."""

    basis: Basis | None
    family: str
    n: Field | None
    total: Field | None
    epoch: Field | None
    tags: tuple[str, ...]
    points: tuple[Field, ...]
    rank: Field | None = None

    def __call__(self, log: Log, line: Line) -> None:
        counter: Counter | None = None
        n = -1 if self.n is None else _whole(self.n, line)
        if self.basis is not None and (n >= 0 or self.n is None):
            counter = Counter(
                self.basis,
                n,
                -1 if self.total is None else _whole(self.total, line),
                log.epoch(self.basis) if self.epoch is None else value(self.epoch, line),
                self.family,
            )
        if not self.tags:
            _stand_at(log, line, counter)
            return
        tags = self.tags
        if counter is None and (section := log.section(line)):
            tags = tuple(f"{section} {tag}" for tag in tags)
        if self.rank is not None:
            line.rank = _whole(self.rank, line)
        row = log.start_row(counter, line)
        if counter is not None:
            log.set_context(counter, line)
        numbers = line.numbers
        log.rows.write(
            tags,
            row,
            [
                float(numbers[field.index])
                if field.index >= 0 and not (field.negative or field.groups) and field.factor == 1.0
                else value(field, line)
                for field in self.points
            ],
        )

    @property
    def many(self) -> Many | None:
        """The same for many lines; ``None`` for what depends on the lines before."""
        if self.n is None or self.basis is None or self.rank is not None:
            return None
        return self._many

    def _many(self, log: Log, numbers: Numbers) -> Bulk | None:
        if self.n is None or self.basis is None:
            return None
        n = whole_numbers(self.n, numbers)
        total = (
            np.full(len(numbers), -1) if self.total is None else whole_numbers(self.total, numbers)
        )
        if n is None or total is None:
            return None
        if self.epoch is None:
            epoch = np.full(len(numbers), log.epoch(self.basis))
        else:
            epoch = _values(self.epoch, numbers)
        counter = Counter(self.basis, 0, -1 if self.total is None else 0, 0.0, self.family)
        columns = [_values(field, numbers) for field in self.points]
        values = np.stack(columns, axis=1) if columns else np.empty((len(numbers), 0))
        return Bulk(counter, n, total, epoch, self.tags, values)


def _values(field: Field, numbers: Numbers) -> Floats:
    """The numbers that stand in the field's place."""
    if field.index < 0:
        return np.full(len(numbers), -field.const if field.negative else field.const)
    found = numbers.column(field.index) * field.factor
    for behind in range(field.index + 1, field.index + 1 + field.groups):
        found = found * 1000 + numbers.column(behind)
    return -found if field.negative else found


def whole_numbers(field: Field, numbers: Numbers) -> Ints | None:
    """The whole numbers in its place; ``None`` where one is no such."""
    if field.index < 0 or field.factor != 1.0:
        return None
    words = numbers.words_of(field.index)
    for behind in range(field.index + 1, field.index + 1 + field.groups):
        words = [a + b for a, b in zip(words, numbers.words_of(behind), strict=True)]
    if not all(map(bytes.isdigit, words)) or max(map(len, words)) > _MAX_DIGITS:
        return None
    return np.fromiter(map(int, words), dtype=np.int64, count=len(words))


def value(field: Field, line: Line) -> float:
    """The number that stands in the field's place."""
    number = field.const if field.index < 0 else float(_digits(field, line)) * field.factor
    return -number if field.negative else number


def _digits(field: Field, line: Line) -> bytes:
    return b"".join(line.numbers[field.index : field.index + field.groups + 1])


def _whole(field: Field, line: Line) -> int:
    text = _digits(field, line)
    if field.factor != 1.0 or text.endswith(b".0"):
        text = b"%d" % round(float(text) * field.factor)
    elif not text.isdigit():
        text = text.rstrip(b".")
    return int(text[:_MAX_DIGITS]) if text.isdigit() else -1


def _stand_at(log: Log, line: Line, counter: Counter | None) -> None:
    """A line with a counter alone is a heading, and says where the run stands."""
    if counter is None:
        return
    log.set_context(counter, line)
    whole_run = counter.basis is Basis.COUNTER and math.isnan(counter.epoch)
    if counter.n >= 0 and (whole_run or counter.basis is Basis.STEP):
        log.step_is(counter.n)
