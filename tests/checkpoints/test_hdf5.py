"""HDF5: what h5py reads back, what is not followed out of a file, and broken files."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reading import head_of, of_type, problems_of, read_file
from stored_facts import check_damaged, check_expected, checkpoint_of

from nanautopsy.checkpoints import _hdf5_process
from nanautopsy.checkpoints._hdf5_process import list_datasets
from nanautopsy.checkpoints.data_file import LocalFile, MemoryFile
from nanautopsy.checkpoints.hdf5 import READER
from nanautopsy.model import EnvironmentRecord, Record, Skipped

h5py = pytest.importorskip("h5py")

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hdf5"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))


def written(path: Path, write: Callable[[Any], None]) -> list[Record]:
    """The records of a file that ``write`` fills, in Keras' clothes."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        write(file)
    return read_file(READER, path)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_files_are_what_h5py_reads(name: str) -> None:
    records = read_file(READER, FIXTURES / name)
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED[name])
    assert checkpoint.holds == "model" and not problems_of(records)


def test_whole_models_name_their_moments_and_the_version_of_keras() -> None:
    records = read_file(READER, FIXTURES / "model.h5")
    tensors = {tensor.name: tensor for tensor in checkpoint_of(records).tensors}
    moment = tensors["optimizer_weights/adam/sequential_outer_kernel_velocity"]
    assert (moment.part, moment.moment) == ("moment", "velocity")
    assert moment.parameter == "model_weights/outer/sequential/outer/kernel"
    assert tensors[moment.parameter].first_nonfinite == (2, 1)
    assert tensors["optimizer_weights/adam/iteration"].part == "state"
    mean = "model_weights/norm/sequential/norm/moving_mean"
    assert tensors[mean].part == "buffer"
    for name in ("model.h5", "model.keras"):
        (found,) = of_type(read_file(READER, FIXTURES / name), EnvironmentRecord)
        assert found.packages["keras"].startswith("3.")
    weights = checkpoint_of(read_file(READER, FIXTURES / "epoch-3.weights.h5"))
    parts = {tensor.name: tensor.part for tensor in weights.tensors}
    assert parts["optimizer/vars/2"] == "moment" and parts["optimizer/vars/1"] == "state"


def test_keras_2_names(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file["model_weights/dense/dense/kernel:0"] = np.ones((2, 2), np.float32)
        file["optimizer_weights/Adam/dense/kernel/m:0"] = np.zeros((2, 2), np.float32)

    tensors = checkpoint_of(written(tmp_path / "a.h5", write)).tensors
    assert tensors[1].moment == "m"
    assert tensors[1].parameter == "model_weights/dense/dense/kernel:0"


VALUES = np.arange(35, dtype=np.float32).reshape(5, 7)
VALUES[4, 6], VALUES[1, 3] = np.nan, np.inf


OPTIONS: list[dict[str, Any]] = [
    {"chunks": (2, 3)},
    {"chunks": (2, 3), "compression": "gzip"},
    {"chunks": (2, 3), "compression": "gzip", "shuffle": True},
    {"chunks": (2, 3), "shuffle": True, "fletcher32": True},
    {"chunks": (2, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
    {"dtype": ">f4"},
    {"dtype": ">f8", "chunks": (5, 7), "shuffle": True},
    {"dtype": "<f2"},
]


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_every_layout(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version) as file:
        for number, options in enumerate(OPTIONS):
            file.create_dataset(f"layers/{number}/kernel", data=VALUES, **options)
    records = read_file(READER, path)
    assert not problems_of(records)
    tensors = checkpoint_of(records).tensors
    assert len(tensors) == len(OPTIONS)
    for tensor in tensors:
        assert (tensor.nan, tensor.pos_inf, tensor.zero, tensor.max_abs) == (1, 1, 1, 33.0)
        assert tensor.first_nonfinite == (1, 3)


def test_compact_unwritten_empty_and_text(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((2,))
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([np.nan, 2], np.float32))
        file.create_dataset("unwritten", (3, 2), "<f4")
        file.create_dataset("empty", (0, 2), "<f4")
        file["none"] = h5py.Empty("f4")
        file["label"] = "text"
        file["labels"] = np.array([b"a", b"bc"])
        file["rows"] = np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")])
        file["soft"] = h5py.SoftLink("/compact")

    records = written(tmp_path / "a.h5", write)
    health = {tensor.name: tensor for tensor in checkpoint_of(records).tensors}
    assert set(health) == {"compact", "unwritten", "empty"}
    assert (health["compact"].nan, health["compact"].max_abs) == (1, 2.0)
    assert health["unwritten"].zero == 6
    assert not problems_of(records)


def test_nothing_leads_out_of_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones(4, np.float32)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)

    def write(file: Any) -> None:
        file["linked"] = h5py.ExternalLink("secret.h5", "/kernel")
        layout = h5py.VirtualLayout((4,), "<f4")
        layout[:] = h5py.VirtualSource(str(secret), "kernel", (4,))
        file.create_virtual_dataset("virtual", layout)
        external = [(str(tmp_path / "secret.bin"), 0, 16)]
        file.create_dataset("external", (4,), "<f4", external=external)
        file["own"] = np.zeros(2, np.float32)

    records = written(tmp_path / "a.h5", write)
    checkpoint = checkpoint_of(records)
    assert [tensor.name for tensor in checkpoint.tensors] == ["own"]
    assert checkpoint.missing == ("external", "linked", "virtual")
    text = " ".join(problem.text for problem in problems_of(records))
    for part in ("link to another file; not followed", "in another file", "virtual dataset"):
        assert part in text


def test_groups_that_hold_themselves_end(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        group = file.create_group("layers")
        group["again"] = group
        group["kernel"] = np.ones(2, np.float32)

    assert len(checkpoint_of(written(tmp_path / "a.h5", write)).tensors) == 1


def test_other_filters_are_told(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file.create_dataset("kernel", data=VALUES, chunks=(2, 3), compression="lzf")

    records = written(tmp_path / "a.h5", write)
    assert checkpoint_of(records).missing == ("kernel",)
    assert "filters" in problems_of(records)[0].text


def test_a_data_set_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.array([1.0, np.nan])
    checkpoint = checkpoint_of(read_file(READER, path))
    assert checkpoint.holds == "unknown" and checkpoint.tensors[0].part == "state"


def test_without_h5py_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    (skipped,) = of_type(read_file(READER, FIXTURES / "model.h5"), Skipped)
    assert "pip install 'nanautopsy[hdf5]'" in skipped.reason


def test_a_library_that_crashes_or_hangs_takes_nothing_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = LocalFile("a.h5", FIXTURES / "model.h5")
    monkeypatch.setattr(_hdf5_process, "_SECONDS", 0.01)
    rows, reason = list_datasets(file, 0, file.size)
    assert reason is not None and "did not end" in reason

    def crash(*arguments: Any, **options: Any) -> Any:
        return subprocess.CompletedProcess(arguments, -11, b'{"name": "a", "prob')

    monkeypatch.setattr(subprocess, "run", crash)
    rows, reason = list_datasets(file, 0, file.size)
    assert rows == [] and reason is not None and "damaged" in reason


def test_far_files_are_refused_in_one_line() -> None:
    with pytest.raises(OSError, match="local disk"):
        list_datasets(MemoryFile("a.h5", b""), 0, 0)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"config.json": b"{}"}, "without model.weights.h5"),
        ({"model.weights.h5": b"\0" * 100}, "not readable as HDF5"),
    ],
)
def test_archives_without_weights(tmp_path: Path, members: dict[str, bytes], text: str) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    (skipped,) = of_type(read_file(READER, path), Skipped)
    assert text in skipped.reason


def test_compressed_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", (FIXTURES / "half.weights.h5").read_bytes())
    (skipped,) = of_type(read_file(READER, path), Skipped)
    assert "unpack it" in skipped.reason


SIZES = {name: (FIXTURES / name).stat().st_size for name in EXPECTED}


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.75, 0.97])
def test_truncation(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    path.write_bytes((FIXTURES / name).read_bytes()[: int(SIZES[name] * share)])
    if READER.claim(head_of(path)) is not None:
        records = [r for r in read_file(READER, path) if not isinstance(r, EnvironmentRecord)]
        check_damaged(records, EXPECTED[name])


def test_what_lies_before_a_cut_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["layers/a/kernel"] = np.full(500, 2.0, np.float32)
        file["layers/b/kernel"] = np.full(5000, 3.0, np.float32)
    path.write_bytes(path.read_bytes()[:-3000])
    records = read_file(READER, path)
    checkpoint = checkpoint_of(records)
    assert [tensor.name for tensor in checkpoint.tensors] == ["layers/a/kernel"]
    assert checkpoint.missing and problems_of(records)


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray((FIXTURES / "half.weights.h5").read_bytes())
    for at in random.integers(0, len(data), 40):
        data[at] = random.integers(0, 256)
    path = tmp_path / "half.weights.h5"
    path.write_bytes(bytes(data))
    if READER.claim(head_of(path)) is not None:
        records = [r for r in read_file(READER, path) if not isinstance(r, EnvironmentRecord)]
        check_damaged(records, {})
