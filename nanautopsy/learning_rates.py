"""Questions to a run's learning rate: how high it went, and against what is usual."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from nanautopsy import thresholds
from nanautopsy.model import Fact, Finding, LogEvent, Run, Series, Source
from nanautopsy.signal import shown, up_to
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_BOUNDED = ("adam", "adafactor", "adagrad", "lion", "lamb", "muon", "rmsprop", "sophia")
"""Words of optimizers whose steps do not grow with the gradient."""

_NAMED_RATE = re.compile(r"lr-([A-Z]\w+)(?:[-/]|$)")
"""The tag of Lightning's ``LearningRateMonitor``: the optimizer's class behind ``lr-``."""
_SUMMED = frozenset("sse rss".split())
"""Words of a loss that is a sum of squares by its name."""
_OF_A_LOSS = frozenset("loss losses criterion objective mse nll ce bce xent".split())


@dataclass(frozen=True, slots=True)
class Rate:
    """A learning rate and the place that says it."""

    value: float
    source: Source


def highest(run: Run, before: int | None) -> Rate | None:
    """The highest rate logged or stated before step ``before`` (all, when ``None``), else the one
    that the settings hold."""
    best: Rate | None = None
    for series in run.by_role("learning_rate"):
        values = up_to(series, None if before is None else before + 1)
        if len(values) and (best is None or float(values.max()) > best.value):
            best = Rate(float(values.max()), series.at(int(np.nanargmax(series.values))))
    for event in run.events_of("rate-set"):
        value = event.data.get("value")
        early = before is None or event.step is None or event.step <= before
        if isinstance(value, float) and early and (best is None or value > best.value):
            best = Rate(value, event.source)
    if best is not None:
        return best
    fact = run.facts.get("learning_rate")
    if fact is None or not isinstance(fact.value, (int, float)):
        return None
    return Rate(float(fact.value), fact.source)


def how_high(run: Run, rate: float) -> float:
    """``rate`` over the upper end of what is usual for the run's optimizer.

    Where nothing tells the optimizer, over the highest of all, SGD's. A momentum above the usual
    makes the steps longer that add up.
    """
    name = _optimizer(run)
    known = [usual for word, usual in thresholds.USUAL_LR.items() if word in name]
    momentum = long_momentum(run)
    if momentum is not None:
        rate *= (1 - thresholds.USUAL_MOMENTUM) / (1 - momentum)
    return rate / (min(known) if known else max(thresholds.USUAL_LR.values()))


def breaks_at_once(run: Run, factor: float) -> bool:
    """Whether a rate so many times the usual may end a run within a few steps: those of plain
    gradient descent grow with the gradient, those of adaptive optimizers have the rate's length."""
    bounded = any(word in _optimizer(run) for word in _BOUNDED)
    return factor >= (thresholds.EXTREME_LR_FACTOR if bounded else thresholds.HIGH_LR_FACTOR)


def long_momentum(run: Run) -> float | None:
    """A momentum between the usual one and 1, outside of Adam."""
    momentum = _number(run, "momentum")
    usable = momentum is not None and thresholds.USUAL_MOMENTUM < momentum < 1
    return momentum if usable and "adam" not in _optimizer(run) else None


def _optimizer(run: Run) -> str:
    """Its name in lower case; empty where nothing tells it."""
    optimizer = run.facts.get("optimizer")
    if optimizer is not None:
        return str(optimizer.value).lower()
    tags = (_NAMED_RATE.match(series.tag) for series in run.by_role("learning_rate"))
    return next((found[1].lower() for found in tags if found), "")


def _number(run: Run, name: str) -> float | None:
    fact = run.facts.get(name)
    known = fact is not None and isinstance(fact.value, (int, float))
    return float(fact.value) if known else None  # type: ignore[union-attr, arg-type]


def endless_momentum(run: Run) -> Fact | None:
    """A momentum of 1 or more, with which no gradient is ever forgotten."""
    momentum = _number(run, "momentum")
    usable = momentum is not None and 1 <= momentum < thresholds.GROWTH_FACTOR
    return run.facts["momentum"] if usable and "adam" not in _optimizer(run) else None


def turning_decay(run: Run, rate: float) -> float | None:
    """Rate times weight decay, where a step multiplies every weight by less than -1.

    Adam without a W divides the decay by its gradients' size, and momentum takes a part of it
    away from plain gradient descent: there twice as much does it.
    """
    decay, name = _number(run, "weight_decay"), _optimizer(run)
    if decay is None or ("adam" in name and "adamw" not in name) or "rmsprop" in name:
        return None
    limit = thresholds.DECAY_LIMIT * (1 + (_number(run, "momentum") or 0.0 if "sgd" in name else 0))
    return rate * decay if rate * decay > limit else None


def steps_with_the_loss(run: Run) -> Finding | None:
    """A loss of a large scale before any update, where the steps of the optimizer grow with it:
    the usual rates belong to losses of order one."""
    if any(word in _optimizer(run) for word in _BOUNDED):
        return None
    summed = summed_over_batch(run)
    if summed is not None:
        return summed
    for series in run.by_role("loss"):
        if not len(series) or series.axis == "epoch" or int(series.steps[0]) > 1:
            continue
        first = float(series.values[0])
        if np.isfinite(first) and first >= thresholds.UNSCALED_LOSS:
            text = phrase(
                "{tag} begins at {first}: targets or inputs of that scale make steps as long",
                tag=series.tag,
                first=shown(first),
            )
            return Finding("unscaled-loss", text, series.at(0), step=int(series.steps[0]))
    return None


def steep_gradient(run: Run) -> Finding | None:
    """A gradient before any update that is far longer than the loss is high: the product of many
    Jacobians does that, whatever the rate."""
    for norm in run.by_role("grad_norm"):
        if not len(norm) or norm.axis == "epoch" or int(norm.steps[0]) > 1:
            continue
        if _is_second(norm):
            continue
        first = float(norm.values[0])
        for loss in run.by_role("loss"):
            if not len(loss) or loss.source.path != norm.source.path:
                continue
            start = abs(float(loss.values[0]))
            # The gradient of a squared error goes with its root; a loss beyond all data's scale
            # was computed with broken weights.
            usual = start <= thresholds.FIRST_LOSS_MAX
            level = max(1.0, float(np.sqrt(start)) if usual else start)
            same = loss.steps[0] == norm.steps[0] and np.isfinite([first, level]).all()
            if same and first >= thresholds.STEEP_GRADIENT * level:
                text = phrase(
                    "{tag} is {first} at step {step}, before an update could change anything, "
                    "beside a loss of {loss}",
                    tag=norm.tag,
                    first=shown(first),
                    step=int(norm.steps[0]),
                    loss=shown(float(loss.values[0])),
                )
                return Finding("steep-gradient", text, norm.at(0), step=int(norm.steps[0]))
    return None


def _is_second(series: Series) -> bool:
    """Whether its first row is that of the second step: steps 1, 3, 5, as a writer leaves them that
    counts from 0 and logs where ``(step + 1) % 2 == 0``."""
    if len(series) < 3 or int(series.steps[0]) != 1:
        return False
    return bool((np.diff(series.steps[:3]) == 2).all())


def rising_before(run: Run, step: int | None) -> Series | None:
    """A logged learning rate that rose at its last points up to ``step``, as in a warmup."""
    if step is None:
        return None
    for series in run.by_role("learning_rate"):
        values = series.values[series.steps <= step]
        if len(values) >= thresholds.GROWTH_POINTS and (np.diff(values[-3:]) > 0).all():
            return series
    return None


def summed_over_batch(run: Run) -> Finding | None:
    """A loss that is the sum over its batch, by a setting or its name: the gradient, and with it
    steps of an optimizer that do not have the rate's length, are as many times the mean's."""
    if any(word in _optimizer(run) for word in _BOUNDED):
        return None
    for key, fact in run.config.items():
        have = frozenset(words(key))
        of_loss = "reduction" in have and have & _OF_A_LOSS
        if of_loss and str(fact.value).lower() == "sum":
            return _summed(key, fact.source)
    for series in run.by_role("loss"):
        if len(series) and not _SUMMED.isdisjoint(words(series.tag)):
            return _summed(series.tag, series.at(0))
    return None


def _summed(name: str, source: Source) -> Finding:
    text = phrase(
        "{name}: the loss is a sum over the batch, which makes steps as many times longer",
        name=name,
    )
    return Finding("unscaled-loss", text, source)


def is_at_the_start(run: Run, step: int) -> bool:
    """Whether a step lies within the first points of what was logged."""
    return step <= _start_ends(run)


def from_the_start(run: Run, growth: Finding) -> bool:
    """Whether what grew began to within the first points of what was logged."""
    began = growth.data.get("began")
    steps = [step for step in (growth.step, began) if isinstance(step, int)]
    return bool(steps) and min(steps) <= _start_ends(run)


def from_a_resume(run: Run, growth: Finding) -> LogEvent | None:
    """The resume within a few logged points of which a growth began, if any: what was restored
    did it, or what was not."""
    # Growth from the first row on has no usual level that it left.
    name = "began" if from_the_start(run, growth) else "left"
    began = growth.data.get(name)
    for event in run.events_of("run-resumed"):
        stated = event.data.get("step")
        step = stated if isinstance(stated, int) else event.step
        if step is None and from_the_start(run, growth):
            return event  # said before the first row
        if step is None or not isinstance(began, int):
            continue
        for series in run.by_role("loss", "grad_norm"):
            behind = series.steps[series.steps > step][: thresholds.RESUME_WINDOW]
            if len(behind) and step - 1 <= began <= int(behind[-1]) and _knows(series, step):
                return event
    return None


def _knows(series: Series, step: int) -> bool:
    """Whether a series reaches back to a step, or begins right behind it."""
    interval = int(np.median(np.diff(series.steps))) if len(series) > 1 else 1
    return bool(series.steps[0] <= step + interval)


def _start_ends(run: Run) -> int:
    """Step up to which a run is at its start."""
    ends = []
    for series in run.by_role("loss", "grad_norm"):
        if len(series):
            points = max(thresholds.EARLY_POINTS, int(len(series) * thresholds.EARLY_SHARE))
            ends.append(int(series.steps[min(points, len(series)) - 1]))
    return max(ends, default=0)
