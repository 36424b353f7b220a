"""Routing that collapsed: one expert gets nearly every token, the others none.

Told from the share of the busiest expert, from shares that are logged expert by expert, from a
count of experts without tokens, or from the entropy of the routing. A router begins anywhere and
may be one-sided in a sound model, so that only what was spread, collapsed and stayed so counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanautopsy import thresholds
from nanautopsy.detectors.interface import Detector
from nanautopsy.experts import has_experts
from nanautopsy.model import Finding, Run, Series
from nanautopsy.signal import shown
from nanautopsy.tag_words import words
from nanautopsy.wording import phrase

_OF_ROUTING = frozenset("expert experts router routing moe gate gating load util".split())
_SHARE = frozenset("load loads util utilization utilisation usage fraction frac share".split())
_BUSIEST = frozenset("max maximum largest top busiest biggest".split())
_WITHOUT = frozenset("dead unused idle inactive empty starved unrouted".split())
_NUMBER = re.compile(r"\d+")
_STAYS = 3
"""Points in a row at the end that show the collapse."""
_FEWEST_DEAD = 2


def _detect(run: Run) -> Iterator[Finding]:
    if not has_experts(run):
        return
    routing = [s for s in run.by_role("other") if not _OF_ROUTING.isdisjoint(words(s.tag))]
    found = [f for s in routing if (f := _of_one(s)) is not None]
    found += [f for group in _groups(routing) if (f := _of_group(group)) is not None]
    yield from sorted(found, key=lambda finding: finding.step or 0)[:1]


def _of_one(series: Series) -> Finding | None:
    """Of the busiest expert's share, a count of idle ones, or an entropy."""
    have = frozenset(words(series.tag))
    values = _before_death(series)
    if len(values) < 2 * _STAYS:
        return None
    begun, last = float(np.median(values[:_STAYS])), values[-_STAYS:]
    if have & _SHARE and have & _BUSIEST and values.min() >= 0 and values.max() <= 1:
        collapsed = begun <= thresholds.LOAD_SPREAD and last.min() >= thresholds.LOAD_COLLAPSED
    elif have & _WITHOUT:
        collapsed = begun < _FEWEST_DEAD and last.min() >= max(_FEWEST_DEAD, 2 * begun + 1)
    elif "entropy" in have:
        collapsed = begun > 0 and last.max() <= thresholds.ENTROPY_GONE * begun
    else:
        return None
    return _finding(series, values) if collapsed else None


def _groups(series: list[Series]) -> Iterator[list[Series]]:
    """Shares that differ in the number of their expert only."""
    named: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        if _NUMBER.search(one.tag) and not _SHARE.isdisjoint(words(one.tag)):
            head, _, tail = one.tag.rpartition(_NUMBER.findall(one.tag)[-1])
            named.setdefault((head, tail), []).append(one)
    yield from (group for group in named.values() if len(group) > 1)


def _of_group(group: list[Series]) -> Finding | None:
    """One expert's share that took over all of it."""
    values = [_before_death(s) for s in group]
    length = len(values[0])
    if length < 2 * _STAYS or any(len(v) != length for v in values):
        return None
    table = np.stack(values)
    total = table.sum(axis=0)
    if (table < 0).any() or (total <= 0).any():
        return None
    share = table / total
    busiest = int(share[:, -1].argmax())
    begun = float(np.median(share[:, :_STAYS].max(axis=0)))
    if begun > thresholds.LOAD_SPREAD or share[busiest, -_STAYS:].min() < thresholds.LOAD_COLLAPSED:
        return None
    return _finding(group[busiest], values[busiest])


def _before_death(series: Series) -> NDArray[np.float64]:
    """Up to the first point that is not finite."""
    bad = np.flatnonzero(~np.isfinite(series.values))
    return series.values[: bad[0]] if len(bad) else series.values


def _finding(series: Series, values: NDArray[np.float64]) -> Finding:
    last = float(values[-1])
    stays = np.abs(values - last) <= abs(last) * thresholds.BACK_AT_START + _TINY
    start = len(values) - int(np.argmin(stays[::-1])) if not stays.all() else 0
    return Finding(
        id="router-collapse",
        text=phrase(
            "{tag} goes from {first} to {last} by step {step} and stays there: one expert gets "
            "nearly everything",
            tag=series.tag,
            first=shown(float(values[0])),
            last=shown(last),
            step=int(series.steps[start]),
        ),
        source=series.at(start),
        step=int(series.steps[start]),
        data={"axis": series.axis, "value": last},
    )


_TINY = 1e-6
DETECTOR = Detector("router-load", _detect)
