"""DeepSpeed checkpoints of two real ranks, against what DeepSpeed itself reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rankfiles import by_name, checkpoint_of, copied, records_in
from reading import of_type, problems_of

from nanautopsy import analyze
from nanautopsy.checkpoints.deepspeed_zero import READER
from nanautopsy.checkpoints.stored import StoredCheckpoint
from nanautopsy.discover import discover
from nanautopsy.model import ConfigRecord, EnvironmentRecord, Record, TensorHealth

FIXTURES = Path(__file__).parents[1] / "fixtures" / "deepspeed"
SCENARIOS = sorted(
    p.parent.name for p in FIXTURES.glob("*/expected.json") if p.parent.name != "universal"
)
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
        facts.get(key, 0) for key in ("nan", "pos_inf", "neg_inf", "zero")
    )
    assert tensor.max_abs == facts["max_abs"]
    first = facts.get("first_nonfinite")
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zero0-fp16", {"loss_scale": 256, "zero_stage": 0, "skipped_steps": 0}),
        (
            "zero2-fp16-overflow",
            {"loss_scale": 128, "zero_stage": 2, "skipped_steps": 1, "overflow": True},
        ),
        (
            "zero3-fp16-frozen",
            {"loss_scale": 256, "zero_stage": 3, "overflow": False, "skipped_steps": 0},
        ),
        ("zero1-bf16-optimizer", {"zero_stage": 1, "skipped_steps": 0}),
        (
            "pipeline",
            {
                "loss_scale": 256,
                "zero_stage": 1,
                "world_size": 1,
                "skipped_steps": 0,
                "overflow": False,
            },
        ),
    ],
)
def test_numbers_beside_the_tensors(name: str, expected: dict[str, Any]) -> None:
    state = dict(checkpoint_of(records_of(FIXTURES / name)).state)
    assert state.pop("learning_rate") == 0.01
    assert state == {"global_step": 3, "epoch": 1, "world_size": 2} | expected


@pytest.mark.parametrize("name", FLAT)
def test_numbers_are_those_that_the_files_state(name: str) -> None:
    state = checkpoint_of(records_of(FIXTURES / name)).state
    stated = expected_of(name)["state"]
    assert state["global_step"] == stated["global_steps"]
    assert state["skipped_steps"] == stated["skipped_steps"]
    assert state["world_size"] == stated["dp_world_size"]
    assert state.get("loss_scale") == stated["loss_scale"]
    assert state.get("overflow") == stated["overflow"]


def test_settings_and_version() -> None:
    records = records_of(FIXTURES / "zero2-bf16-planted-0.14.2")
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"deepspeed": "0.14.2"}
    configs = {config.kind: config.values for config in of_type(records, ConfigRecord)}
    assert configs["deepspeed"]["zero_optimization.stage"] == 2
    assert configs["deepspeed"]["bf16.enabled"] is True
    assert configs["optimizer"]["optimizer.0.weight_decay"] == 0.1
    assert configs["optimizer"]["optimizer.0.eps"] == 1e-08


@pytest.mark.parametrize("name", ["moe", "pipeline"])
def test_masters_are_the_weights_before_rounding(name: str) -> None:
    """DeepSpeed's own tool reads neither; the weights that it rounded from them tell."""
    tensors = by_name(checkpoint_of(records_of(FIXTURES / name)))
    weights = [t for t in tensors.values() if t.part == "parameter"]
    assert {t.parameter for t in tensors.values() if t.part == "master"} == {
        t.name for t in weights
    }
    for weight in weights:
        master = tensors[f"{weight.name}.master"]
        assert (master.shape, weight.dtype) == (weight.shape, "F16")
        assert np.float16(master.max_abs) == weight.max_abs
        assert tensors[f"{weight.name}.exp_avg_sq"].shape == weight.shape


def test_experts_bear_the_numbers_of_their_files() -> None:
    tensors = by_name(checkpoint_of(records_of(FIXTURES / "moe")))
    for rank in (0, 1):
        name = f"moe.deepspeed_moe.experts.deepspeed_experts.{rank}.weight"
        assert tensors[name].path == f"{TAG}/layer_0_expert_{rank}_mp_rank_00_model_states.pt"
        assert tensors[f"{name}.master"].path.startswith(f"{TAG}/zero_pp_rank_{rank}_")


def test_a_pipeline_stage_is_no_rank() -> None:
    """Stage 1's only data-parallel rank is called 0 in its file's name."""
    tensors = by_name(checkpoint_of(records_of(FIXTURES / "pipeline")))
    assert tensors["2.weight.master"].path == f"{TAG}/zero_pp_rank_0_mp_rank_01_optim_states.pt"
    assert {tensor.rank for tensor in tensors.values()} == {None}


@pytest.mark.parametrize(
    ("name", "parameter", "held"),
    [("zero3-bf16-planted", "b.weight", 10), ("zero3-bf16-planted", "a.weight", 17)],
)
def test_padding_is_no_finding(tmp_path: Path, name: str, parameter: str, held: int) -> None:
    """Behind the second rank's slice lies an element of no parameter."""
    run = copied(FIXTURES / name, tmp_path)
    (artifact,) = discover(run, [READER]).artifacts
    (stored,) = of_type(READER.read(artifact), StoredCheckpoint)
    (moment,) = [t for t in stored.tensors if t.name == f"{parameter}.exp_avg_sq"]
    piece = moment.pieces[-1]
    assert (piece.rank, piece.shape) == (1, (held,))
    path = tmp_path / "run" / piece.file.path
    data = bytearray(path.read_bytes())
    place = piece.offset + 4 * held
    data[place : place + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    assert by_name(checkpoint_of(records_of(run)))[moment.name].nonfinite == 0


def test_tensor_parallel_parts_are_told_apart(tmp_path: Path) -> None:
    """Megatron-DeepSpeed's names; the parts are copies of one, so that all their names agree."""
    run = copied(FIXTURES / "pipeline", tmp_path)
    for path in list((run / TAG).iterdir()):
        if path.name.startswith("layer_"):
            for part in ("00", "01"):
                name = path.name.replace("-model", f"-model_{part}-model")
                (run / TAG / name).write_bytes(path.read_bytes())
            path.unlink()
    (run / TAG / "mp_rank_01_model_states.pt").write_bytes(
        (run / TAG / "mp_rank_00_model_states.pt").read_bytes()
    )
    optimizer = run / TAG / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    optimizer.with_name("zero_pp_rank_0_mp_rank_01_optim_states.pt").write_bytes(
        optimizer.read_bytes()
    )
    records = records_of(run)
    assert problems_of(records) == []
    tensors = by_name(checkpoint_of(records))
    assert {"0.weight@model_00", "0.weight@model_01"} <= set(tensors)
    moment = tensors["0.weight@mp_rank_01.exp_avg"]
    assert (moment.parameter, moment.moment) == ("0.weight@mp_rank_01", "exp_avg")
    assert len(tensors) == 6 * 2 + 2 * 3 * 2


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("zero0-fp16", ("exp_avg", "exp_avg_sq", "master")),
        ("zero0-fp32", ("exp_avg", "exp_avg_sq")),
    ],
)
def test_without_zero_the_optimizer_follows_the_module(name: str, kinds: tuple[str, ...]) -> None:
    tensors = by_name(checkpoint_of(records_of(FIXTURES / name)))
    weights = [t for t in tensors.values() if t.part == "parameter"]
    assert len(weights) == 7
    for weight in weights:
        for kind in kinds:
            tensor = tensors[f"{weight.name}.{kind}"]
            assert (tensor.parameter, tensor.shape) == (weight.name, weight.shape)
            assert tensor.moment == (None if kind == "master" else kind)
        if "master" in kinds:
            assert np.float16(tensors[f"{weight.name}.master"].max_abs) == weight.max_abs


@pytest.mark.parametrize(
    ("name", "rank"),
    [("zero2-bf16-planted", None), ("zero3-bf16-planted", 1)],
)
def test_analyze_places_the_onset(name: str, rank: int | None) -> None:
    """Stage 2 has the weights whole, on every rank alike; stage 3 only as slices of one rank."""
    autopsy = analyze(FIXTURES / name)
    assert autopsy.verdict == "non-finite"
    assert autopsy.onset is not None
    assert (autopsy.onset.layer, autopsy.onset.step) == ("b.weight", 3)
    assert rank is None or autopsy.onset.rank == rank
    assert autopsy.run.packages["deepspeed"].version == "0.19.8"


def test_optimizer_files_alone_say_how_many_ranks_share_the_state(tmp_path: Path) -> None:
    run = copied(FIXTURES / "zero2-bf16-planted", tmp_path)
    (run / TAG / "mp_rank_00_model_states.pt").unlink()
    assert checkpoint_of(records_of(run)).state["world_size"] == 2
