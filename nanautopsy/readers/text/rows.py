"""Points of a log, kept by row, and put on a step axis when the whole file has been seen.

A row is one line of metrics with the counter that stands on it. What a counter means can often be
told only from all of them: ``iter`` may start again with each epoch, a progress bar may be the
run's or an evaluation's.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanautopsy.model import Axis, Series, Source
from nanautopsy.readers.text.epochs import every_batch, from_the_end

_EXACT, _MOSTLY = 2.0**53, 0.9
_PAST = 1 << 63
"""What 64 bits do not hold: garbage, and no counter."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Basis(IntEnum):
    """What the number on a row counts."""

    STEP = 0
    """The run's step, certainly."""
    COUNTER = 1
    """Something called step or iteration; it may start again with each epoch."""
    BATCH = 2
    """A batch within its epoch."""
    EPOCH = 3
    RECORD = 4
    """Nothing: the n-th such row."""
    LATEST = 5
    """The last step seen before the row; -1 when there was none."""
    TRAINER = 6
    """A row of the Hugging Face Trainer, resolved by :mod:`.hf_steps`."""
    LEADING = 7
    """A number without a name at the beginning of the line: a step if it rises."""


class Counter(NamedTuple):
    """The counter of a row."""

    basis: Basis
    n: int = -1
    total: int = -1
    epoch: float = float("nan")
    family: str = ""
    """Rows of one family count the same thing: the words before the numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """What many lines of one shape say, each of them one counter and the same metrics."""

    counter: Counter
    """Its basis and family; ``total`` is 0 or more where the lines state one."""
    n: Ints
    """(k,)"""
    total: Ints
    """(k,) -1 where there is none."""
    epoch: Floats
    """(k,)"""
    tags: tuple[str, ...]
    """Empty for headings, which are no rows."""
    values: Floats
    """(k, tags)"""
    paint: Callable[..., None] | None = None
    """Of lines that show a progress bar and nothing else: called with log, ``n`` and ``total`` for
    the first and the last bar of each total between two other lines."""

    def at(self, i: int) -> Counter:
        """The counter of one line."""
        return self.counter._replace(
            n=int(self.n[i]), total=int(self.total[i]), epoch=float(self.epoch[i])
        )

    def of(self, places: Ints) -> Bulk:
        """Some of the lines."""
        return Bulk(
            self.counter,
            self.n[places],
            self.total[places],
            self.epoch[places],
            self.tags,
            self.values[places],
        )


@dataclass(slots=True)
class _Family:
    counter: Counter
    rank: int | None


@dataclass(slots=True)
class _Column:
    rows: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))


Resolver = Callable[[Ints, Floats], tuple[Axis, Ints]]
"""(row ids, epochs) of the Trainer's rows to their axis and steps."""


class Rows:
    """Collects rows and points: 40 bytes a row, 16 a point."""

    def __init__(self) -> None:
        self.first_step: int | None = None
        """The first step that the file stated for certain."""
        self._families: list[_Family] = []
        self._ids: dict[tuple[Basis, str, bool, int | None], int] = {}
        self._family = array("q")
        self._n = array("q")
        self._total = array("q")
        self._epoch = array("d")
        self._line = array("q")
        self._columns: dict[tuple[str, int], _Column] = {}
        self._writers: dict[tuple[tuple[str, ...], int], list[_Column]] = {}

    def __len__(self) -> int:
        return len(self._n)

    def of_line(self, number: int) -> bool:
        """Whether the last row is that of this line."""
        return len(self._line) > 0 and self._line[-1] == number

    def family(self, counter: Counter, rank: int | None) -> int:
        """Number of the family to which rows with such a counter belong."""
        key = (counter.basis, counter.family, counter.total >= 0, rank)
        family = self._ids.get(key)
        if family is None:
            family = self._ids[key] = len(self._families)
            self._families.append(_Family(counter, rank))
        return family

    def add_row(self, counter: Counter, line: int, rank: int | None) -> int:
        """Open a row; returns its id."""
        if max(counter.n, counter.total) >= _PAST:
            counter = counter._replace(n=-1, total=-1)
        self._family.append(self.family(counter, rank))
        self._n.append(counter.n)
        self._total.append(counter.total)
        self._epoch.append(counter.epoch)
        self._line.append(line)
        return len(self._n) - 1

    def add(self, tag: str, row: int, value: float) -> None:
        """Put a value on a row."""
        column = self._column(tag, self._family[row])
        column.rows.append(row)
        column.values.append(value)

    def write(self, tags: tuple[str, ...], row: int, values: Sequence[float]) -> None:
        """Put one value for each tag on a row."""
        key = (tags, self._family[row])
        columns = self._writers.get(key)
        if columns is None:
            columns = self._writers[key] = [self._column(tag, key[1]) for tag in tags]
        for column, value in zip(columns, values, strict=True):
            column.rows.append(row)
            column.values.append(value)

    def add_rows(self, family: Ints, n: Ints, total: Ints, epoch: Floats, lines: Ints) -> int:
        """Open many rows; returns the id of the first, the others follow."""
        first = len(self._n)
        columns = (self._family, self._n, self._total, self._line)
        for column, values in zip(columns, (family, n, total, lines), strict=True):
            column.frombytes(values.astype(np.int64, copy=False).tobytes())
        self._epoch.frombytes(epoch.astype(np.float64, copy=False).tobytes())
        return first

    def extend(self, tag: str, family: int, rows: Ints, values: Floats) -> None:
        """Put a value on each of many rows of one family."""
        column = self._column(tag, family)
        column.rows.frombytes(rows.astype(np.int64, copy=False).tobytes())
        column.values.frombytes(values.astype(np.float64, copy=False).tobytes())

    def places(self) -> tuple[Ints, Ints]:
        """(rows,) Line and family of every row."""
        return np.array(self._line, dtype=np.int64), np.array(self._family, dtype=np.int64)

    def _is_uncounted(self, row: int) -> bool:
        return self._families[self._family[row]].counter.basis in (Basis.RECORD, Basis.LEADING)

    def _column(self, tag: str, family: int) -> _Column:
        return self._columns.setdefault((tag, family), _Column())

    def resolve(self, trainer: Resolver) -> Resolved:
        """Steps of all rows, now that the file is read."""
        family = np.array(self._family, dtype=np.int64)
        n = np.array(self._n, dtype=np.int64)
        total = np.array(self._total, dtype=np.int64)
        epoch = np.array(self._epoch, dtype=np.float64)
        steps = n.copy()
        axes: list[Axis] = []
        # Rows of one block are not written in the order of their lines.
        in_order = np.argsort(np.array(self._line, dtype=np.int64), kind="stable")
        for number, of_family in enumerate(self._families):
            mine = in_order[family[in_order] == number]
            if of_family.counter.basis is Basis.TRAINER:
                axis, steps[mine] = trainer(mine, epoch[mine])
            elif of_family.counter.basis is Basis.LATEST:
                axis, steps[mine] = _latest(n[mine], self.first_step)
            else:
                axis, steps[mine] = _resolve(
                    of_family.counter.basis, n[mine], total[mine], epoch[mine]
                )
            axes.append(axis)
        return Resolved(tuple(axes), family, steps)

    def series(self, path: str, resolved: Resolved) -> Iterator[Series]:
        """One series a tag, axis and rank, in order of first appearance."""
        lines = np.array(self._line, dtype=np.int64)
        merged: dict[tuple[str, Axis, int | None], list[_Column]] = {}
        for (tag, family), column in self._columns.items():
            key = (tag, resolved.axes[family], self._families[family].rank)
            merged.setdefault(key, []).append(column)
        for (tag, axis, rank), columns in merged.items():
            rows = np.concatenate([np.array(c.rows, dtype=np.int64) for c in columns])
            values = np.concatenate([np.array(c.values, dtype=np.float64) for c in columns])
            order = np.lexsort((rows, lines[rows]))
            rows, values = rows[order], values[order]
            first = resolved.first_record(rows) if axis == "record" else 0
            if axis == "epoch" and _several_an_epoch(resolved.steps[rows]):
                axis = "record"  # an epoch would keep only the last of them
            if len(rows) == 1 and np.isfinite(values[0]) and self._is_uncounted(int(rows[0])):
                continue  # said once, beside no counter: as likely a setting as a metric
            steps = resolved.steps[rows]
            if axis == "record" and len(rows) > 1:
                # Each metric numbers its own rows, from where its dialect begins to count; one that
                # came once, as a summary does, stands where its row stands.
                steps = np.arange(len(rows)) + first
            yield Series(
                tag=tag,
                steps=steps.astype(np.int64),
                values=values,
                source=Source(path, tag=tag),
                lines=lines[rows],
                axis=axis,
                rank=rank,
            )


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """What the rows' counters turned out to mean."""

    axes: tuple[Axis, ...]
    """By family."""
    family: Ints
    """(rows,)"""
    steps: Ints
    """(rows,) in units of the family's axis."""

    def first_record(self, rows: Ints) -> int:
        """The number of the first of these rows, where it is the first of its family; else 0."""
        row = int(rows[np.argmin(self.steps[rows])])
        start = int(self.steps[self.family == self.family[row]].min())
        return start if int(self.steps[row]) == start else 0

    def step_of(self, row: int) -> int | None:
        """The step of a row, if it has one."""
        on_steps = self.axes[self.family[row]] == "step"
        return int(self.steps[row]) if on_steps else None


def _several_an_epoch(epochs: Ints) -> bool:
    return len(epochs) > 1 and float(np.mean(np.diff(epochs) == 0)) > 0.3


def _resolve(basis: Basis, n: Ints, total: Ints, epoch: Floats) -> tuple[Axis, Ints]:
    """Axis and steps of the rows of one family."""
    if basis is Basis.STEP:
        return "step", n
    if basis is Basis.EPOCH:
        whole = (np.abs(epoch) < _EXACT).all() and (epoch == np.floor(epoch)).all()
        return ("epoch", epoch.astype(np.int64)) if whole else ("record", np.arange(len(n)))
    if basis is Basis.LEADING:
        rises = len(n) > 1 and float(np.mean(np.diff(n) > 0)) >= _MOSTLY  # restarts are few
        return ("step", n) if rises else ("record", np.arange(len(n)))
    if basis in (Basis.COUNTER, Basis.BATCH):
        return _unfold(basis, n, total, epoch)
    return "record", np.arange(len(n))


def _counts_on_the_right(n: Ints, total: Ints) -> bool:
    """Whether ``4/300``, ``4/400`` is WeNet's epoch with its batch behind it."""
    changes = np.diff(total) != 0
    return (
        len(n) > 2 and bool((total >= 0).all()) and changes.mean() > 0.5 > (np.diff(n) != 0).mean()
    )


def _latest(n: Ints, first_step: int | None) -> tuple[Axis, Ints]:
    """Rows before the first stated step belong to the steps up to it."""
    if first_step is None:
        return "record", np.arange(len(n))
    return "step", np.where(n >= 0, n, first_step)


def _unfold(basis: Basis, n: Ints, total: Ints, epoch: Floats) -> tuple[Axis, Ints]:
    """Steps from a counter that may start again with each epoch."""
    if basis is Basis.BATCH and np.isnan(epoch).all() and _counts_on_the_right(n, total):
        n, total, epoch = total, np.full(len(n), -1), n.astype(np.float64)
    if len(n) and (np.abs(epoch) < _EXACT).all():
        whole = np.floor(epoch).astype(np.int64)
        new_epoch = np.diff(whole) > 0
        again = (np.diff(n) <= 0) & new_epoch
        # A batch within an epoch by name, or a counter that fell back where the epoch rose.
        if basis is Basis.BATCH or (again.any() and again.sum() * 2 > new_epoch.sum()):
            length = int(total.max())
            if length < 0 and (counted := every_batch(whole, n)) is not None:
                return "step", counted
            if length < 0 and whole.min() == whole.max() and (np.diff(n) >= 0).all():
                return "step", n  # a single epoch, of which the log counts the batches
            if length <= 0 or (total != length).any() or n.max() > length:
                return "record", np.arange(len(n))
            base = 0 if whole.min() <= 0 else 1
            return "step", (whole - base) * length + n
        return "step", n
    if (unfolded := from_the_end(n, total)) is not None:
        return "step", unfolded
    if basis is Basis.BATCH and (np.diff(n) < 0).any():
        return "record", np.arange(len(n))
    return "step", n
