""".npz and .npy: what numpy.load reads, and every way in which such a file can lie."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import head_of, of_type, problems_of, read_artifact, read_file
from stored_facts import check_damaged, check_expected, checkpoint_of

from nanautopsy import inspect
from nanautopsy.checkpoints.numpy_files import READER
from nanautopsy.discover import discover
from nanautopsy.model import Checkpoint, Problem, Record, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "numpy"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
LAYOUTS = (FIXTURES / "layouts.npz").read_bytes()
TREE = (FIXTURES / "big_vision" / "checkpoint.npz").read_bytes()


def read(data: bytes, tmp_path: Path, name: str) -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return read_file(READER, path, name)


def npy(header: bytes, data: bytes = b"", version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + data


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["big_vision/checkpoint.npz", "layouts.npz"])
def test_archives_are_what_numpy_reads(name: str) -> None:
    records = read_file(READER, FIXTURES / name)
    check_expected(checkpoint_of(records), EXPECTED[name])
    assert not problems_of(records)


def test_fortran_array_is_what_numpy_reads() -> None:
    records = read_file(READER, FIXTURES / "out_proj.weight.npy")
    check_expected(checkpoint_of(records), EXPECTED["out_proj.weight.npy"])
    assert checkpoint_of(records).holds == "model"


def test_big_vision_tree_has_its_parts() -> None:
    checkpoint = checkpoint_of(read_file(READER, FIXTURES / "big_vision" / "checkpoint.npz"))
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert checkpoint.holds == "model" and checkpoint.step is None
    assert tensors["params/img/embedding/kernel"].part == "parameter"
    moment = tensors["opt/0/mu/img/embedding/kernel"]
    assert (moment.part, moment.moment) == ("moment", "mu")
    assert moment.parameter == "params/img/embedding/kernel"
    assert moment.dtype == "BF16" and moment.first_nonfinite == (1, 2)
    assert tensors["opt/0/nu/t"].parameter == "params/t"
    assert tensors["opt/0/count"].part == tensors["chrono/accum_train_time"].part == "state"


@pytest.mark.parametrize(
    ("name", "step", "problem"),
    [
        ("checkpoint.npz-000010000", 10_000, None),
        ("checkpoint.npz-TEMPORARY", None, "saving did not finish"),
    ],
)
def test_copies_and_unfinished_saves(
    tmp_path: Path, name: str, step: int | None, problem: str | None
) -> None:
    records = read(TREE, tmp_path, name)
    assert checkpoint_of(records).step == step
    assert [problem in p.text for p in problems_of(records)] == ([True] if problem else [])


def test_pickled_objects_are_refused_and_the_rest_is_read() -> None:
    records = read_file(READER, FIXTURES / "objects.npz")
    checkpoint = checkpoint_of(records)
    assert [tensor.name for tensor in checkpoint.tensors] == ["a/kernel"]
    assert checkpoint.missing == ("a/bias",)
    assert "pickled Python objects; not opened" in problems_of(records)[0].text


def test_a_data_set_is_no_model() -> None:
    checkpoint = checkpoint_of(read_file(READER, FIXTURES / "data.npz"))
    assert checkpoint.holds == "unknown"
    assert {tensor.part for tensor in checkpoint.tensors} == {"state"}
    assert checkpoint.nonfinite


def test_a_directory_full_of_data_is_left_unread(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"sample_{number}.npy", np.ones(3))
        shutil.copy(FIXTURES / "data.npz", tmp_path / f"batch{number}.npz")
    artifacts = discover(tmp_path, [READER]).artifacts
    reasons = [of_type(READER.read(artifact), Skipped) for artifact in artifacts]
    assert [len(artifact.members) for artifact in artifacts] == [3, 3]
    assert all("taken for data" in skipped[0].reason for skipped in reasons)


def test_a_directory_of_parameters_is_one_checkpoint(tmp_path: Path) -> None:
    for name in ("h.0.attn.weight", "h.0.attn.bias", "h.10.attn.weight"):
        np.save(tmp_path / f"{name}.npy", np.ones((2, 2), np.float32))
    (artifact,) = discover(tmp_path, [READER]).artifacts
    checkpoint = checkpoint_of(read_artifact(READER, artifact))
    names = [tensor.name for tensor in checkpoint.tensors]
    assert names == ["h.0.attn.bias", "h.0.attn.weight", "h.10.attn.weight"]
    assert checkpoint.holds == "model" and checkpoint.path == "."


def test_names_without_meaning(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, np.ones(2), np.zeros(1))
    assert checkpoint_of(read(buffer.getvalue(), tmp_path, "x.npz")).holds == "unknown"


GOOD = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (npy(GOOD)[:9], "cut short inside the array's header"),
        (npy(GOOD, version=9), "version 9.0"),
        (npy(b"__import__('os').system('true')"), "no Python literal"),
        (npy(b"(" * 9000), "no Python literal"),
        (npy(b"[1]"), "no mapping"),
        (npy(GOOD.replace(b"(2,)", b"(-2,)")), "no usable shape"),
        (npy(GOOD.replace(b"(2,)", b"(2.0,)")), "no usable shape"),
        (npy(GOOD.replace(b"(2,)", b"2")), "no usable shape"),
        (npy(GOOD.replace(b"'<f4'", b"'|O'")), "pickled Python objects"),
        (npy(GOOD.replace(b"'<f4'", b"'<f7'")), "dtype '<f7' cannot be judged"),
        (npy(GOOD.replace(b"'<f4'", b"'|V1'")), "dtype '|V1' cannot be judged"),
        (npy(GOOD), "is cut short: 67 of 75 bytes"),
        (npy(GOOD.replace(b"(2,)", b"(2**62, 2**62)")), "no Python literal"),
        (npy(GOOD.replace(b"(2,)", b"(4611686018427387904, 4)")), "cut short"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + GOOD, "claims 2147483648 bytes"),
    ],
)
def test_lying_headers(tmp_path: Path, data: bytes, text: str) -> None:
    records = read(data, tmp_path, "a.weight.npy")
    assert text in problems_of(records)[0].text
    assert problems_of(records)[0].source.path == "a.weight.npy"


def test_python_2_shapes(tmp_path: Path) -> None:
    records = read(npy(GOOD.replace(b"(2,)", b"(2L,)"), b"\0" * 8), tmp_path, "a.weight.npy")
    assert checkpoint_of(records).tensors[0].shape == (2,)


def test_text_and_records_are_no_damage(tmp_path: Path) -> None:
    for descr in (b"'<U5'", b"'|S3'", b"'<M8[ns]'", b"[('a', '<f4')]", b"'|V7'"):
        records = read(npy(GOOD.replace(b"'<f4'", descr), b"\0" * 99), tmp_path, "labels.npy")
        assert not problems_of(records) and of_type(records, Skipped)


def test_equinox_leaves_are_what_it_wrote(tmp_path: Path) -> None:
    records = read_file(READER, FIXTURES / "mlp.eqx")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["mlp.eqx"])
    assert checkpoint.holds == "model" and not problems_of(records)
    assert {tensor.part for tensor in checkpoint.tensors} == {"parameter"}
    cut = (FIXTURES / "mlp.eqx").read_bytes()[:-5]
    records = read(cut, tmp_path, "mlp.eqx")
    assert checkpoint_of(records).missing == ("mlp.3",)
    assert len(checkpoint_of(records).tensors) == 3


def test_a_member_that_claims_more_than_deflate_can_give(tmp_path: Path) -> None:
    data = bytearray(npz({"a/kernel.npy": npy(GOOD, b"\0" * 8)}, zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 1 << 29)
    records = read(bytes(data), tmp_path, "checkpoint.npz")
    assert any("claims to inflate" in problem.text for problem in problems_of(records))
    assert checkpoint_of(records).missing == ("a/kernel",)


def test_a_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanautopsy.checkpoints._decoded_file._ALWAYS_DECODED", 1 << 16)
    header = GOOD.replace(b"(2,)", b"(1048576,)")
    members = {f"a/{i}/kernel.npy": npy(header, b"\0" * (4 << 20)) for i in range(4)}
    records = read(npz(members, zipfile.ZIP_DEFLATED), tmp_path, "checkpoint.npz")
    assert len(checkpoint_of(records).missing) == 4
    assert all("not read" in problem.text for problem in problems_of(records))


def test_git_lfs_pointer(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4\n"
    for name in ("checkpoint.npz", "a.weight.npy"):
        (skipped,) = of_type(read(pointer, tmp_path, name), Skipped)
        assert "Git LFS pointer" in skipped.reason


def test_other_zip_files_are_not_claimed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz({"archive/data.pkl": b"x"}))
    assert READER.claim(head_of(path)) is None
    path.write_text("hello")
    assert READER.claim(head_of(path)) is None


@given(st.integers(0, len(LAYOUTS)))
@settings(deadline=None, max_examples=100)
def test_truncation_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "layouts.npz"
    path.write_bytes(LAYOUTS[:size])
    if READER.claim(head_of(path)) is not None:
        check_damaged(read_file(READER, path), EXPECTED["layouts.npz"])


def test_a_tree_without_its_directory_is_still_read(tmp_path: Path) -> None:
    cut = TREE[: TREE.index(b"PK\x01\x02") - 20]
    records = read(cut, tmp_path, "checkpoint.npz")
    checkpoint = checkpoint_of(records)
    assert len(checkpoint.tensors) >= len(EXPECTED["big_vision/checkpoint.npz"]) - 1
    assert any("directory" in problem.text for problem in problems_of(records))


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    broken = bytearray([LAYOUTS, TREE][data.draw(st.integers(0, 1))])
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("flip") / "checkpoint.npz"
    path.write_bytes(bytes(broken))
    if READER.claim(head_of(path)) is not None:
        records = read_file(READER, path)
        assert all(isinstance(r, (Checkpoint, Problem, Skipped)) for r in records)


def test_who_inspects_an_array_is_told_of_its_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.array([1.0, np.nan]))
    result = inspect(tmp_path / "logits.npy")
    (history,) = result.histories
    assert history.members[0].damage == ("logits",)


def test_counts_beside_the_weights_do_not_make_them_data(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    counts = {"gamma": np.float32(0.9), "updates": np.int64(7), "learning_rate": np.float32(0.1)}
    np.savez(buffer, **{"fc/kernel": np.ones((4, 4)), "q/kernel": np.ones(4)}, **counts)
    (found,) = read(buffer.getvalue(), tmp_path, "q_net_00020.npz")
    assert isinstance(found, Checkpoint) and (found.holds, found.step) == ("model", 20)
    assert {t.name for t in found.tensors if t.part == "state"} >= {"updates", "learning_rate"}
