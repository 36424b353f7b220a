"""DeepSpeed checkpoints of two real ranks, against what DeepSpeed itself reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rankfiles import by_name, checkpoint_of, records_in
from reading import problems_of

from nanautopsy.checkpoints.deepspeed_zero import READER
from nanautopsy.model import (
    Record,
    TensorHealth,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "deepspeed"
SCENARIOS = sorted(p.parent.name for p in FIXTURES.glob("*/expected.json"))
FLAT = [name for name in SCENARIOS if name.startswith(("zero1", "zero2", "zero3", "moe"))]
TAG = "global_step3"


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run, TAG + "/")


def expected_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / name / "expected.json").read_text())
    return found


def assert_same(tensor: TensorHealth, facts: Mapping[str, Any]) -> None:
    assert list(tensor.shape) == facts["shape"]
    assert (tensor.nan, tensor.pos_inf, tensor.neg_inf, tensor.zero) == tuple(
        facts[key] for key in ("nan", "pos_inf", "neg_inf", "zero")
    )
    assert tensor.max_abs == facts["max_abs"]
    first = facts["first_nonfinite"]
    assert tensor.first_nonfinite == (None if first is None else tuple(first))


@pytest.mark.parametrize("name", SCENARIOS)
def test_everything_is_read(name: str) -> None:
    records = records_of(FIXTURES / name)
    assert problems_of(records) == []
    checkpoint = checkpoint_of(records)
    assert checkpoint.kind == "deepspeed-zero"
    assert checkpoint.path == TAG
    assert checkpoint.step == 3
    assert checkpoint.missing == ()


@pytest.mark.parametrize("name", SCENARIOS)
def test_weights_are_those_that_torch_loads(name: str) -> None:
    tensors = by_name(checkpoint_of(records_of(FIXTURES / name)))
    for path, module in expected_of(name)["model"].items():
        for key, facts in module.items():
            layer = str(int(path.split("-")[0].split("_")[1])) if "-" in path else ""
            tensor = tensors[f"{layer}.{key}" if layer else key]
            assert_same(tensor, facts)
            assert tensor.part == ("buffer" if key == "mask" else "parameter")


@pytest.mark.parametrize("kind", ["master", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("name", [n for n in FLAT if n != "moe"])
def test_optimizer_state_is_mapped_as_deepspeed_maps_it(name: str, kind: str) -> None:
    tensors = by_name(checkpoint_of(records_of(FIXTURES / name)))
    expected = expected_of(name)
    trained = expected["exp_avg"]
    assert trained
    mapped = {t.parameter for t in tensors.values() if t.name.endswith(f".{kind}")}
    assert mapped == set(trained)
    for parameter in trained:
        tensor = tensors[f"{parameter}.{kind}"]
        assert tensor.part == ("master" if kind == "master" else "moment")
        assert tensor.moment == (None if kind == "master" else kind)
        assert tensor.dtype == "F32"
        facts = expected[kind][parameter]
        if facts["dtype"] == "float32":
            assert_same(tensor, facts)


@pytest.mark.parametrize("name", [n for n in FLAT if n != "moe"])
def test_what_the_optimizer_does_not_hold_is_not_mapped(name: str) -> None:
    expected = expected_of(name)
    tensors = checkpoint_of(records_of(FIXTURES / name)).tensors
    assert not [t for t in tensors if t.part == "state"]
    weights = {t.name for t in tensors if t.part in ("parameter", "buffer")}
    if name.startswith("zero3"):
        trained = set(expected["exp_avg"])
        assert weights - {"mask"} == set(expected["master"]) - trained - {"mask"}
    else:
        assert weights >= set(expected["master"])


@pytest.mark.parametrize(
    ("name", "parameter", "index", "kinds"),
    [
        ("zero2-bf16-planted", "b.weight", (1, 4), {"master", "exp_avg", "exp_avg_sq"}),
        ("zero2-bf16-planted-0.14.2", "b.weight", (1, 4), {"master", "exp_avg", "exp_avg_sq"}),
        ("zero2-round-robin", "a.weight", (4, 2), {"master", "exp_avg", "exp_avg_sq"}),
        ("zero2-aligned", "norm.bias", (2,), {"master", "exp_avg", "exp_avg_sq"}),
        ("zero2-fp32-planted", "a.bias", (5,), {"master", "exp_avg"}),
        ("zero3-bf16-planted", "b.weight", (1, 4), {"master", "exp_avg"}),
        ("zero3-fp32-subgroups", "a.weight", (6, 4), {"master", "exp_avg_sq"}),
    ],
)
def test_a_planted_value_is_traced(
    name: str, parameter: str, index: tuple[int, ...], kinds: set[str]
) -> None:
    (path,) = expected_of(name)["ranks"]
    rank = int(path.split("zero_pp_rank_")[1].split("_")[0])
    bad = [t for t in checkpoint_of(records_of(FIXTURES / name)).nonfinite if t.name != "mask"]
    flat = [t for t in bad if t.part in ("master", "moment")]
    assert {t.name for t in flat} == {f"{parameter}.{kind}" for kind in kinds}
    for tensor in flat:
        assert tensor.parameter == parameter
        assert tensor.first_nonfinite == index
        assert tensor.nonfinite == 1
        assert tensor.rank == rank
        assert tensor.path == f"{TAG}/{path}"
    assert {t.name for t in bad} - {t.name for t in flat} <= {parameter}
