"""Which step each dictionary of the Hugging Face Trainer belongs to.

Three sources, best first, all measured against ``trainer_state.json`` of transformers 5.23:

1. the bar repainted right behind the dictionary (exact, when output is unbuffered);
2. epoch times steps per epoch, where the printed epoch is fine enough to name one step, or the
   rows lie a constant number of steps apart;
3. nothing: then the rows are only numbered, from 1 as the Trainer numbers its steps.

Output that Python buffered (a redirect without ``-u``) shows dictionaries in bursts, away from
their bars; the epochs then contradict the bars, and 2 decides.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nanautopsy.model import Axis
from nanautopsy.readers.text.rows import Floats, Ints

RowKind = Literal["train", "eval", "final", "aside"]
"""``aside``: what a program logs of its own between the Trainer's rows."""
_KINDS: tuple[RowKind, ...] = ("train", "eval", "final", "aside")
_SLACK_STEPS = 1.5
"""An epoch of ``k`` micro-batches need not hold a whole number of accumulated steps."""


_FEWEST_ROWS = 3
"""Rows that show how far apart they lie."""
_SURE = 0.25
"""Of a row, by which its number may be wrong for what the printed epochs leave off."""
_MAX_TOTALS = 8
"""Different bars alive around one training: its own, and evaluations'."""


@dataclass(slots=True)
class _Bars:
    """What bars of one total showed around the rows."""

    n: int = -1
    """Shown last."""
    row: int = 0
    """Number of rows before the last one painted."""
    before: array[int] = field(default_factory=lambda: array("q"))
    after: array[int] = field(default_factory=lambda: array("q"))
    burst: bool = False
    """Two training rows came with no bar between them."""


@dataclass(slots=True)
class Training:
    """The rows of one training, in the order in which they came, and the bars between them."""

    total: int | None = None
    """Optimizer steps as the log states them."""
    epochs: int | None = None
    """``Num Epochs`` as the log states it; the Trainer rounds it up when ``max_steps`` is given."""
    examples: int | None = None
    batch: int | None = None
    """Examples of one optimizer step, over all devices and accumulation."""
    accumulation: int = 1
    finished: bool = False
    last_epoch: str = ""
    rows: array[int] = field(default_factory=lambda: array("q"))
    kinds: array[int] = field(default_factory=lambda: array("b"))
    half_units: array[float] = field(default_factory=lambda: array("d"))
    bars: dict[int, _Bars] = field(default_factory=dict)

    def bar(self, n: int, total: int) -> None:
        """A bar was painted."""
        bars = self.bars.pop(total, None)
        if bars is None:
            bars = _Bars()
            if len(self.bars) >= _MAX_TOTALS:
                del self.bars[next(iter(self.bars))]
            bars.before.extend([-1] * len(self.rows))
            bars.after.extend([-1] * len(self.rows))
        self.bars[total] = bars
        for i in range(bars.row, len(self.rows)):
            bars.after[i] = n
        bars.n, bars.row = n, len(self.rows)

    def add_row(self, row: int, kind: RowKind, epoch: str) -> None:
        """A dictionary was printed; ``epoch`` as it stands in it."""
        number = _KINDS.index(kind)
        # Two loggers may print the same row: that is no burst.
        another = kind == "train" and epoch != self.last_epoch
        self.last_epoch = epoch
        for bars in self.bars.values():
            if another and 0 in self.kinds[bars.row :]:
                bars.burst = True
            bars.before.append(bars.n)
            bars.after.append(-1)
        self.rows.append(row)
        self.kinds.append(number)
        self.half_units.append(_half_unit(epoch))
        self.finished = self.finished or kind == "final"

    def resolve(self, rows: Ints, epoch: Floats) -> tuple[Axis, Ints]:
        """Axis and steps of the rows, given in the order in which they were added."""
        mine = np.searchsorted(np.array(self.rows, dtype=np.int64), rows)
        half = np.array(self.half_units, dtype=np.float64)[mine]
        kinds = np.array(self.kinds, dtype=np.int64)[mine]
        totals = [self.total] if self.total in self.bars else sorted(self.bars, reverse=True)
        for total in totals:
            bars = self.bars[total or 0]
            before = np.array(bars.before, dtype=np.int64)[mine]
            after = np.array(bars.after, dtype=np.int64)[mine]
            shown = np.where(after >= 0, after, before)
            if not bars.burst and (shown >= 0).all() and _agree(shown, epoch, half):
                return "step", self._with_asides(shown, epoch, half, kinds)
        steps = self._from_epochs(epoch, half, kinds)
        if steps is not None:
            return "step", steps
        return "record", np.arange(1, len(rows) + 1) + _rows_before(epoch, half, kinds)

    def _with_asides(self, shown: Ints, epoch: Floats, half: Floats, kinds: Ints) -> Ints:
        """Rows of the program's own stand before the bar of the step that is under way: their epoch
        tells better, where it is fine enough."""
        aside, train = kinds == _KINDS.index("aside"), kinds == _KINDS.index("train")
        known = train & np.isfinite(epoch) & (epoch > 0)
        if not aside.any() or not known.any() or not np.isfinite(epoch[aside]).all():
            return shown
        per_epoch = float(np.median(shown[known] / epoch[known]))
        if (half[aside] * per_epoch >= 0.5).any():
            return shown
        return np.where(aside, np.rint(epoch * per_epoch), shown).astype(np.int64)

    def _from_epochs(self, epoch: Floats, half: Floats, kinds: Ints) -> Ints | None:
        """Epoch times steps per epoch, where that names one step."""
        painted = [total for total, bars in self.bars.items() if bars.row > 0 or not self.rows]
        total = self.total or max(painted or list(self.bars)[-1:], default=None)
        if not len(epoch) or not np.isfinite(epoch).all():
            return None
        per_epoch = self._per_epoch(float(total or 0), float(epoch[-1]))
        if not per_epoch:
            return None
        exact = epoch * per_epoch
        steps: Ints | None
        if (half * per_epoch < 0.5).all():
            steps = np.rint(exact).astype(np.int64)
        else:
            steps = _regular(exact, half * per_epoch, kinds)
        # Two rows of training lie at least one step apart: where they do not, the epoch is wrong.
        train = None if steps is None else steps[kinds == _KINDS.index("train")]
        return None if train is None or (np.diff(train) <= 0).any() else steps

    def _per_epoch(self, total: float, last_epoch: float) -> float | None:
        """Optimizer steps an epoch: from the sizes that the log states, else from its ends."""
        if self.examples and self.batch:
            micro_batches = math.ceil(self.examples * self.accumulation / self.batch)
            return micro_batches / self.accumulation
        if self.finished and last_epoch > 0:
            return total / last_epoch
        return total / self.epochs if self.epochs else None


class TrainerSteps:
    """The trainings of one log."""

    def __init__(self) -> None:
        self._trainings = [Training()]

    @property
    def current(self) -> Training:
        """The training under way: what follows a final report begins another."""
        return self._trainings[-1]

    def next_training(self) -> Training:
        """A training is announced."""
        if self.current.rows:
            self._trainings.append(Training())
        return self.current

    def bar(self, n: int, total: int) -> bool:
        """A bar was painted; whether it may be the training's own."""
        training = self.current
        if training.finished and n < total:
            training = self.next_training()
        training.bar(n, total)
        if training.total is not None:
            return total == training.total
        # Before the first row a bar may be anything: data being prepared, shards being loaded.
        return bool(training.rows) and total == max(training.bars)

    @property
    def family(self) -> str:
        """Names the rows of the training under way."""
        return f"trainer {len(self._trainings) - 1}"

    def resolve(self, rows: Ints, epoch: Floats) -> tuple[Axis, Ints]:
        """Axis and steps of the rows of one family."""
        for training in self._trainings:
            if training.rows and training.rows[0] == rows[0]:
                return training.resolve(rows, epoch)
        return "record", np.arange(1, len(rows) + 1)


def _half_unit(text: str) -> float:
    """Half of the last printed digit's unit: 0.005 for ``0.16``."""
    mantissa, _, exponent = text.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    # From 5.0 on four significant digits are printed, and trailing zeros are not.
    whole = len(mantissa.partition(".")[0].lstrip("-0"))
    digits = max(digits, min(2, 4 - whole))
    power = int(exponent[:6]) if exponent.lstrip("+-").isdigit() else 0
    return float(0.5 * 10.0 ** min(max(power - digits, -12), 300))


def _rows_before(epoch: Floats, half: Floats, kinds: Ints) -> int:
    """Rows of the run that an earlier log holds, where this one is that of a resume: epochs a
    constant part apart begin with that part in a run's first log."""
    train = kinds == _KINDS.index("train")
    others = kinds[: int(train.sum())]
    if train.sum() < _FEWEST_ROWS or (others != _KINDS.index("train")).any():
        return 0
    first, last, gaps = float(epoch[train][0]), float(epoch[train][-1]), int(train.sum()) - 1
    part = (last - first) / gaps
    if not part > 0:  # NaN too
        return 0
    count = first / part
    error = float(half[train][0] + count * (half[train][0] + half[train][-1]) / gaps) / part
    whole = error < _SURE and abs(count - round(count)) + error < 0.5
    return round(count) - 1 if whole and count > 1 else 0


def _agree(steps: Ints, epoch: Floats, half: Floats) -> bool:
    """Whether one number of steps per epoch fits all rows, and no row goes backwards."""
    known = np.isfinite(epoch) & (epoch > half)
    if (steps[known] <= 0).any():
        return False
    if known.sum() < 2:
        return True
    n, e, h = steps[known].astype(np.float64), epoch[known], half[known]
    if (np.diff(n)[np.diff(e) > 0] < 0).any():
        return False
    low = (n - _SLACK_STEPS) / (e + h)
    high = np.where(e - h > 0, (n + _SLACK_STEPS) / np.maximum(e - h, 1e-12), np.inf)
    return bool(low.max() <= high.min())


def _regular(exact: Floats, error: Floats, kinds: Ints) -> Ints | None:
    """Rows a constant number of steps apart: the training rows are multiples of it."""
    train = kinds == _KINDS.index("train")
    count = int(train.sum())
    if count < 2 or (kinds == _KINDS.index("eval")).any():
        return None
    ordinal = np.arange(1, count + 1)
    low = ((exact[train] - error[train]) / ordinal).max()
    high = ((exact[train] + error[train]) / ordinal).min()
    fits = np.arange(np.ceil(low), np.floor(high) + 1)
    if len(fits) != 1 or fits[0] < 1:
        return None
    steps = np.rint(exact).astype(np.int64)
    steps[train] = (ordinal * fits[0]).astype(np.int64)
    return steps
