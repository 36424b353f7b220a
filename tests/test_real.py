"""The public artifacts that others left behind, against what is known of each.

The folder is no part of the project; where it is absent these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nanautopsy import analyze

HEALTHY = (
    "bigscience-out",
    "cs6910-ok",
    "d2-gdp",
    "dsx-chat-step1",
    "dsx-randomltd-ok",
    "lf-ok-glm2",
    "lf-ok-news",
    "llava-pbs",
    "megatron-golden",
    "megatron-tb",
    "mup-csv",
    "nanogpt-csv",
    "pinn-ok",
    "safetensors-samples",
    "tensorboard-testdata",
    "wandb-fixtures",
)
DIVERGED = ("caffe-bad-div", "pinn-v12")
NON_FINITE = {
    # One of its four ranks is NaN a step before the rank that its description follows.
    "astra-temp1decay1": 13,
    "autotrainer-case26": 0,
    "cs6910-mom-nan": 0,
    "cs6910b-inf": 1,
    "dsx-randomltd-nan": 4,
    "lf-fp16-a": 1,
    "lf-single-nan-a": 16,
    "wandb-nan-fixture": 1,
}


@pytest.mark.real
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_alone(real: Path, name: str) -> None:
    autopsy = analyze(real / name)
    assert autopsy.verdict == "healthy"
    assert autopsy.causes == ()


@pytest.mark.real
@pytest.mark.parametrize("name", DIVERGED)
def test_a_run_that_diverged_while_finite(real: Path, name: str) -> None:
    assert analyze(real / name).verdict == "diverged"


@pytest.mark.real
@pytest.mark.parametrize("name", NON_FINITE)
def test_the_first_nonfinite_step(real: Path, name: str) -> None:
    autopsy = analyze(real / name)
    assert autopsy.verdict == "non-finite"
    assert autopsy.onset is not None
    assert autopsy.onset.step == NON_FINITE[name]


@pytest.mark.real
def test_a_masked_loss_is_told_from_a_loss_that_is_zero(real: Path) -> None:
    hidden, zero = analyze(real / "lf-fp16-a").onset, analyze(real / "lf-single-nan-a").onset
    assert hidden is not None
    assert zero is not None
    assert (hidden.masked, zero.masked) == (True, False)
    assert zero.quantity == "grad_norm"


@pytest.mark.real
def test_a_torch_file_is_read_in_full(real: Path) -> None:
    autopsy = analyze(real / "resnet-th")
    assert autopsy.verdict == "healthy"
    assert [len(c.tensors) for c in autopsy.run.checkpoints] == [97]


@pytest.mark.real
def test_damaged_artifacts_are_no_verdict(real: Path) -> None:
    autopsy = analyze(real / "smdebug-corrupt")
    assert autopsy.verdict == "undetermined"
    assert any(report.problems for report in autopsy.run.artifacts)
