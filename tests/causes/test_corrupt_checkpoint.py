"""A few absurd weights before training: damage, unless the first loss was ordinary with them."""

from __future__ import annotations

import pytest
from builders import INF, NAN, checkpoint, named_cause, series, tensor

FLIPPED = checkpoint(
    0,
    tensor("a", (64, 64)),
    tensor("b", (64, 64)),
    tensor("c", (64, 64), max_abs=2e18, rms=2e18 * 2**0.5 / 64),
)


@pytest.mark.parametrize("loss", [[INF, NAN, NAN], [4e16, NAN, NAN]])
def test_flipped_exponents(loss: list[float]) -> None:
    assert named_cause(FLIPPED, series("loss", loss)) == "corrupt-checkpoint"


def test_a_first_loss_that_is_ordinary_clears_the_weights() -> None:
    """A table of frequencies is meant to be so; what killed the run came later."""
    assert named_cause(FLIPPED, series("loss", [1.4, NAN, NAN])) is None
