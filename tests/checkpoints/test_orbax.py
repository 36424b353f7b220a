"""Orbax: what the library restores, from every store, and what a broken one still gives."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_artifact
from stored_facts import check_damaged, check_expected, checkpoint_of

from nanautopsy.checkpoints.orbax import READER
from nanautopsy.discover import discover
from nanautopsy.model import FileHead, Record, Series, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "orbax"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
STORES = ("zarr2", "zarr3", "ocdbt-zarr3", "chunked")


def read_directory(path: Path) -> list[list[Record]]:
    return [read_artifact(READER, artifact) for artifact in discover(path, [READER]).artifacts]


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / name, tmp_path / "run" / name))


@pytest.mark.parametrize("name", [*STORES, "checkpoints/30/state"])
def test_trees_are_what_orbax_restores(name: str) -> None:
    (records,) = read_directory(FIXTURES / name)
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED[name])
    assert not problems_of(records) and not checkpoint.missing
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert tensors["params.Dense_0.kernel"].first_nonfinite == (3, 2)
    assert tensors["params.Dense_0.kernel"].part == "parameter"
    assert tensors["opt_state.0.nu.Dense_0.kernel"].parameter == "params.Dense_0.kernel"
    assert tensors["opt_state.0.nu.Dense_0.kernel"].moment == "nu"
    assert tensors["opt_state.0.count"].part == tensors["step"].part == "state"
    assert checkpoint.holds == "model"


def test_a_managed_checkpoint_is_a_tree_and_metrics_with_their_step() -> None:
    discovery = discover(FIXTURES / "checkpoints", [READER])
    assert not discovery.unclaimed
    beside, tree = (read_artifact(READER, artifact) for artifact in discovery.artifacts)
    series = {found.tag: found for found in of_type(beside, Series)}
    assert set(series) == {"loss", "eval.accuracy"}
    assert series["loss"].steps.tolist() == [30] and series["loss"].values[0] != 2.5
    checkpoint = checkpoint_of(tree)
    assert (checkpoint.path, checkpoint.step) == ("30/state", 30)


def test_an_unfinished_save_is_told(tmp_path: Path) -> None:
    name = "30.orbax-checkpoint-tmp-1763700000000000"
    shutil.copytree(FIXTURES / "zarr2", tmp_path / name)
    (tmp_path / name / "commit_success.txt").unlink()
    (records,) = read_directory(tmp_path)
    assert "saving did not finish" in problems_of(records)[0].text
    assert checkpoint_of(records).step == 30


def test_no_time_of_commit_is_an_unfinished_save(tmp_path: Path) -> None:
    root = copied("zarr2", tmp_path)
    (root / "commit_success.txt").unlink()
    path = root / "_CHECKPOINT_METADATA"
    stated = json.loads(path.read_text())
    stated["commit_timestamp_nsecs"] = None
    path.write_text(json.dumps(stated))
    (records,) = read_directory(tmp_path)
    assert "no time of commit" in problems_of(records)[0].text


def test_a_marker_that_is_absent_alone_means_nothing(tmp_path: Path) -> None:
    (copied("zarr2", tmp_path) / "commit_success.txt").unlink()
    (records,) = read_directory(tmp_path)
    assert not problems_of(records)


@pytest.mark.parametrize("name", STORES)
def test_the_tree_is_told_without_the_library_for_zstd(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    (records,) = read_directory(FIXTURES / name)
    checkpoint = checkpoint_of(records)
    assert not checkpoint.tensors
    assert set(checkpoint.missing) == set(EXPECTED[name])
    (problem,) = problems_of(records)
    assert "pip install zstandard" in problem.text and "numpy.savez" in problem.text


def test_a_lost_chunk(tmp_path: Path) -> None:
    root = copied("chunked", tmp_path)
    (root / "params.Dense_0.kernel" / "c" / "0" / "2").unlink()
    (records,) = read_directory(tmp_path)
    assert any("1 of its chunks are not here" in problem.text for problem in problems_of(records))
    health = {tensor.name: tensor for tensor in checkpoint_of(records).tensors}
    assert health["params.Dense_0.kernel"].neg_inf == 1
    assert health["params.Dense_0.kernel"].nan == 0  # it stood in what was lost


def test_chunks_of_nothing_but_zeros_may_be_absent(tmp_path: Path) -> None:
    root = copied("zarr2", tmp_path)
    path = root / "_METADATA"
    tree = json.loads(path.read_text())
    tree["store_array_data_equal_to_fill_value"] = False
    path.write_text(json.dumps(tree))
    (root / "params.Dense_0.bias" / "0").unlink()
    (records,) = read_directory(tmp_path)
    health = {tensor.name: tensor for tensor in checkpoint_of(records).tensors}
    assert not problems_of(records)
    assert health["params.Dense_0.bias"].zero == 7


def test_an_array_that_is_gone(tmp_path: Path) -> None:
    root = copied("zarr3", tmp_path)
    shutil.rmtree(root / "params.head.kernel")
    (records,) = read_directory(tmp_path)
    assert checkpoint_of(records).missing == ("params.head.kernel",)
    assert "1 of 11 arrays of the tree are not in the store" in problems_of(records)[0].text


@pytest.mark.parametrize("gone", ["manifest.ocdbt", "d"])
def test_a_database_in_pieces(tmp_path: Path, gone: str) -> None:
    root = copied("ocdbt-zarr3", tmp_path)
    target = root / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    (records,) = read_directory(tmp_path)
    checkpoint = checkpoint_of(records)
    names = {tensor.name for tensor in checkpoint.tensors} | set(checkpoint.missing)
    assert names == set(EXPECTED["ocdbt-zarr3"])
    assert problems_of(records)


def test_big_visions_names(tmp_path: Path) -> None:
    root = tmp_path / "checkpoint.bv-000000500"
    copies = {
        "params~img~kernel": "params.Dense_0.kernel",
        "opt~0~mu~img~kernel": "opt_state.0.mu.Dense_0.kernel",
    }
    for name, source in copies.items():
        shutil.copytree(FIXTURES / "zarr2" / source, root / name)
    (records,) = read_directory(tmp_path)
    checkpoint = checkpoint_of(records)
    assert checkpoint.step == 500 and not problems_of(records)
    parameters = {tensor.name: tensor.parameter for tensor in checkpoint.tensors}
    assert parameters == {"params~img~kernel": None, "opt~0~mu~img~kernel": "params~img~kernel"}


def test_chunks_in_directories_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints" / "10" / "default"
    array = root / "params.a.kernel"
    (array / "0").mkdir(parents=True)
    metadata = {**ZARR2, "dimension_separator": "/", "shape": [2, 3], "chunks": [2, 2]}
    metadata["compressor"] = {"id": "gzip"}
    (array / ".zarray").write_text(json.dumps(metadata))
    (array / ".zattrs").write_text("{}")
    for number in range(2):
        values = np.array([1, 2, np.nan, 4], "<f4") + number
        (array / "0" / str(number)).write_bytes(gzip.compress(values.tobytes()))
    discovery = discover(tmp_path, [READER])
    assert not discovery.unclaimed
    (artifact,) = discovery.artifacts
    checkpoint = checkpoint_of(read_artifact(READER, artifact))
    (tensor,) = checkpoint.tensors
    assert (tensor.nan, tensor.max_abs, checkpoint.step) == (2, 4.0, 10)


def test_chunks_alone_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "archive" / "data").mkdir(parents=True)
    (tmp_path / "archive" / "data" / "0").write_bytes(b"\0\1\2\3" * 9)
    (records,) = read_directory(tmp_path)
    assert "metadata are not here" in of_type(records, Skipped)[0].reason


def test_zarr_data_is_no_checkpoint(tmp_path: Path) -> None:
    for name in ("temperature", "pressure"):
        shutil.copytree(FIXTURES / "zarr2" / "step", tmp_path / name)
    (records,) = read_directory(tmp_path)
    assert "taken for data" in of_type(records, Skipped)[0].reason


ZARR2 = {
    "chunks": [2],
    "compressor": None,
    "dtype": "<f4",
    "fill_value": None,
    "filters": None,
    "order": "C",
    "shape": [3],
    "zarr_format": 2,
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"chunks": [0]}, "no usable shape of chunks"),
        ({"chunks": [2, 2]}, "no usable shape of chunks"),
        ({"shape": [-1]}, "no usable shape"),
        ({"shape": [2**62]}, "chunks"),
        ({"dtype": "|O"}, "cannot be judged"),
        ({"dtype": 3}, "cannot be judged"),
        ({"compressor": {"id": "blosc"}}, "compressed by 'blosc'"),
        ({"compressor": {}}, None),
        ({"compressor": "zstd"}, "lacks what is needed"),
        ({"filters": [{"id": "delta"}]}, "filtered"),
        ({"dimension_separator": 5}, "no usable shape of chunks"),
        ({"zarr_format": 3}, "lacks what is needed"),
    ],
)
def test_lying_metadata(tmp_path: Path, change: dict[str, Any], text: str | None) -> None:
    array = tmp_path / "params.a.kernel"
    array.mkdir()
    (array / ".zarray").write_text(json.dumps({**ZARR2, **change}))
    (array / "0").write_bytes(b"\0\0\x80\x3f" * 2)
    (array / "1").write_bytes(b"\0\0\xc0\x7f" * 2)
    (records,) = read_directory(tmp_path)
    checkpoint = checkpoint_of(records)
    if text is None:
        assert (checkpoint.tensors[0].nan, checkpoint.tensors[0].max_abs) == (1, 1.0)
        return
    assert checkpoint.missing == ("params.a.kernel",)
    assert any(text in problem.text for problem in problems_of(records))


def test_a_bomb_is_not_decompressed(tmp_path: Path) -> None:
    array = tmp_path / "params.a.kernel"
    array.mkdir()
    size = 1 << 40
    metadata = {**ZARR2, "shape": [size], "chunks": [size], "compressor": {"id": "gzip"}}
    (array / ".zarray").write_text(json.dumps(metadata))
    (array / "0").write_bytes(gzip.compress(bytes(1 << 20)))
    (records,) = read_directory(tmp_path)
    assert checkpoint_of(records).missing == ("params.a.kernel",)
    assert "more than is plausible" in problems_of(records)[0].text


def test_an_array_of_nothing_but_fill_takes_no_time(tmp_path: Path) -> None:
    array = tmp_path / "params.a.kernel"
    array.mkdir()
    metadata = {**ZARR2, "shape": [1 << 34], "chunks": [1 << 24], "fill_value": "NaN"}
    (array / ".zarray").write_text(json.dumps(metadata))
    (records,) = read_directory(tmp_path)
    (tensor,) = checkpoint_of(records).tensors
    assert tensor.nan == 1 << 34


FILES = sorted(
    path.relative_to(FIXTURES).as_posix()
    for name in (*STORES, "checkpoints")
    for path in (FIXTURES / name).rglob("*")
    if path.is_file() and path.stat().st_size
)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_truncated_or_flipped_files(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = FILES[data.draw(st.integers(0, len(FILES) - 1))]
    top = "checkpoints/30" if name.startswith("checkpoints") else name.partition("/")[0]
    root = tmp_path_factory.mktemp("broken") / "run"
    shutil.copytree(FIXTURES / top, root)
    path = root / name.removeprefix(top + "/")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    for records in read_directory(root):
        found = [r for r in records if not isinstance(r, Series)]
        if found:
            check_damaged(found, {})


def test_names_that_are_not_orbax() -> None:
    for path in ("a/notes_METADATA", "data/0", "xmanifest.ocdbt", "d/readme", "x/c/y"):
        assert READER.claim(FileHead(path, 10, b"plain text")) is None
    assert READER.claim(head_of(FIXTURES / "expected.json")) is None


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_checkpoints() -> None:
    found: dict[str, int] = {}
    for records in read_directory(SHARED / "orbax-ckpt"):
        for record in records:
            found[type(record).__name__] = found.get(type(record).__name__, 0) + 1
    assert found["Checkpoint"] == 1  # two of the others keep no data here, one keeps it elsewhere
