"""Which evidence was there, which was not, and how to collect it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import NAN, checkpoint, judge, make_run, series, tensor

from nanautopsy.coverage import cover
from nanautopsy.model import ArtifactReport, Coverage, Onset, Run, Source

BAD = series("loss", [3.0, NAN])


def covered(run: Run) -> Coverage:
    located = judge(run)
    return cover(run, located.verdict, located.onset)


def missing(run: Run) -> dict[str, str]:
    """What is missing, and how to collect it."""
    return {one.what: one.how_to_collect for one in covered(run).missing}


def test_nothing_was_seen() -> None:
    coverage = covered(make_run())
    assert coverage.seen == ()
    # Without a precision nobody knows whether there was a loss scaler to look for.
    assert {one.what for one in coverage.missing} == {
        "training loss", "gradient norm", "learning rate", "per-layer norms or activations",
        "checkpoints", "precision of the forward pass", "configuration", "library versions",
        "console output",
    }  # fmt: skip
    assert all(one.why_it_matters and one.how_to_collect for one in coverage.missing)


def test_what_was_seen_is_counted() -> None:
    run = make_run(
        BAD,
        series("train/loss", [3.0, 2.0]),
        series("lr", [1.0]),
        checkpoint(5, tensor("a"), tensor("b")),
        config={"training": {"fp16": True, "lr": 1e-4}},
        packages={"torch": "2.1.0"},
    )
    log = ArtifactReport("train.log", "text-log", 9, "read")
    skipped = ArtifactReport("other.log", "text-log", 9, "skipped")
    assert covered(replace(run, artifacts=(log, skipped))).seen == (
        "training loss: 2 series, 4 points",
        "learning rate: lr, 1 point",
        "checkpoints: 1 read, 2 tensors",
        "precision: F16 (training.json)",
        "configuration: 2 settings",
        "library versions: 1 package",
        "console output: 1 file",
    )


def test_a_healthy_run_misses_nothing() -> None:
    coverage = covered(make_run(series("loss", [3.0, 2.0])))
    assert coverage.seen == ("training loss: loss, 2 points",)
    assert coverage.missing == ()


def test_the_loss_scale_is_missed_only_in_float16() -> None:
    assert "loss scale" not in missing(make_run(BAD))
    assert "loss scale" not in missing(make_run(BAD, config={"training": {"bf16": True}}))
    assert "loss scale" in missing(make_run(BAD, config={"training": {"fp16": True}}))


def test_layers_are_not_missed_where_the_layer_is_known() -> None:
    onset = Onset(2, 1, "loss", "nan", True, "h.3", ("h.3",), None, False, "", Source("log"))
    coverage = cover(make_run(BAD), "non-finite", onset)
    assert "per-layer norms or activations" not in [one.what for one in coverage.missing]


@pytest.mark.parametrize(
    ("config", "packages", "words"),
    [
        ({"training": {"per_device_train_batch_size": 1}}, {"deepspeed": "0.1"}, "--logging_steps"),
        ({"deepspeed": {"steps_per_print": 1}}, {}, "get_global_grad_norm"),
        ({}, {"deepspeed": "0.14"}, "get_global_grad_norm"),
        ({}, {"pytorch-lightning": "2.0"}, "gradient_clip_val"),
        ({}, {"jax": "0.4", "flax": "0.8"}, "optax.global_norm"),
        ({}, {"jax": "0.4", "torch": "2.1"}, "clip_grad_norm_"),
        ({}, {}, "clip_grad_norm_"),
    ],
)
def test_advice_speaks_the_programs_language(
    config: dict[str, dict[str, str]], packages: dict[str, str], words: str
) -> None:
    run = make_run(BAD, config=config, packages=packages)  # type: ignore[arg-type]
    assert words in missing(run)["gradient norm"]
