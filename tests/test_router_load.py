"""Routing that collapses to one expert, and logits at the reach of an exponential."""

from __future__ import annotations

import pytest
from builders import NAN, detect, make_run, named_cause, series

from nanautopsy.model import Series

EXPERTS = {"model": {"num_experts": 8, "router_dtype": "float16"}}
LOSS = series("loss", [2.0, 1.9, 2.1, 1.8, 1.9, 1.7, 1.8, 1.6, 1.7, 1.6, NAN, NAN])
COLLAPSE = [0.2, 0.22, 0.19, 0.3, 0.6, 0.9, 0.97, 0.99, 1.0, 1.0, 1.0, 1.0]


def collapsed(*parts: Series) -> bool:
    found = detect(make_run(LOSS, *parts, config=EXPERTS))
    return any(finding.id == "router-collapse" for finding in found)


def test_the_busiest_expert_takes_everything() -> None:
    load = series("moe/max_load", COLLAPSE)
    assert collapsed(load)
    assert named_cause(LOSS, load, config=EXPERTS) == "moe-router"


def test_shares_that_are_logged_expert_by_expert() -> None:
    others = [(1 - v) / 3 for v in COLLAPSE]
    parts = [series(f"expert_load/{i}", COLLAPSE if i == 2 else others) for i in range(4)]
    assert collapsed(*parts)


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("dead_experts", [0, 0, 1, 0, 2, 5, 6, 7, 7, 7, 7, 7]),
        ("router_entropy", [2.0, 1.9, 2.0, 1.5, 1.0, 0.4, 0.1, 0.05, 0.01, 0.0, 0.0, 0.0]),
    ],
)
def test_experts_without_tokens(tag: str, values: list[float]) -> None:
    assert collapsed(series(tag, values))


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("moe/max_load", [0.2, 0.4, 0.9, 1.0, 0.6, 0.4, 0.3, 0.3, 0.25, 0.25, 0.3, 0.3]),
        ("moe/max_load", [1.0] * 12),  # from the beginning: a dense layer
        ("moe/max_load", [0.2] * 10 + [1.0, 1.0]),  # what argmax of NaN gives
        ("dead_experts", [2, 2, 1, 2, 2, 1, 2, 2, 2, 1, 2, 2]),
        ("policy_entropy", [2.0] * 6 + [0.0] * 6),
    ],
)
def test_routing_that_did_not_collapse(tag: str, values: list[float]) -> None:
    assert not collapsed(series(tag, values))


def test_a_logit_that_rose_to_where_the_sum_of_exponentials_ends() -> None:
    logit = series("router_logit_max", [5.0 + 0.6 * i for i in range(10)] + [NAN, NAN])
    assert named_cause(LOSS, logit, config=EXPERTS) == "moe-router"
    small = series("router_logit_max", [2.0 + 0.1 * i for i in range(10)] + [NAN, NAN])
    assert named_cause(LOSS, small, config=EXPERTS) != "moe-router"


def test_a_logit_whose_next_step_leads_past_the_end() -> None:
    """Of five points in a hundred steps none lies at the end itself."""
    loss = series("train/ce", [2.1, 2.0, 1.9, NAN, NAN])
    rising = series("moe/router_abs_max", [2.2, 40.7, 78.7, NAN, NAN])
    assert named_cause(loss, rising) == "moe-router"
    level = series("moe/router_abs_max", [78.0, 77.5, 78.7, NAN, NAN])
    assert named_cause(loss, level) != "moe-router"
