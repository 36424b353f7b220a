"""Tables of metrics: a heading of names, then a row of numbers for each epoch or step.

Samples::

          Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size     (YOLO)
           1/40      2.27G      1.325     0.8057        nan         45        768: 100%|##| 5/5 [..]
    epoch     train_loss  valid_loss  accuracy  time                                  (fastai)
    0         2.345       nan         0.123     00:05
      epoch    train_loss    valid_acc     dur                                        (skorch)
    -------  ------------  -----------  ------
          1           nan       0.1000  0.0500
    E    #       LOSS TOK2VEC  LOSS NER  ENTS_F                                          (spaCy)
    Step\tTraining Loss\tValidation Loss                                    (a notebook's Trainer)
    10\t2.345\tNo log
    ┃ step ┃ poisson_nll ┃ grad ┃                                                      (rich)
    │ 12   │ nan         │ nan  │
    epoch,batch,recon,kld                                                     (printed as CSV)
    0,1,4.1912,0.0311
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.rows import Basis, Counter
from nanautopsy.readers.text.words import counter_kind, is_metric, is_objective, may_join

_NAME = re.compile(
    r"#|LOSS \w+|[A-Za-z_][\w/.@:()%-]*(?: (?:Loss|loss|Norm|norm|Accuracy|accuracy|Rate|rate))?"
)
_MIN_NAMES = 3
_MAX_NAMES = 40
_FEWEST_METRICS = 3
"""Without a loss among them: DeePMD-kit's ``#  step  rmse_trn  rmse_e_trn  rmse_f_trn  lr``."""
_STRANGERS = 30
_COUNT = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?")
_BAR = re.compile(r"[|\]━─╸╺]\s*(\d{1,9})/(\d{1,9})\b")
_SEPARATOR = re.compile(r"[-=+|\s\u2500-\u257f]+")
_BORDERS = str.maketrans("\u2502\u2503\u2551,", "||||")
"""What stands between cells: the vertical lines of boxes, and commas."""
_MAX_LINES = 10_000_000
_NO_VALUE = frozenset(("No", "log", "None", "-", "--", "n/a", "N/A"))


@dataclass(frozen=True, slots=True)
class _Column:
    place: int
    tag: str


@dataclass(frozen=True, slots=True)
class _Table:
    """What a heading says of the rows below it."""

    width: int
    place: int
    """Of the counter."""
    kind: str
    epoch: int | None
    """Where the epoch stands, in which batches are counted anew."""
    columns: list[_Column]

    @classmethod
    def of(cls, names: list[str]) -> _Table:
        kinds = [counter_kind(name) for name in names]
        kind = "batch" if "batch" in kinds and "epoch" in kinds else None
        steps = [i for i, k in enumerate(kinds) if k not in (None, "epoch")]
        place = kinds.index(kind) if kind else steps[0] if steps else kinds.index("epoch")
        epoch = kinds.index("epoch") if kind else None
        columns = [_Column(i, name) for i, name in enumerate(names) if _is_number(name)]
        return cls(len(names), place, kinds[place] or "step", epoch, columns)


def _is_number(name: str) -> bool:
    return is_metric(name) or (counter_kind(name) is None and may_join(name))


def names_of(text: str) -> list[str] | None:
    """The column names of a heading, ``None`` for any other line."""
    stripped = text.translate(_BORDERS).strip().strip("|").removeprefix("# ")
    cells = [c.strip() for c in re.split(r"\t|\||\s{2,}", stripped) if c.strip()]
    if cells[:2] == ["E", "#"]:
        cells[:2] = ["E", "step"]
    if not _MIN_NAMES <= len(cells) <= _MAX_NAMES:
        return None
    if not all(_NAME.fullmatch(cell) for cell in cells):
        return None
    counted = any(counter_kind(cell) is not None for cell in cells[:2])
    told = any(map(is_objective, cells)) or sum(map(is_metric, cells)) >= _FEWEST_METRICS
    return cells if counted and told else None


def _on_heading(log: Log, line: Line) -> None:
    names = names_of(line.text)
    if names is None:
        return
    table = _Table.of(names)
    strangers = 0

    def take(line: Line) -> Take:
        nonlocal strangers
        text = line.text
        if _SEPARATOR.fullmatch(text):
            return Take.MORE
        # A row goes to the other dialects too: messages stick to a bar's end.
        strangers = 0 if _row(log, line, text, table) else strangers + 1
        return Take.ASIDE if strangers <= _STRANGERS else Take.NOT_MINE

    log.follow(line, take, lines=_MAX_LINES)


def _row(log: Log, line: Line, text: str, table: _Table) -> bool:
    """Take a line of numbers; whether it is one."""
    place, kind, columns = table.place, table.kind, table.columns
    cells = text.translate(_BORDERS).replace("|", " ").replace("No log", "-").split()
    cells = cells[: table.width]
    if len(cells) < table.width:
        return False
    cells[-1] = cells[-1].rstrip(":")
    count = _COUNT.fullmatch(cells[place])
    values = {c.tag: parse(cells[c.place]) for c in columns if cells[c.place] not in _NO_VALUE}
    if count is None or not values or any(value is None for value in values.values()):
        return False
    bar = _BAR.search(text)
    n = int(count[1])
    epoch = _COUNT.fullmatch(cells[table.epoch]) if table.epoch is not None else None
    if epoch is not None:
        counter = Counter(Basis.BATCH, n, epoch=float(epoch[1]), family="table in epoch")
    elif kind != "epoch":
        counter = Counter(Basis.COUNTER, n, family="table")
    elif bar is not None:
        counter = Counter(Basis.BATCH, int(bar[1]), int(bar[2]), float(n), "table in epoch")
    else:
        counter = Counter(Basis.EPOCH, epoch=float(n), family="table epoch")
    row = log.start_row(counter, line)
    log.set_context(counter, line)
    for tag, value in values.items():
        log.rows.add(tag, row, math.nan if value is None else value)
    return True


def _plan(line: Line, lower: str) -> Handler | None:
    return _on_heading if names_of(line.text) is not None else None


DIALECT = Dialect(
    name="column-table",
    triggers=("loss", "nll", "mse", "mae", "recon", "elbo", "bce", "ctc"),
    plan=_plan,
)
