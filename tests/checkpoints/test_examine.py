"""Which checkpoints are measured, which are inferred, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.examine import examine
from nanautopsy.checkpoints.lineages import home, lineages
from nanautopsy.checkpoints.stored import Holds, Piece, StoredCheckpoint, StoredTensor
from nanautopsy.model import Artifact, Checkpoint, Depth, Problem, Reading


def stored(
    path: str,
    step: int | None,
    tensors: dict[str, list[float]] | None = None,
    holds: Holds = "model",
) -> StoredCheckpoint:
    tensors = {"layer.weight": [1.0, 2.0]} if tensors is None else tensors
    return StoredCheckpoint(
        path=path,
        kind="safetensors",
        step=step,
        tensors=tuple(_tensor(path, name, values) for name, values in tensors.items()),
        holds=holds,
    )


def _tensor(path: str, name: str, values: list[float]) -> StoredTensor:
    data = np.array(values, dtype=np.float32).tobytes()
    piece = Piece(MemoryFile(path, data), 0, (len(values),))
    part = "moment" if name.endswith("exp_avg") else "parameter"
    return StoredTensor(name, "F32", (len(values),), (piece,), part=part)


def reading(*checkpoints: StoredCheckpoint) -> Reading:
    artifact = Artifact("c", "safetensors", "safetensors", (("c", Path("c")),), 0)
    return Reading(artifact, checkpoints, ())


def examined(
    *checkpoints: StoredCheckpoint, everything: bool = False, depth: Depth = "full"
) -> dict[str, Checkpoint]:
    (result,) = examine([reading(*checkpoints)], everything=everything, depth=depth)
    return {c.path: c for c in result.records if isinstance(c, Checkpoint)}


def history(count: int, bad: set[int]) -> list[StoredCheckpoint]:
    return [
        stored(
            f"checkpoint-{100 * i}/model.safetensors",
            100 * i,
            {"layer.weight": [1.0, float("nan") if i in bad else 2.0]},
        )
        for i in range(count)
    ]


def read(found: dict[str, Checkpoint]) -> list[int]:
    return [c.step or 0 for c in found.values() if c.depth is not None]


def test_a_short_history_is_read_entirely() -> None:
    assert len(read(examined(*history(5, {4})))) == 5


def test_a_long_history_is_bisected() -> None:
    found = examined(*history(64, set(range(41, 64))), depth="finite")
    assert 4000 in read(found) and 4100 in read(found)
    assert len(read(found)) <= 2 + 6
    between = found["checkpoint-5000/model.safetensors"]
    assert between.depth is None and not between.tensors
    assert "not read" in between.inferred and "non-finite" in between.inferred


def test_everything_means_everything() -> None:
    assert len(read(examined(*history(20, {19}), everything=True))) == 20


def test_a_restart_from_a_good_one_is_not_inferred_away() -> None:
    found = examined(*history(32, {10, 11, 12, 31}), depth="finite")
    assert found["checkpoint-3100/model.safetensors"].nonfinite
    for checkpoint in found.values():
        if checkpoint.depth is None and "are finite" in checkpoint.inferred:
            assert "read around it" in checkpoint.inferred


def test_full_where_the_diagnosis_compares() -> None:
    found = examined(*history(16, {15}))
    full = [c.step for c in found.values() if c.depth == "full"]
    assert {0, 1400, 1500} <= set(full)


def test_the_finite_depth_is_never_exceeded() -> None:
    found = examined(*history(16, {15}), depth="finite")
    assert {c.depth for c in found.values()} == {"finite", None}


def test_infinities_by_design_do_not_turn_a_history() -> None:
    bias = {"logits_bias": [float("-inf"), 0.5]}
    tensors = {"layer.weight": [1.0]} | bias
    found = examined(*(stored(f"step_{i}.safetensors", i, tensors) for i in range(1, 20)))
    assert 3 <= len(read(found)) < 19
    assert all("are finite" in c.inferred for c in found.values() if c.depth is None), (
        "the members between are inferred to be as sound as those that were read"
    )


def test_two_models_beside_each_other_are_two_lineages() -> None:
    both = [
        stored(f"{model}_{step}.safetensors", step) for model in "GD" for step in (100, 200, 300)
    ]
    assert [[c.path for c in line] for line in lineages(both)] == [
        [f"G_{step}.safetensors" for step in (100, 200, 300)],
        [f"D_{step}.safetensors" for step in (100, 200, 300)],
    ]


def test_epochs_without_steps_are_one_lineage_in_order() -> None:
    saved = [stored(f"checkpoint{epoch}.pt", None) for epoch in (10, 2, 1)]
    (line,) = lineages(saved)
    assert [c.path for c in line] == ["checkpoint1.pt", "checkpoint2.pt", "checkpoint10.pt"]


@pytest.mark.parametrize(
    "names",
    [
        ["ck-01.weights.h5", "ck-02.weights.h5", "ck-10.weights.h5"],
        ["weights.01-0.93.h5", "weights.02-0.51.h5", "weights.03-1.20.h5"],
        ["epoch=1-val_loss=0.93.ckpt", "epoch=2-val_loss=0.51.ckpt"],
    ],
)
def test_what_a_save_scored_does_not_part_it_from_the_others(names: list[str]) -> None:
    (line,) = lineages([stored(name, None) for name in reversed(names)])
    assert [c.path for c in line] == names


def test_models_of_several_sizes_are_no_history() -> None:
    """Of a history few are read; each of these has to be."""
    names = [f"resnet{depth}.pth" for depth in (18, 34, 50, 101, 152)]
    names += [f"lr_{rate}_epoch3.pt" for rate in (0.1, 0.01)]
    assert len(lineages([stored(name, None) for name in names])) == len(names)


def test_home_of_a_checkpoint() -> None:
    assert home("checkpoint-5/model.safetensors") == "checkpoint-5"
    assert home("checkpoint-5/global_step5") == "checkpoint-5/global_step5"


def test_an_optimizer_state_is_looked_at_where_the_weights_turn() -> None:
    weights = history(64, set(range(41, 64)))
    moments = [
        stored(
            f"checkpoint-{100 * i}/optimizer.safetensors",
            100 * i,
            {"layer.weight.exp_avg": [float("nan") if i >= 41 else 0.0]},
            holds="optimizer",
        )
        for i in range(64)
    ]
    found = examined(*weights, *moments, depth="finite")
    of_optimizer = [p for p, c in found.items() if "optimizer" in p and c.depth is not None]
    assert len(of_optimizer) == 4


def test_a_tensor_that_cannot_be_read_is_told_once() -> None:
    cut = StoredTensor("w", "F32", (8,), (Piece(MemoryFile("m", bytes(8)), 0, (8,)),))
    checkpoint = StoredCheckpoint("m", "safetensors", 1, (cut,))
    (result,) = examine([reading(checkpoint)])
    (measured,) = [c for c in result.records if isinstance(c, Checkpoint)]
    assert measured.missing == ("w",)
    assert [type(p) for p in result.problems] == [Problem]


class Gauge:
    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.advanced = 0

    def begin(self, path: str, nbytes: int) -> None:
        self.begun.append((path, nbytes))

    def advance(self, nbytes: int) -> None:
        self.advanced += nbytes


def test_progress_is_told() -> None:
    gauge = Gauge()
    examine([reading(*history(3, set()))], progress=gauge)
    assert len(gauge.begun) == 3
    assert gauge.advanced == sum(nbytes for _, nbytes in gauge.begun) == 24
