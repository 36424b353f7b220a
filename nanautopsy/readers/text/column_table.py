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
        step      loss  grad_norm                             (pandas, whose index has no name)
    0     10  2.301400   1.215000
    rank | step | loss | gnorm
    R3 | 40 | 1.2012 | 0.61
    |  Epoch  |  Iteration  |  Time Elapsed  |  Mini-batch  |  Base Learning  |   (MATLAB: a heading
    |         |             |   (hh:mm:ss)   |     Loss     |      Rate       |    of two lines)
    |       1 |           1 |       00:00:00 |       2.0794 |          0.0100 |
"""

from __future__ import annotations

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
_TERMS = frozenset("box cls dfl obj rpn mask kl recon reg adv l1 dice focal iou giou".split())
_FEWEST_TERMS = 2
"""Beside their total: ``Epoch iter box cls total``."""
_STRANGERS = 30
_COUNT = re.compile(r"(\d{1,9})(?:/(\d{1,9}))?")
_BAR = re.compile(r"[|\]━─╸╺]\s*(\d{1,9})/(\d{1,9})\b")
_SEPARATOR = re.compile(r"[-=+|\s\u2500-\u257f]+")
_BORDERS = str.maketrans("\u2502\u2503\u2551,", "||||")
"""What stands between cells: the vertical lines of boxes, and commas."""
_MAX_LINES = 10_000_000
_INDENTED = re.compile(r"\s{2,}[^\s|]")
_STACKED = re.compile(r"[A-Za-z(][\w. ():/%-]*")
_HOLDS_NUMBER = re.compile(r"(?:^|\s)(?:[-+]?\d|(?:nan|inf)\b)", re.IGNORECASE)
_RANKED = re.compile(r"(?:[A-Za-z]{1,6}[ _-]?)?(\d{1,5})")
_RANKS = frozenset(("rank", "global_rank", "replica", "worker"))
_NO_VALUE = frozenset(("", "No", "log", "None", "-", "--", "n/a", "N/A"))


@dataclass(frozen=True, slots=True)
class _Column:
    place: int
    tag: str
    needed: bool
    """It is a metric by its name; what another column holds may be a word."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What a heading says of the rows below it."""

    width: int
    place: int
    """Of the counter."""
    kind: str
    epoch: int | None
    """Where the epoch stands, in which batches are counted anew."""
    rank: int | None
    indexed: bool
    """Rows begin with a number that has no name, as pandas prints them."""
    columns: list[_Column]

    @classmethod
    def of(cls, names: list[str], indexed: bool = False) -> _Table:
        kinds = [counter_kind(name) for name in names]
        kind = "batch" if "batch" in kinds and "epoch" in kinds else None
        steps = [i for i, k in enumerate(kinds) if k not in (None, "epoch")]
        place = kinds.index(kind) if kind else steps[0] if steps else kinds.index("epoch")
        epoch = kinds.index("epoch") if kind else None
        rank = next((i for i, name in enumerate(names) if name.lower() in _RANKS), None)
        columns = [
            _Column(i, name, is_metric(name))
            for i, name in enumerate(names)
            if i != rank and _is_number(name)
        ]
        return cls(len(names), place, kinds[place] or "step", epoch, rank, indexed, columns)


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
    lower = [cell.lower() for cell in cells]
    counted = any(counter_kind(cell) is not None for cell in cells[:2])
    told = any(map(is_objective, cells)) or sum(map(is_metric, cells)) >= _FEWEST_METRICS
    told = told or ("total" in lower and len(_TERMS.intersection(lower)) >= _FEWEST_TERMS)
    return cells if counted and told else None


def _stacked(text: str) -> list[str] | None:
    """The cells of a line between bars, none of which holds a number; ``None`` for another one."""
    if not text.strip().startswith("|") or not text.rstrip().endswith("|"):
        return None
    cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
    if not _MIN_NAMES <= len(cells) <= _MAX_NAMES:
        return None
    if any(_HOLDS_NUMBER.search(cell) for cell in cells):
        return None
    return cells if all(not cell or _STACKED.fullmatch(cell) for cell in cells) else None


def _on_stacked(log: Log, line: Line) -> None:
    """A heading whose names go on in the next line."""
    upper = _stacked(line.text)

    def take(line: Line) -> Take:
        lower = _stacked(line.text)
        if upper is not None and lower is not None and len(lower) == len(upper):
            names = [" ".join(pair).strip() for pair in zip(upper, lower, strict=True)]
            if any(map(is_objective, names)) and any(map(counter_kind, names)):
                _read_table(log, line, names)
                return Take.MORE
        return Take.NOT_MINE

    log.follow(line, take, lines=1)


def _on_heading(log: Log, line: Line) -> None:
    names = names_of(line.text)
    if names is not None:
        _read_table(log, line, names)


def _read_table(log: Log, line: Line, names: list[str]) -> None:
    table = _Table.of(names, _INDENTED.match(line.text) is not None)
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
    place, kind = table.place, table.kind
    cells = _cells(text, table)
    if cells is None:
        return False
    count = _COUNT.fullmatch(cells[place])
    values = {}
    for column in table.columns:
        cell = cells[column.place]
        if cell not in _NO_VALUE:
            value = parse(cell.removesuffix("%"))
            if value is not None:
                values[column.tag] = value
            elif column.needed:
                return False
    if count is None or not values:
        return False
    if table.rank is not None and (ranked := _RANKED.fullmatch(cells[table.rank])):
        line.rank = int(ranked[1])
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
        log.rows.add(tag, row, value)
    return True


def _cells(text: str, table: _Table) -> list[str] | None:
    """As many as the heading has: between bars, where some may be empty, or between spaces."""
    text = text.translate(_BORDERS)
    cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
    if len(cells) != table.width or _COUNT.fullmatch(cells[table.place]) is None:
        cells = text.replace("|", " ").replace("No log", "-").split()
        if table.indexed and len(cells) == table.width + 1 and cells[0].isdigit():
            if _COUNT.fullmatch(cells[table.place + 1]):
                cells = cells[1:]
        cells = cells[: table.width]
    if len(cells) < table.width:
        return None
    cells[-1] = cells[-1].rstrip(":")
    return cells


def _plan(line: Line, lower: str) -> Handler | None:
    if names_of(line.text) is not None:
        return _on_heading
    cells = _stacked(line.text)
    counted = cells is not None and any(map(counter_kind, cells[:2])) and all(cells)
    return _on_stacked if counted else None


DIALECT = Dialect(
    name="column-table",
    triggers=(" total", "loss", "nll", "mse", "mae", "recon", "elbo", "bce", "ctc",
              "|  iteration  |", "perplexity", "ppl", "xent", "huber", "hinge", "focal", "infonce",
              "contrastive"),
    plan=_plan,
)  # fmt: skip
