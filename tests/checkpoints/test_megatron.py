"""Megatron-LM's layout: keys transcribed from its source, tensors of real optimizers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rankfiles import by_name, checkpoint_of, copied, records_in, texts_of
from reading import head_of, of_type

from nanautopsy.checkpoints.megatron import READER
from nanautopsy.model import ConfigRecord, Record

FIXTURE = Path(__file__).parents[1] / "fixtures" / "distributed" / "megatron"
STEP = "iter_0000003"
WIDE = "decoder.layers.0.mlp.linear_fc1.weight"


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run)


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())
    return found


def test_both_ranks_are_one_checkpoint() -> None:
    records = records_of(FIXTURE)
    assert texts_of(records) == []
    checkpoint = checkpoint_of(records)
    assert (checkpoint.path, checkpoint.kind, checkpoint.step) == (STEP, "megatron", 3)
    assert checkpoint.state == {"global_step": 3, "learning_rate": 0.01}
    tensors = by_name(checkpoint)
    for part, held in expected().items():
        for name, facts in held["model"].items():
            tensor = tensors[f"{name}@{part}"]
            assert (list(tensor.shape), tensor.max_abs) == (facts["shape"], facts["max_abs"])
            assert (tensor.nan, tensor.dtype) == (facts.get("nan", 0), "BF16")
            assert tensor.path == f"{STEP}/{part}/model_optim_rng.pt"
        for name, facts in held["exp_avg"].items():
            tensor = tensors[f"{name}@{part}.exp_avg"]
            assert (tensor.parameter, tensor.moment) == (f"{name}@{part}", "exp_avg")
            assert (tensor.max_abs, tensor.nan) == (facts["max_abs"], facts.get("nan", 0))


def test_the_planted_value_is_in_one_part() -> None:
    bad = [t for t in checkpoint_of(records_of(FIXTURE)).nonfinite if t.part != "master"]
    assert {t.name for t in bad} == {f"{WIDE}@mp_rank_01", f"{WIDE}@mp_rank_01.exp_avg"}
    assert {t.first_nonfinite for t in bad} == {(2, 1)}


def test_arguments_are_settings() -> None:
    configs = {config.kind: config.values for config in of_type(records_of(FIXTURE), ConfigRecord)}
    assert configs["training"]["bf16"] is True
    assert configs["optimizer"]["optimizer.0.weight_decay"] == 0.01


def test_a_missing_rank_is_said(tmp_path: Path) -> None:
    run = copied(FIXTURE, tmp_path)
    shutil.rmtree(run / STEP / "mp_rank_00")
    records = records_of(run)
    assert texts_of(records) == ["files of 1 of 2 model-parallel ranks can be read"]
    assert by_name(checkpoint_of(records))[WIDE].first_nonfinite == (2, 1)


@pytest.mark.parametrize("name", ["mp_rank_00/other.pt", "rank_0/model_optim_rng.pt"])
def test_other_files_are_left_alone(name: str) -> None:
    path = FIXTURE / STEP / "mp_rank_00" / "model_optim_rng.pt"
    assert READER.claim(head_of(path, name)) is None
    assert READER.claim(head_of(path, "mp_rank_00/model_optim_rng.pt")) is not None
