"""Metadata of distributed checkpoints that says impossible things, and what names mean."""

from __future__ import annotations

from typing import Any

import pytest

from nanautopsy.checkpoints.dcp.metadata import entries_of
from nanautopsy.checkpoints.dcp.names import Meaning, meaning_of
from nanautopsy.checkpoints.pickle_data import Call, Global

MODULE = "torch.distributed.checkpoint.metadata"


def record(name: str, **state: Any) -> Call:
    return Call(Global(MODULE, name), state=state)


def metadata(size: Any, chunks: Any, offset: Any = (0, 0), info: Any = None) -> Call:
    described = record("TensorStorageMetadata", size=size, chunks=chunks)
    place = record("_StorageInfo", relative_path="__0_0.distcp", offset=0, length=10)
    index = record("MetadataIndex", fqn="w", offset=offset, index=0)
    return record(
        "Metadata",
        state_dict_metadata={"w": described},
        storage_data={index: place if info is None else info},
    )


def chunk(offsets: Any, sizes: Any) -> Call:
    return record("ChunkStorageMetadata", offsets=offsets, sizes=sizes)


def test_a_chunk_and_its_place() -> None:
    (entry,), unusable = entries_of(metadata((4, 2), [chunk((0, 0), (4, 2))]))
    assert unusable == []
    assert (entry.name, entry.path, entry.shape) == ("w", ("w",), (4, 2))
    assert entry.boxes == {(0, 0): (4, 2)}
    (place,) = entry.chunks
    assert (place.path, place.offset, place.length, place.corner) == ("__0_0.distcp", 0, 10, (0, 0))


@pytest.mark.parametrize(
    "size",
    [None, "ab", (-1, 2), (1.5, 2), (1 << 62, 1), (1 << 40, 1 << 40), (1,) * 65, (True, 2)],
)
def test_impossible_shapes_are_unusable(size: Any) -> None:
    assert entries_of(metadata(size, [])) == ([], ["w"])


@pytest.mark.parametrize(
    "boxes",
    [
        [chunk((0, 0), (5, 2))],
        [chunk((1, 0), (4, 2))],
        [chunk((0,), (4,))],
        [chunk(None, (4, 2)), chunk((0, 0), None), "chunk", None],
        [chunk((-1, 0), (4, 2))],
    ],
)
def test_boxes_outside_the_tensor_are_left_out(boxes: list[Any]) -> None:
    (entry,), _ = entries_of(metadata((4, 2), boxes))
    assert entry.boxes == {}


@pytest.mark.parametrize(
    "info",
    [
        record("_StorageInfo", relative_path=None, offset=0, length=10),
        record("_StorageInfo", relative_path="__0_0.distcp", offset=-1, length=10),
        record("_StorageInfo", relative_path="__0_0.distcp", offset=0, length=1 << 70),
        "info",
    ],
)
def test_impossible_places_are_left_out(info: Any) -> None:
    (entry,), _ = entries_of(metadata((4, 2), [chunk((0, 0), (4, 2))], info=info))
    assert entry.chunks == []


@pytest.mark.parametrize("value", [None, 3, "x", {}, Call(Global("a", "b")), record("Metadata")])
def test_other_pickles_list_nothing(value: Any) -> None:
    assert entries_of(value) == ([], [])


@pytest.mark.parametrize(
    ("name", "path", "meaning"),
    [
        ("model.0.weight", ("model", "0.weight"), Meaning("0.weight", "parameter")),
        # A module that is called ``model`` is part of the name.
        ("model.embed.weight", ("model.embed.weight",), Meaning("model.embed.weight", "parameter")),
        (
            "app.optim.state.0.weight.exp_avg",
            ("app", "optim", "state", "0.weight", "exp_avg"),
            Meaning("0.weight.exp_avg", "moment", "0.weight", "exp_avg"),
        ),
        (
            "state.layers.0.wq.weight.exp_avg_sq",
            ("state.layers.0.wq.weight.exp_avg_sq",),
            Meaning("layers.0.wq.weight.exp_avg_sq", "moment", "layers.0.wq.weight", "exp_avg_sq"),
        ),
        (
            "optimizer.state.exp_avg.decoder.layers.mlp.linear_fc1.weight",
            ("optimizer.state.exp_avg.decoder.layers.mlp.linear_fc1.weight",),
            Meaning(
                "decoder.layers.mlp.linear_fc1.weight.exp_avg",
                "moment",
                "decoder.layers.mlp.linear_fc1.weight",
                "exp_avg",
            ),
        ),
        (
            "chained_0.optimizer.state.fp32_param.embedding.weight",
            ("chained_0.optimizer.state.fp32_param.embedding.weight",),
            Meaning("embedding.weight.master", "master", "embedding.weight"),
        ),
        (
            "optimizer.distributed.dp_group_idx_0.gbuf_idx_0.bucket_idx_0.exp_avg",
            ("optimizer.distributed.dp_group_idx_0.gbuf_idx_0.bucket_idx_0.exp_avg",),
            Meaning(
                "optimizer.distributed.dp_group_idx_0.gbuf_idx_0.bucket_idx_0.exp_avg",
                "moment",
                moment="exp_avg",
            ),
        ),
        ("0.weight", ("0.weight",), Meaning("0.weight", "parameter")),
        # A layer may be called state.
        ("state.proj.weight", ("state.proj.weight",), Meaning("state.proj.weight", "parameter")),
        (
            "decoder.layers.mlp._extra_state",
            ("decoder.layers.mlp._extra_state",),
            Meaning("decoder.layers.mlp._extra_state", "state"),
        ),
        ("rng_state", ("rng_state",), Meaning("rng_state", "state")),
        ("opt.decoder.w", ("opt.decoder.w",), Meaning("opt.decoder.w", "parameter")),
        ("optim_0.lr", ("optim_0.lr",), Meaning("optim_0.lr", "state")),
        ("scheduler.base", ("scheduler", "base"), Meaning("scheduler.base", "state")),
        (
            "random_projection.w",
            ("random_projection.w",),
            Meaning("random_projection.w", "parameter"),
        ),
        (
            "sampler.proj.weight",
            ("sampler.proj.weight",),
            Meaning("sampler.proj.weight", "parameter"),
        ),
        (
            "optim.state.0.weight.step",
            ("optim", "state", "0.weight", "step"),
            Meaning("0.weight.step", "state"),
        ),
    ],
)
def test_what_names_mean(name: str, path: tuple[str, ...], meaning: Meaning) -> None:
    assert meaning_of(name, path) == meaning
