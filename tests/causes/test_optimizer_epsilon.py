"""Adam's epsilon in float16, told without a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import NAN, named_cause, series

from nanautopsy import analyze

PURE = {"param_dtype": "float16", "optimizer": "adamw", "adam_epsilon": 1e-8}
DEAD = [NAN] * 9


@pytest.mark.parametrize(
    ("losses", "norms", "settings", "cause"),
    [
        ([2.3, *DEAD], [1.1, *DEAD], PURE, "optimizer-epsilon"),
        ([2.3, *DEAD], [1.1, *DEAD], {**PURE, "optimizer": "rmsprop"}, "optimizer-epsilon"),
        ([2.3, *DEAD], [1.1, *DEAD], {**PURE, "optimizer": "sgd"}, None),
        # In any format: a gradient of 0 over a root of 0.
        ([2.3, *DEAD], [1.1, *DEAD], {"optimizer": "adam", "eps": 0.0}, "optimizer-epsilon"),
        ([2.3] * 9 + [NAN], [1.1] * 9 + [NAN], {"optimizer": "adam", "eps": 0.0}, None),
        # What float16 holds.
        ([2.3, *DEAD], [1.1, *DEAD], {**PURE, "adam_epsilon": 1e-4}, None),
        # Before any update: the forward pass, and the backward pass.
        ([NAN, *DEAD], [NAN, *DEAD], PURE, "fp16-overflow"),
        # A scaler goes with float32 weights.
        ([2.3, *DEAD], [1.1, *DEAD], {"fp16": True, "optimizer": "adamw"}, None),
        # It would have shown at once.
        ([2.3] * 9 + [NAN], [1.1] * 9 + [NAN], PURE, None),
    ],
)
def test_the_first_update_kills_float16_weights(
    losses: list[float], norms: list[float], settings: dict[str, str | float], cause: str | None
) -> None:
    parts = series("loss", losses), series("grad_norm", norms)
    named = named_cause(*parts, config={"training": settings})
    assert named == cause if cause else named != "optimizer-epsilon"


def test_float16_without_autocast_dies_at_its_first_update() -> None:
    parts = series("loss", [4.4] + [NAN] * 8), series("grad_norm", [1.83] + [NAN] * 8)
    stated = {"precision": "torch.float16", "optimizer": "Adam", "optimizer.eps": 1e-8}
    assert named_cause(*parts, config={"training": stated}) == "optimizer-epsilon"
    mixed = {"amp": "float16", "optimizer": "Adam", "optimizer.eps": 1e-8}
    assert named_cause(*parts, config={"training": mixed}) != "optimizer-epsilon"


@pytest.mark.parametrize(
    ("first", "cause"), [("0.0", "fp16-overflow"), ("0.9", "optimizer-epsilon")]
)
def test_the_trainers_first_row_tells_of_its_very_first_step(
    tmp_path: Path, first: str, cause: str
) -> None:
    """Its filter adds the average so far for a loss that is NaN: of one finite loss a share is left
    in the row, and of none nothing."""
    rows = [first, *["0.0"] * 7]
    (tmp_path / "train.log").write_text(
        "".join(
            f"{{'loss': {loss}, 'grad_norm': nan, 'learning_rate': 0.0009, 'epoch': {i / 8}}}\n"
            for i, loss in enumerate(rows, 1)
        )
    )
    settings = PURE | {"logging_steps": 5, "torch_dtype": "float16", "logging_nan_inf_filter": True}
    (tmp_path / "training_args.json").write_text(json.dumps(settings))
    assert analyze(tmp_path).causes[0].id == cause
