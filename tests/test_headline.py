"""The verdict in one sentence."""

from __future__ import annotations

import pytest

from nanautopsy.headline import headline
from nanautopsy.model import Finding, Onset, Source

LOG = Source("train.log", line=3)


def onset(**changes: object) -> Onset:
    known: dict[str, object] = {
        "step": 12, "last_finite": 11, "quantity": "loss", "value": "nan", "persistent": True,
        "layer": None, "layers": (), "rank": None, "masked": False, "how": "", "source": LOG,
    }  # fmt: skip
    return Onset(**(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "The loss went NaN at step 12."),
        ({"last_finite": 2}, "The loss went NaN by step 12 (last finite at step 2)."),
        ({"last_finite": None}, "The loss went NaN at step 12."),
        ({"step": None}, "The loss went NaN after step 11."),
        (
            {"step": None, "last_finite": None},
            "The loss went NaN at a step that no artifact states.",
        ),
        ({"value": "-inf", "quantity": "grad_norm"}, "The gradient norm went -Inf at step 12."),
        ({"layer": "h.3.mlp"}, "The loss went NaN at step 12, first in h.3.mlp."),
        ({"masked": True}, "The loss went NaN at step 12; the logged numbers hide it."),
        ({"persistent": False}, "The loss went NaN at step 12; finite values follow."),
        ({"quantity": "gradient"}, "A gradient went NaN at step 12."),
        ({"quantity": "edge/x"}, "edge/x went NaN at step 12."),
    ],
)
def test_a_run_that_went_nan(changes: dict[str, object], sentence: str) -> None:
    assert headline("non-finite", onset(**changes), ()) == sentence


def test_runs_that_did_not() -> None:
    assert headline("healthy", None, ()).startswith("Healthy: ")
    assert "loss" in headline("healthy", None, ())
    assert "loss" not in headline("healthy", None, (), loss_read=False)
    assert headline("undetermined", None, ()).startswith("Undetermined: ")
    finding = Finding("diverged-loss", "loss ends at about 9", LOG)
    assert headline("diverged", None, [finding]) == "Diverged while finite: loss ends at about 9."
