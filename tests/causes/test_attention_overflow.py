"""Attention logits that grew: up to the death, and as a filter prints what is Inf."""

from __future__ import annotations

import numpy as np
import pytest
from builders import NAN, judge, make_run, named_cause, series

LARGEST = float(np.finfo(np.float32).max)
GROWING = [15.0 * 4.0**k for k in range(30)]
LOSS = series("loss", [2.5] * 30 + [NAN] * 5)


@pytest.mark.parametrize("at_death", [LARGEST, 3.40282e38])
def test_logits_that_grow_and_are_then_replaced(at_death: float) -> None:
    """``nan_to_num`` makes float32's largest number of Inf, and 0 of NaN."""
    first = series("attn_max_logit/layers.0.attn", [*GROWING, at_death, 0, 0, 0, 0])
    second = series("attn_max_logit/layers.1.attn", [3.0] * 31 + [0.0] * 4)
    assert named_cause(LOSS, first, second) == "attention-overflow"
    onset = judge(make_run(LOSS, first, second)).onset
    assert onset is not None
    assert (onset.step, onset.layer, onset.quantity) == (31, "layers.0.attn", "attention logits")


def test_logits_of_broken_weights_tell_nothing() -> None:
    usual = series("attn_max_logit/layers.0.attn", [12.0] * 30 + [9e9] * 5)
    assert named_cause(LOSS, usual) is None


def test_a_global_metric_of_that_size_is_left_alone() -> None:
    best = series("val_loss", [LARGEST, 3.0, 2.9])
    assert judge(make_run(series("loss", [3.0, 2.9, 2.8]), best)).verdict == "healthy"
