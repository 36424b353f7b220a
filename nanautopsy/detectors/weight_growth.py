"""Which weight grew on the way to the first damaged checkpoint, far more than the others, or that
all of them did."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from nanautopsy import thresholds
from nanautopsy.checkpoints.damage import damaged, weights
from nanautopsy.checkpoints.growth import Growth, growth
from nanautopsy.checkpoints.lineages import lineages
from nanautopsy.detectors.interface import Detector
from nanautopsy.model import Finding, Run, Source
from nanautopsy.signal import shown
from nanautopsy.wording import phrase


def _detect(run: Run) -> Iterator[Finding]:
    for line in lineages([c for c in run.checkpoints if weights(c)]):
        grown = growth(line) if any(damaged(c) for c in line) else []
        if len(grown) < 2:
            continue
        most, usual = grown[0], median(one.ratio for one in grown[1:])
        if usual >= thresholds.WEIGHTS_EXPLODE:
            yield _of_all(most, usual, len(grown))
        if most.ratio < thresholds.WEIGHT_GROWTH * max(1.0, usual):
            continue
        first, last = most.healths[0], most.healths[-1]
        places = most.checkpoints
        yield Finding(
            id="weight-growth",
            text=phrase(
                "{tensor}'s largest magnitude grows {ratio:.3g} times, from "
                "{before} in {path} to {after} "
                "in {last_path}; the other weights grow {usual:.3g} times (median)",
                tensor=most.name,
                ratio=most.ratio,
                before=shown(first.max_abs or 0.0),
                path=places[0].path,
                after=shown(last.max_abs or 0.0),
                last_path=places[-1].path,
                usual=usual,
            ),
            source=Source(last.path, tensor=most.name),
            step=places[-1].step,
            layer=most.name,
            data={"ratio": most.ratio, "others": usual, "headroom": last.headroom},
        )


def _of_all(most: Growth, usual: float, count: int) -> Finding:
    """Weights that grew all together: from one update to the next, whichever layer leads."""
    places = most.checkpoints
    return Finding(
        id="parameter-norm-growth",
        text=phrase(
            "the largest magnitudes of {count} weights grow {usual:.3g} times (median) from "
            "{path} to {last_path}",
            count=count,
            usual=usual,
            path=places[0].path,
            last_path=places[-1].path,
        ),
        source=Source(places[-1].path, tensor=most.name),
        step=places[-1].step,
        last_good=places[0].step,
        data={"ratio": usual, "began": places[0].step},
    )


DETECTOR = Detector("weight-growth", _detect)
