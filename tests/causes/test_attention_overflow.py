"""Attention logits that grew: up to the death, and as a filter prints what is Inf."""

from __future__ import annotations

import numpy as np
import pytest
from builders import NAN, event, judge, make_run, named_cause, series

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


HALF = {"training": {"fp16": True}}


def test_projections_that_grew_before_the_death_and_go_on_behind_it() -> None:
    """Weights of a step that a scaler skips stay as they are, or are mended by hand."""
    norms = [1.0 * 1.3**k for k in range(35)]
    grown = [series(f"weight_norm/blocks.2.attn.w{p}.weight", norms) for p in "qk"]
    others = [series(f"weight_norm/blocks.{k}.mlp.0.weight", [1.0] * 35) for k in range(3)]
    assert named_cause(LOSS, *grown, *others, config=HALF) == "attention-overflow"
    late = [1.0] * 31 + [50.0] * 4
    grown = [series(f"weight_norm/blocks.2.attn.w{p}.weight", late) for p in "qk"]
    assert named_cause(LOSS, *grown, *others, config=HALF) != "attention-overflow"


@pytest.mark.parametrize(
    ("text", "layer", "value", "cause"),
    [
        ("inf detected in blocks.0.attn scores", "blocks.0.attn", "inf", True),
        ("nan detected in blocks.0.attn scores", "blocks.0.attn", "nan", False),
        ("inf detected in blocks.0.mlp output", "blocks.0.mlp", "inf", False),
    ],
)
def test_scores_that_are_inf_by_the_programs_words(
    text: str, layer: str, value: str, cause: bool
) -> None:
    said = event("nonfinite-text", text, 31, quantity="attention", value=value, layer=layer)
    assert (named_cause(LOSS, said, config=HALF) == "attention-overflow") is cause


@pytest.mark.parametrize(
    ("last", "named"), [([60.0, 89.0], True), ([82.0, 91.0], True), ([55.0, 60.0], False)]
)
def test_logits_that_come_to_where_exponentials_end(last: list[float], named: bool) -> None:
    """A softmax of one's own, which does not subtract the maximum."""
    logits = [4.0 * 1.09**k for k in range(29)]
    parts = (
        series("loss", [2.5] * 31 + [NAN] * 4),
        series("attn/layers.0/logit_absmax", [*logits, *last, *[NAN] * 4]),
    )
    assert (named_cause(*parts) == "attention-overflow") is named
    used_to_it = series("attn/layers.0/logit_absmax", [100.0] * 31 + [NAN] * 4)
    assert named_cause(parts[0], used_to_it) != "attention-overflow"
