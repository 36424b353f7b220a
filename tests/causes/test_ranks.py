"""One rank alone: its loss speaks of its data, its gradient beside a sound loss of a race."""

from __future__ import annotations

from dataclasses import replace

from builders import NAN, named_cause, series

from nanautopsy.model import Series

OVERLAP = {"training": {"overlap_grad_reduce": True, "bf16": True}}
CALM = [1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 1.0, 1.0]


def ranks(tag: str, first: list[float], second: list[float]) -> tuple[Series, ...]:
    return replace(series(tag, first), rank=0), replace(series(tag, second), rank=1)


def test_a_gradient_beside_a_finite_loss_is_a_race() -> None:
    parts = (
        *ranks("loss", [*CALM, 1.0, NAN], [*CALM, 1.0, NAN]),
        *ranks("grad_norm", [*CALM, 1.0, NAN], [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) == "communication-race"


def test_a_loss_alone_is_that_ranks_batch() -> None:
    parts = (
        *ranks("loss", [*CALM, 1.0, NAN], [*CALM, NAN, NAN]),
        *ranks("grad_norm", [*CALM, NAN, NAN], [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) == "bad-input-data"


def test_a_gradient_without_its_loss_tells_neither() -> None:
    parts = (
        series("loss", [*CALM, 1.0, NAN]),
        *ranks("grad_norm", [*CALM, 1.0, NAN], [*CALM, NAN, NAN]),
    )
    assert named_cause(*parts, config=OVERLAP) is None
