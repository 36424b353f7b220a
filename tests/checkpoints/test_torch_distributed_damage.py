"""Distributed checkpoints with files lost, cut short, lying, or left by another save."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rankfiles import by_name, checkpoint_of, copied, records_in, texts_of
from reading import head_of, of_type, problems_of

from nanautopsy.checkpoints.torch_distributed import READER
from nanautopsy.model import Record, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "distributed"
STEP = "step-3"


def copy_of(name: str, folder: Path) -> Path:
    return copied(FIXTURES / name, folder)


def records_of(run: Path) -> list[Record]:
    return records_in(READER, run)


def test_a_missing_shard_costs_its_own_rows_only(tmp_path: Path) -> None:
    run = copy_of("fsdp2-bf16", tmp_path)
    (run / STEP / "__0_0.distcp").unlink()
    records = records_of(run)
    assert texts_of(records) == [
        f"{STEP}/__0_0.distcp: 4 chunks lost: the shard is not here",
        "4 tensors lack elements, the first is '0.weight' with 15 of 35",
    ]
    assert checkpoint_of(records).missing == ()
    assert by_name(checkpoint_of(records))["2.mask"].neg_inf == 1


def test_what_a_single_shard_held_is_missing_with_it(tmp_path: Path) -> None:
    run = copy_of("fsdp2-bf16", tmp_path)
    (run / STEP / "__1_0.distcp").unlink()
    assert checkpoint_of(records_of(run)).missing == ("2.mask",)


@pytest.mark.parametrize("how", ["absent", "empty", "cut"])
def test_without_metadata_tensors_are_read_and_nameless(tmp_path: Path, how: str) -> None:
    run = copy_of("two-dimensions", tmp_path)
    index = run / STEP / ".metadata"
    if how == "absent":
        index.unlink()
    else:
        os.truncate(index, 0 if how == "empty" else 70)
    records = records_of(run)
    checkpoint = checkpoint_of(records)
    shapes = {tensor.name: tensor.shape for tensor in checkpoint.tensors}
    assert shapes == {
        "__0_0[0]": (5, 4),
        "__0_0[1]": (3, 7),
        "__1_0[0]": (5, 3),
        "__1_0[1]": (2, 7),
        "__1_0[2]": (7,),
        "__1_0[3]": (7, 2),
        "__1_0[4]": (0, 4),
    }
    bad = by_name(checkpoint)["__1_0[0]"]
    assert (bad.first_nonfinite, bad.rank, bad.path) == ((3, 1), 1, f"{STEP}/__1_0.distcp")
    what = "is not here" if how == "absent" else "is damaged"
    assert any(f"the metadata {what}" in text for text in texts_of(records))


def test_objects_between_nameless_tensors_are_passed_over(tmp_path: Path) -> None:
    run = copy_of("fsdp2", tmp_path)
    whole = checkpoint_of(records_of(run))
    (run / STEP / ".metadata").unlink()
    checkpoint = checkpoint_of(records_of(run))
    assert sum(t.numel for t in checkpoint.tensors) == sum(t.numel for t in whole.tensors)
    assert sum(t.nan for t in checkpoint.tensors) == sum(t.nan for t in whole.tensors)


def test_compressed_chunks_are_said_to_be_unreadable() -> None:
    records = records_of(FIXTURES / "compressed")
    checkpoint = checkpoint_of(records)
    assert (checkpoint.tensors, checkpoint.missing) == ((), ("0.bias",))
    assert texts_of(records) == [
        f"{STEP}/__{rank}_0.distcp: 1 chunk lost: stored as stream.zstd/1, which is not read"
        for rank in (0, 1)
    ]


def test_shards_of_another_save_are_not_mixed_in(tmp_path: Path) -> None:
    run = copy_of("fsdp2-bf16", tmp_path)
    shutil.copy(run / STEP / "__1_0.distcp", run / STEP / "__2_0.distcp")
    (problem,) = problems_of(records_of(run))
    assert problem.source.path == f"{STEP}/__2_0.distcp"
    assert "left by another save" in problem.text


def test_metadata_of_another_save_is_found_out(tmp_path: Path) -> None:
    """Its chunks lie elsewhere: nothing is read from the wrong place."""
    run = copy_of("fsdp2-bf16", tmp_path)
    shutil.copy(FIXTURES / "two-dimensions" / STEP / ".metadata", run / STEP / ".metadata")
    records = records_of(run)
    checkpoint = checkpoint_of(records)
    assert set(checkpoint.missing) | {t.name for t in checkpoint.tensors} == {
        "columns",
        "rows",
        "replicated",
        "turned",
    }
    assert "columns" in checkpoint.missing
    assert any("the metadata says" in text for text in texts_of(records))


def test_other_files_called_metadata_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / ".metadata"
    path.write_bytes(b'{"kind": "other"}')
    assert READER.claim(head_of(path)) is None


def test_nothing_readable_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "__0_0.distcp").write_bytes(b"garbage" * 100)
    records = records_of(tmp_path)
    assert [s.reason for s in of_type(records, Skipped)] == ["no tensor of it can be read"]


def test_payloads_are_reported_and_inert(tmp_path: Path) -> None:
    run = copy_of("fsdp2-bf16", tmp_path)
    index = run / STEP / ".metadata"
    index.write_bytes(index.read_bytes()[:-1] + b"cos\nsystem\n(S'exit 1'\ntR0.")
    records = records_of(run)
    assert any("tries to call os.system('exit 1')" in text for text in texts_of(records))
    assert by_name(checkpoint_of(records))["0.weight"].shape == (7, 5)


@settings(max_examples=80)
@given(
    which=st.sampled_from([".metadata", "__0_0.distcp", "__1_0.distcp"]),
    at=st.integers(0, 8000),
    bits=st.integers(1, 255),
    count=st.integers(1, 4),
)
def test_flipped_bytes_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: str, at: int, bits: int, count: int
) -> None:
    run = copy_of("fsdp2-bf16", tmp_path_factory.mktemp("flipped"))
    path = run / STEP / which
    data = bytearray(path.read_bytes())
    for i in range(count):
        data[(at + 89 * i) % len(data)] ^= bits
    path.write_bytes(data)
    checkpoint = checkpoint_of(records_of(run))
    assert checkpoint.tensors or which == ".metadata"


@settings(max_examples=60)
@given(
    which=st.sampled_from([".metadata", "__0_0.distcp", "__1_0.distcp"]), end=st.integers(0, 7800)
)
def test_files_cut_anywhere_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: str, end: int
) -> None:
    run = copy_of("fsdp2-bf16", tmp_path_factory.mktemp("cut"))
    path = run / STEP / which
    if end >= path.stat().st_size:
        return
    os.truncate(path, end)
    records = records_of(run)
    assert problems_of(records)
    assert checkpoint_of(records).tensors
