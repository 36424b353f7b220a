"""One rank that turned non-finite while the others were still finite at the same step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nanautopsy.detectors.interface import Detector
from nanautopsy.launches import of_ranks
from nanautopsy.model import Finding, Run, Series
from nanautopsy.quantities import position
from nanautopsy.signal import first_nonfinite, kind_of, shown
from nanautopsy.wording import counted, phrase


def _detect(run: Run) -> Iterator[Finding]:
    for ranks in of_ranks(run.by_role("loss", "grad_norm")):
        finding = _alone(run, ranks)
        if finding is not None:
            yield finding


def _alone(run: Run, ranks: list[Series]) -> Finding | None:
    turned = [(int(s.steps[i]), s, i) for s in ranks if (i := first_nonfinite(s)) is not None]
    if not turned:
        return None
    step, series, index = min(turned, key=lambda item: item[0])
    others = [s for s in ranks if s.rank != series.rank]
    if not all(_finite_at(s, step) for s in others):
        return None
    value = float(series.values[index])
    return Finding(
        id="rank-alone",
        text=phrase(
            "{tag} of rank {rank} is {value} at {place}, where {others}",
            tag=series.tag,
            rank=series.rank,
            value=shown(value),
            place=position(series.axis, step),
            others=counted(
                len(others), "the other rank is finite", "the other {n} ranks are finite"
            ),
        ),
        source=series.at(index),
        step=step,
        last_good=int(series.steps[index - 1]) if index else None,
        data={
            "rank": series.rank,
            "value": kind_of(value),
            "axis": series.axis,
            "what": series.role,
            "again": _was_alone(series, others),
            "own_loss_finite": any(
                s.rank == series.rank and s.axis == series.axis and _finite_at(s, step)
                for s in run.by_role("loss")
            ),
        },
    )


def _was_alone(series: Series, others: list[Series]) -> bool:
    """Whether it was before all others in the attempts before as well, at other steps."""
    deaths = series.earlier_deaths
    if not deaths or int(series.steps[first_nonfinite(series) or 0]) in deaths:
        return False
    told = [s.earlier_deaths for s in others]
    return all(
        len(one) in (0, len(deaths)) and all(a < b for a, b in zip(deaths, one, strict=False))
        for one in told
    )


def _finite_at(series: Series, step: int) -> bool:
    at = np.flatnonzero(series.steps == step)
    return bool(len(at)) and bool(np.isfinite(series.values[at]).all())


DETECTOR = Detector("rank-alone", _detect)
