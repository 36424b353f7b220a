"""Dictionaries that the Hugging Face Trainer prints, and the progress bars that count its steps.

Samples::

    {'loss': 1.6228, 'grad_norm': nan, 'learning_rate': 4.94e-06, 'epoch': 0.16}        (to 4.57)
    {'loss': '0', 'grad_norm': 'nan', 'learning_rate': '4.94e-06', 'epoch': '0.16'}     (from 5.0)
    {'loss': 2.1, 'grad_norm': tensor(nan, device='cuda:0'), 'epoch': 0.1}        (with DeepSpeed)
      8%|#         | 1/12 [00:00<00:06,  1.63it/s]{'loss': '3.433', 'epoch': '0.08'}
    {'train_runtime': 0.3681, 'train_loss': nan, 'epoch': 2.0}

The dictionary names no step. The Trainer writes it through the bar (``tqdm.write``), which repaints
the bar behind it: the first bar of training after the dictionary shows its step, while the bar
before it is late by what was not repainted in the last tenth of a second. See :mod:`.hf_steps`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from nanautopsy.readers.text.dialect import Dialect, Handler, Line, Log, Take
from nanautopsy.readers.text.fields import Field, fields
from nanautopsy.readers.text.hf_rows import is_logged, kind_of
from nanautopsy.readers.text.hf_steps import RowKind, TrainerSteps
from nanautopsy.readers.text.metric_row import value, whole_numbers
from nanautopsy.readers.text.numbers import parse
from nanautopsy.readers.text.patterns import Numbers
from nanautopsy.readers.text.rows import Basis, Bulk, Counter
from nanautopsy.readers.text.words import counter_kind, is_plural

_NESTED = re.compile(r"'(?:train|training|val|valid|validation|eval|test)': \{'")
_DICT = re.compile(r"\{'[^{}]*\}")
_PAIR = re.compile(
    r"'([^']+)':\s*(?:'([^']*)'|(?:tensor|array|(?:np\.)?float\d*)\(([^,()]*)[^()]*\)|([^,}'\[(]+))"
)
_BAR = re.compile(r"\|\s*(\d+)/(\d+) \[")
_DESCRIBED = re.compile(r"[^\s\d%|][^|]*\d+%\|")
_TAIL = re.compile(r"(?:it/s|s/it), [A-Za-z_]\w*=")
_DESCRIPTION = 300
"""Characters before a bar in which its description can stand."""
_N_OF_TOTAL = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")
_STEP_KEYS = ("step", "global_step", "iteration", "current_steps", "train/global_step")
_STEP_OF_KEYS = ("global_step/max_steps", "iteration")
_NAMED = re.compile(r"'([^'{}]+)':\s*(?:'|(?:tensor|array|(?:np\.)?float\d*)\()?[+-]?$")
_SUMMARY = ("train_runtime", "train_samples_per_second")
_SPECIAL = frozenset((*_STEP_KEYS, *_STEP_OF_KEYS, *_SUMMARY))
_METRICS_HEADING = re.compile(r"\*{3,} (train|eval|test|predict)\w* (?:metrics|results) \*{3,}")
_METRIC_LINE = re.compile(r"\s+([A-Za-z_][\w/@.-]*)\s*=\s*(\S+)\s*$")
_BANNER = re.compile(
    r"(Num examples|Num Epochs|Total train batch size|Total optimization steps"
    r"|Gradient Accumulation steps)\b[^=]{0,80}=\s*([\d,]+)"
)


def steps_of(log: Log) -> TrainerSteps:
    """What this log's bars said, created on first use."""
    found = log.memory.get("hf_dict")
    if not isinstance(found, TrainerSteps):
        found = log.memory["hf_dict"] = TrainerSteps()
    return found


def _on_dicts(log: Log, line: Line) -> None:
    text = line.text
    at = 0
    for match in _DICT.finditer(text):
        _on_bars(log, text[at : match.start()])
        values = _pairs(match[0])
        if _is_metrics(values):
            _add(log, line, values)
        at = match.end()
    _on_bars(log, text[at:])


def _pairs(text: str) -> dict[str, str]:
    return {
        match[1]: next(g for g in match.groups()[1:] if g is not None).strip()
        for match in _PAIR.finditer(text)
    }


def _is_metrics(values: Mapping[str, str]) -> bool:
    """Whether it is a report of training and not a configuration that happens to hold a loss."""
    numeric = [key for key, value in values.items() if parse(value) is not None]
    if "epoch" not in values and _own_step(values)[1] is None:
        return "loss" in numeric and len(numeric) == len(values)
    if len(numeric) == len(values) and is_logged(values):
        return True
    return any(key.endswith(("loss", "runtime")) or key == "grad_norm" for key in numeric) or any(
        key.startswith(("eval_", "rewards/", "train_")) for key in numeric
    )


def _add(log: Log, line: Line, values: Mapping[str, str]) -> None:
    epoch = parse(values.get("epoch", "")) if "epoch" in values else None
    step_key, step = _own_step(values)
    final = any(key in values for key in _SUMMARY)
    was_finished = steps_of(log).current.finished  # every rank may print the last report
    if step is not None:
        row = log.start_row(Counter(Basis.STEP, step), line)
    else:
        kind = "final" if final else kind_of(values)
        row = _trainer_row(
            log, line, kind, math.nan if epoch is None else epoch, values.get("epoch", "")
        )
    for key, text in values.items():
        number = parse(text)
        if number is not None and key != step_key and key not in _STEP_KEYS:
            log.rows.add(key, row, number)
    if final and not was_finished:
        log.event("run-finished", line)


def _trainer_row(log: Log, line: Line, kind: RowKind, epoch: float, text: str) -> int:
    steps = steps_of(log)
    if steps.current.finished and kind == "train":
        steps.next_training()
    counter = Counter(Basis.TRAINER, epoch=epoch, family=steps.family)
    row = log.rows.add_row(counter, line.number, line.rank)
    steps.current.add_row(row, kind, text)
    log.step_at(row)
    return row


def _own_step(values: Mapping[str, str]) -> tuple[str, int | None]:
    """The step that the dictionary names, and its key."""
    for key in (*_STEP_KEYS, *filter(_counts, values)):
        if (text := values.get(key, "")).isdigit():
            return key, int(text[:18])
    for key in _STEP_OF_KEYS:
        if match := _N_OF_TOTAL.fullmatch(values.get(key, "")):
            return key, int(match[1])
    return "", None


@lru_cache(maxsize=1024)
def _counts(key: str) -> bool:
    return counter_kind(key) in ("global", "step") and not is_plural(key)


def _on_bars(log: Log, text: str) -> None:
    """Every undescribed bar of the text: the Trainer gives its own no description."""
    if "/" not in text or "|" not in text:
        return
    for match in _BAR.finditer(text):
        begin = max(text.rfind("]", 0, match.start()), match.start() - _DESCRIPTION, 0)
        if _DESCRIBED.search(text, begin, match.start() + 1) is None:
            _bar(log, int(match[1][:18]), int(match[2][:18]))


def _bar(log: Log, n: int, total: int) -> None:
    if steps_of(log).bar(n, total):
        log.step_is(n)


def _on_bar(log: Log, line: Line) -> None:
    _on_bars(log, line.text)


_BANNER_FIELDS = {
    "Num examples": "examples",
    "Num Epochs": "epochs",
    "Total train batch size": "batch",
    "Gradient Accumulation steps": "accumulation",
    "Total optimization steps": "total",
}


def _on_banner(log: Log, line: Line) -> None:
    match = _BANNER.search(line.text)
    if match is None:
        return
    number = int(match[2].replace(",", ""))
    setattr(steps_of(log).next_training(), _BANNER_FIELDS[match[1]], number)


def _on_heading(log: Log, line: Line) -> None:
    """``***** train metrics *****`` and the aligned ``name = value`` lines under it."""

    def take(line: Line) -> Take:
        match = _METRIC_LINE.fullmatch(line.whole.decode("utf-8", "replace"))
        if match is None:
            return Take.NOT_MINE
        value = parse(match[2])
        if value is not None and match[1].endswith(("loss", "perplexity")):
            row = log.rows.add_row(log.latest(), line.number, line.rank)
            log.rows.add(match[1], row, value)
        return Take.MORE

    log.follow(line, take, lines=100)


@dataclass(frozen=True, slots=True)
class _DictRow:
    """Lines that hold one dictionary and nothing else that counts."""

    kind: RowKind
    epoch: Field | None
    tags: tuple[str, ...]
    points: tuple[Field, ...]

    def __call__(self, log: Log, line: Line) -> None:
        epoch, text = math.nan, ""
        if self.epoch is not None and self.epoch.index >= 0:
            text = line.numbers[self.epoch.index].decode()
            epoch = float(text)
        row = _trainer_row(log, line, self.kind, epoch, text)
        log.rows.write(self.tags, row, [value(field, line) for field in self.points])


@dataclass(frozen=True, slots=True)
class _BarOnly:
    """Lines that hold one undescribed bar."""

    n: Field
    total: Field

    def __call__(self, log: Log, line: Line) -> None:
        _bar(log, int(line.numbers[self.n.index][:18]), int(line.numbers[self.total.index][:18]))

    def many(self, log: Log, numbers: Numbers) -> Bulk | None:
        """The same for many lines."""
        n, total = whole_numbers(self.n, numbers), whole_numbers(self.total, numbers)
        if n is None or total is None:
            return None
        nothing = np.full((len(numbers), 0), np.nan)
        return Bulk(Counter(Basis.RECORD), n, total, nothing, (), nothing, _bar)


def _plan_dict(line: Line, text: str) -> Handler | None:
    """The quick way where the line allows it."""
    dicts = [_pairs(match[0]) for match in _DICT.finditer(text)]
    if not any(map(_is_metrics, dicts)):
        return None
    values = dicts[0]
    if len(dicts) > 1 or _BAR.search(text) or any(key in values for key in _SPECIAL):
        return _on_dicts
    if _own_step(values)[1] is not None:
        return _on_dicts
    found = {}
    for field in fields(line.parts):
        named = _NAMED.search(field.before)
        if named is not None:
            found[named[1]] = field
    wanted = {key for key, text in values.items() if parse(text) is not None}
    if set(found) != wanted:
        return _on_dicts
    return _DictRow(kind_of(values), found.get("epoch"), tuple(found), tuple(found.values()))


def _plan_bar(line: Line, text: str) -> Handler | None:
    bars = list(_BAR.finditer(text))
    found = fields(line.parts)
    for n, total in pairwise(found):
        if len(bars) != 1 or _DESCRIBED.search(text[:_DESCRIPTION], 0, bars[0].start() + 1):
            break
        if total.before == "/" and total.after.startswith(" [") and n.before.rstrip()[-1:] == "|":
            return _BarOnly(n, total)
    return _on_bar


def _plan(line: Line, lower: str) -> Handler | None:
    text = line.text
    if (
        "{'" in lower
        and _NESTED.search(lower) is None
        and (handler := _plan_dict(line, text)) is not None
    ):
        return handler
    if "*****" in lower and _METRICS_HEADING.search(text):
        return _on_heading
    if _BANNER.search(text):
        return _on_banner
    if ("it/s" in lower or "s/it" in lower) and _BAR.search(text):
        # A bar with metrics in its tail belongs to the key-value dialect.
        tail = "loss" in lower or "epoch" in lower or _TAIL.search(text)
        return None if tail else _plan_bar(line, text)
    return None


DIALECT = Dialect(
    name="hf-trainer",
    triggers=("'loss'", "_loss'", "'epoch'", "_runtime'", "'grad_norm'", "***** ", "num ex",
              "num ep", "total train", "gradient acc", "total optimization", "it/s", "s/it"),
    plan=_plan,
    metrics=True,
    counters=("it/s", "s/it"),
)  # fmt: skip
