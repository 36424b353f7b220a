"""Distributed checkpoints of two real ranks, against what torch itself reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rankfiles import by_name, checkpoint_of, records_in
from reading import of_type, problems_of

from nanautopsy.checkpoints.torch_distributed import READER
from nanautopsy.model import ConfigRecord, Record, TensorHealth

FIXTURES = Path(__file__).parents[1] / "fixtures" / "distributed"
SCENARIOS = sorted(
    p.parent.name
    for p in FIXTURES.glob("*/expected.json")
    if p.parent.name not in ("compressed", "megatron")
)
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run)


def expected_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / name / "expected.json").read_text())
    return found


def reported_name(key: str) -> str:
    """What is left of a name when the keys around the model and the optimizer are taken off."""
    for prefix in ("model.", "optim.state.", "state."):
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def assert_same(tensor: TensorHealth, facts: Mapping[str, Any]) -> None:
    assert list(tensor.shape) == facts["shape"]
    assert tensor.dtype == DTYPES[facts["dtype"]]
    assert (tensor.nan, tensor.pos_inf, tensor.neg_inf, tensor.zero) == tuple(
        facts.get(key, 0) for key in ("nan", "pos_inf", "neg_inf", "zero")
    )
    assert tensor.max_abs == facts["max_abs"]
    first = facts.get("first_nonfinite")
    assert tensor.first_nonfinite == (None if first is None else tuple(first))


@pytest.mark.parametrize("name", SCENARIOS)
def test_tensors_are_those_that_torch_loads(name: str) -> None:
    records = records_of(FIXTURES / name)
    assert problems_of(records) == []
    checkpoint = checkpoint_of(records)
    expected = expected_of(name)["tensors"]
    tensors = by_name(checkpoint)
    assert set(tensors) == {reported_name(key) for key in expected}
    for key, facts in expected.items():
        tensor = tensors[reported_name(key)]
        assert_same(tensor, facts)
        if "file" in facts:
            assert tensor.path == f"step-3/{facts['file']}"
            assert tensor.rank == int(facts["file"].split("_")[2])
    assert (checkpoint.kind, checkpoint.path) == ("torch-distributed", "step-3")
    assert (checkpoint.step, checkpoint.holds, checkpoint.missing) == (3, "model", ())


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("fsdp2", {"0.weight", "0.bias", "2.weight", "2.bias"}),
        ("trainer", {"2.weight", "2.bias"}),
    ],
)
def test_moments_bear_their_parameters_names(name: str, held: set[str]) -> None:
    tensors = by_name(checkpoint_of(records_of(FIXTURES / name)))
    assert {t.parameter for t in tensors.values() if t.part == "moment"} == held
    for weight in held:
        assert tensors[weight].part == "parameter"
        for moment in ("exp_avg", "exp_avg_sq"):
            tensor = tensors[f"{weight}.{moment}"]
            assert (tensor.part, tensor.parameter, tensor.moment) == ("moment", weight, moment)
            assert tensor.shape == tensors[weight].shape
        assert tensors[f"{weight}.step"].part == "state"


def test_a_planted_value_is_traced() -> None:
    bad = [
        t for t in checkpoint_of(records_of(FIXTURES / "fsdp2")).nonfinite if "mask" not in t.name
    ]
    assert {t.name for t in bad} == {"2.weight", "2.weight.exp_avg"}
    for tensor in bad:
        assert (tensor.first_nonfinite, tensor.nonfinite, tensor.rank) == ((2, 3), 1, 1)


def test_settings_of_the_optimizer_are_read() -> None:
    records = records_of(FIXTURES / "fsdp2")
    (config,) = of_type(records, ConfigRecord)
    assert config.kind == "optimizer"
    assert config.values["optimizer.0.lr"] == 0.01
    assert config.values["optimizer.0.betas.1"] == 0.999
    assert checkpoint_of(records).state["learning_rate"] == 0.01
