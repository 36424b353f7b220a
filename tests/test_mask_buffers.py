"""A causal mask's histogram is no failure; a weight that turned to -Inf is one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from builders import INF, NAN, checkpoint, make_run, series, tensor

from nanautopsy.checkpoints.damage import damaged
from nanautopsy.detectors.nonfinite import DETECTOR
from nanautopsy.model import Finding

TAG = "h.0.attn.bias"


def findings(smallest: Sequence[float], largest: Sequence[float]) -> list[Finding]:
    run = make_run(series(f"{TAG}#min", smallest), series(f"{TAG}#max", largest))
    return list(DETECTOR.detect(run))


@pytest.mark.parametrize("largest", [0.0, -INF])
def test_a_mask_is_no_parameter_that_failed(largest: float) -> None:
    assert findings([-INF] * 4, [largest] * 4) == []


@pytest.mark.parametrize(
    ("smallest", "largest"),
    [
        ([-1.0, -INF, -INF], [0.0, 0.0, 0.0]),
        ([-INF, -INF, -INF], [1.0, 1.1, 1.2]),
        ([-INF, -INF, NAN], [0.0, 0.0, NAN]),
        ([-INF, -INF, -INF], [0.0, 0.0, NAN]),
        ([-INF, -INF], [INF, INF]),
        ([-INF], [0.0]),
    ],
)
def test_a_parameter_that_failed(smallest: list[float], largest: list[float]) -> None:
    assert {one.id for one in findings(smallest, largest)} == {"nonfinite-layer-parameter"}


def test_a_lone_extreme_tells_nothing() -> None:
    run = make_run(series(f"{TAG}#min", [-INF, -INF]))
    assert list(DETECTOR.detect(run))


def test_a_running_extreme_begins_at_infinity() -> None:
    best = tensor("early_stopping.best_loss", (), pos_inf=1, first_nonfinite=0)
    assert not damaged(checkpoint(1, best, tensor("fc.weight")))
    scale = tensor("layer_scale", (), pos_inf=1, first_nonfinite=0)
    assert damaged(checkpoint(1, scale, tensor("fc.weight"))) == [scale]


@pytest.mark.parametrize(
    ("tag", "values", "found"),
    [
        ("attn/scores_min", [-INF] * 4, False),
        ("attn/scores_min", [-3.0, -INF, -INF, -INF], True),
        ("attn/scores_max", [-INF] * 4, True),
    ],
)
def test_the_smallest_of_masked_scores(tag: str, values: list[float], found: bool) -> None:
    assert bool(list(DETECTOR.detect(make_run(series(tag, values))))) == found
