"""Torch files against what torch itself read back when the fixtures were written."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_artifact, read_file

from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.state_dicts import describe
from nanautopsy.checkpoints.torch_file import READER, NotTorch, load_torch
from nanautopsy.checkpoints.torch_parts.zip import read_archive
from nanautopsy.model import (
    Artifact,
    Checkpoint,
    ConfigRecord,
    EnvironmentRecord,
    FileHead,
    Record,
    TensorHealth,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "torch"
EXPECTED: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (FIXTURES / "expected.json").read_text()
)


def checkpoint_of(records: list[Record]) -> Checkpoint:
    (checkpoint,) = of_type(records, Checkpoint)
    return checkpoint


def summary(tensor: TensorHealth) -> dict[str, Any]:
    return {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "nan": tensor.nan,
        "inf": tensor.pos_inf + tensor.neg_inf,
        "max_abs": tensor.max_abs,
        "first": None if tensor.first_nonfinite is None else list(tensor.first_nonfinite),
    }


def close(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    a, b = found["max_abs"], wanted["max_abs"]
    same = a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6))
    return same and {**found, "max_abs": 0} == {**wanted, "max_abs": 0}


def load(data: bytes, name: str = "x.pt") -> Any:
    return describe(load_torch(MemoryFile(name, data)))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_equals_what_torch_reads_back(name: str) -> None:
    wanted = EXPECTED[name]
    records = read_file(READER, FIXTURES / name, name)
    assert problems_of(records) == []
    if not wanted:
        return
    # Measuring names moments after their parameters; torch knows them by number.
    names = [tensor.name for tensor in load((FIXTURES / name).read_bytes()).tensors]
    measured = checkpoint_of(records).tensors
    assert set(names) == set(wanted)
    assert len(measured) == len(names)
    for name_, tensor in zip(names, measured, strict=True):
        assert close(summary(tensor), wanted[name_]), name_


def test_equals_what_an_installed_torch_reads_back() -> None:
    torch = pytest.importorskip("torch")
    value = torch.load(FIXTURES / "dtypes.pt", weights_only=False)
    tensors = {t.name: t for t in checkpoint_of(read_file(READER, FIXTURES / "dtypes.pt")).tensors}
    assert set(tensors) == set(value)
    for name, tensor in value.items():
        assert tensors[name].shape == tuple(tensor.shape)
        if not tensor.dtype.is_complex and tensor.dtype.is_floating_point:
            assert tensors[name].nan == int(torch.isnan(tensor.to(torch.float64)).sum())


# --- parts, numbers, settings -----------------------------------------------------------------


def test_parts_of_a_checkpoint() -> None:
    checkpoint = checkpoint_of(read_file(READER, FIXTURES / "checkpoint.pt"))
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert checkpoint.holds == "model"
    assert checkpoint.step == 120
    assert tensors["body.0.weight"].part == "parameter"
    assert tensors["body.0.weight"].first_nonfinite == (1, 2)
    assert tensors["body.1.num_batches_tracked"].part == "buffer"
    assert tensors["rng"].part == "state"
    moment = tensors["body.0.weight.exp_avg"]
    assert (moment.part, moment.parameter, moment.moment) == ("moment", "body.0.weight", "exp_avg")
    assert moment.first_nonfinite == (3, 0)
    state = dict(checkpoint.state)
    assert math.isnan(state.pop("loss"))  # type: ignore[arg-type]
    assert state == {
        "global_step": 120,
        "epoch": 3,
        "loss_scale": 1024.0,
        "growth_tracker": 3,
        "last_epoch": 3,
        "learning_rate": 1e-4,
    }


def test_a_whole_module_gives_names_by_module_path() -> None:
    checkpoint = checkpoint_of(read_file(READER, FIXTURES / "module.pt"))
    parts = {tensor.name: tensor.part for tensor in checkpoint.tensors}
    assert parts["body.1.running_mean"] == "buffer"
    assert parts["body.1.weight"] == "parameter"


def test_settings_come_without_secrets() -> None:
    for name in ("checkpoint.pt", "trainer/training_args.bin"):
        records = read_file(READER, FIXTURES / name, name)
        settings_ = {c.kind: c.values for c in of_type(records, ConfigRecord)}
        assert settings_["training"]
        assert not any("hf_" in str(value) for value in settings_["training"].values())


def test_training_arguments_are_plain() -> None:
    records = read_file(READER, FIXTURES / "trainer/training_args.bin")
    (config,) = of_type(records, ConfigRecord)
    assert config.kind == "training"
    assert config.values["learning_rate"] == 3e-4
    assert config.values["lr_scheduler_type"] == "linear"
    assert config.values["logging_nan_inf_filter"] is True
    assert config.values["adam_epsilon"] == 1e-7
    assert of_type(records, Checkpoint) == []


def test_lightning() -> None:
    records = read_file(READER, FIXTURES / "lightning.ckpt")
    (environment,) = of_type(records, EnvironmentRecord)
    assert environment.packages == {"pytorch-lightning": "2.6.6"}
    assert checkpoint_of(records).step == 4
    kinds = {config.kind: config.values for config in of_type(records, ConfigRecord)}
    assert kinds["training"] == {"rate": 1e-3}
    assert kinds["optimizer"]["optimizer.0.eps"] == 1e-8


def test_megatron() -> None:
    checkpoint = checkpoint_of(read_file(READER, FIXTURES / "model_optim_rng.pt"))
    parts = {tensor.name: tensor.part for tensor in checkpoint.tensors}
    assert parts["optimizer.fp32_from_fp16_params.0.1"] == "master"
    assert parts["optimizer.grad_scaler.scale"] == "state"
    assert checkpoint.state["loss_scale"] == 65536.0
    assert checkpoint.step == 500


def test_trainer_files_beside_the_model() -> None:
    optimizer = checkpoint_of(read_file(READER, FIXTURES / "trainer/optimizer.pt"))
    assert optimizer.holds == "optimizer"
    scheduler = checkpoint_of(read_file(READER, FIXTURES / "trainer/scheduler.pt"))
    assert scheduler.state["last_epoch"] == 2
    scaler = checkpoint_of(read_file(READER, FIXTURES / "trainer/scaler.pt", "scaler.pt"))
    assert scaler.state == {"loss_scale": 64.0, "growth_tracker": 0}
    # The name tells that its tensors are no weights.
    rng = checkpoint_of(read_file(READER, FIXTURES / "trainer/rng_state.pth"))
    assert {tensor.part for tensor in rng.tensors} == {"state"}


# --- shards -----------------------------------------------------------------------------------


def shards(*names: str) -> Artifact:
    members = tuple((f"run/{name}", FIXTURES / "sharded" / name) for name in names)
    return Artifact(members[0][0], "torch", "torch", members, 1)


INDEX = "pytorch_model.bin.index.json"
FIRST = "pytorch_model-00001-of-00002.bin"
SECOND = "pytorch_model-00002-of-00002.bin"


def test_shards_and_their_index_are_one_artifact() -> None:
    claims = [READER.claim(head_of(FIXTURES / "sharded" / n)) for n in (INDEX, FIRST, SECOND)]
    assert {(claim.kind, claim.group) for claim in claims if claim} == {("torch", "pytorch_model")}
    records = read_artifact(READER, shards(FIRST, SECOND, INDEX))
    assert problems_of(records) == []
    wanted = {*EXPECTED[f"sharded/{FIRST}"], *EXPECTED[f"sharded/{SECOND}"]}
    assert {tensor.name for tensor in checkpoint_of(records).tensors} == wanted
    assert checkpoint_of(records).path == "run"


def test_a_missing_shard_is_told() -> None:
    records = read_artifact(READER, shards(FIRST, INDEX))
    (problem,) = problems_of(records)
    assert SECOND in problem.text
    assert "not here" in problem.text
    missing = set(EXPECTED[f"sharded/{SECOND}"])
    assert set(checkpoint_of(records).missing) == missing


def test_a_tensor_in_two_shards_is_told() -> None:
    artifact = Artifact(
        "a-00001-of-00002.bin",
        "torch",
        "torch",
        (
            ("a-00001-of-00002.bin", FIXTURES / "sharded" / FIRST),
            ("a-00002-of-00002.bin", FIXTURES / "sharded" / FIRST),
        ),
        1,
    )
    (problem,) = problems_of(read_artifact(READER, artifact))
    assert "are also in a-00001-of-00002.bin" in problem.text


# --- claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_claims_by_content_under_any_name(name: str) -> None:
    claim = READER.claim(head_of(FIXTURES / name, "something"))
    assert claim is not None
    assert claim.confidence >= 40


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.npz", b"PK\x03\x04" + bytes(22) + b"\x05\x00\x00\x00w.npy"),
        ("a.keras", b"PK\x03\x04" + bytes(22) + b"\x0b\x00\x00\x00config.json"),
        ("notes.txt", b"hello"),
        ("a.bin", b"\x00\x01\x02\x03"),
        ("image.png", b"\x89PNG"),
        ("model.safetensors", b"\x40\x00\x00\x00\x00\x00\x00\x00{"),
    ],
)
def test_leaves_what_is_not_torch(name: str, head: bytes) -> None:
    assert READER.claim(FileHead(name, 1000, head)) is None


def test_pointers_and_empty_files_say_what_they_are(tmp_path: Path) -> None:
    for content, what in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (b"", "empty"),
    ):
        path = tmp_path / "pytorch_model.bin"
        path.write_bytes(content)
        assert any(what in problem.text for problem in problems_of(read_file(READER, path)))


def test_the_tar_form_is_said_not_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as target:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            target.addfile(tarfile.TarInfo(name))
    (problem,) = problems_of(read_file(READER, path))
    assert "tar form" in problem.text


# --- damage -----------------------------------------------------------------------------------


CUT = ("one_tensor.pt", "trainer/scaler.pt", "legacy.pt", "tensors.pkl")


@pytest.mark.parametrize("name", CUT)
def test_cut_at_every_byte(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    whole = {tensor.name for tensor in load(data).tensors}
    seen = -1
    for length in range(len(data)):
        try:
            contents = load(data[:length])
        except NotTorch:
            continue
        names = {tensor.name for tensor in contents.tensors}
        assert names <= whole | {"tensor"}
        assert all(p.offset <= length for t in contents.tensors for p in t.pieces)
        seen = max(seen, len(names))
    assert seen >= len(whole) - (name == "legacy.pt")  # whose last byte is a tensor's


def test_what_lies_before_the_cut_is_read(tmp_path: Path) -> None:
    data = (FIXTURES / "checkpoint.pt").read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(data[: len(data) * 6 // 10])
    records = read_file(READER, path)
    checkpoint = checkpoint_of(records)
    wanted = load(data)
    assert 3 <= len(checkpoint.tensors) < len(wanted.tensors)
    assert len(checkpoint.missing) + len(checkpoint.tensors) == len(wanted.tensors)
    assert any("directory is missing" in problem.text for problem in problems_of(records))
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert tensors["body.0.weight"].first_nonfinite == (1, 2)


def test_a_directory_lost_alone_loses_no_tensor() -> None:
    for name in ("checkpoint.pt", "dtypes.pt", "model_optim_rng.pt"):
        data = (FIXTURES / name).read_bytes()
        cut = load(data[: data.index(b"PK\x01\x02")])
        assert [t.name for t in cut.tensors] == [t.name for t in load(data).tensors]
        assert not cut.missing


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_are_survived(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["checkpoint.pt", "legacy.pt", "arrays5.pkl", "script.pt"]))
    damaged = bytearray((FIXTURES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        contents = load(bytes(damaged))
    except NotTorch:
        return
    for tensor in contents.tensors:
        for piece in tensor.pieces:
            assert piece.offset <= piece.file.size


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x05"]))
def test_any_bytes_are_survived(data: bytes, head: bytes) -> None:
    try:
        load(head + data)
    except NotTorch as error:
        assert str(error)


@pytest.mark.parametrize("name", ["dtypes.pt", "checkpoint.pt", "ema.pt", "trainer/optimizer.pt"])
def test_contents_are_placed_without_reading_their_headers(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    found = read_archive(MemoryFile(name, data))
    placed = [member for member in found.members.values() if member.data is not None]
    # Nothing follows the last one, and an empty one has no descriptor.
    assert len(placed) >= len(found.members) - 2
    for member in placed:
        name_size, extra_size = struct.unpack_from("<2H", data, member.header + 26)
        assert member.data == member.header + 30 + name_size + extra_size


# --- hostile ----------------------------------------------------------------------------------


def archive(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in members:
            target.writestr(name, data)
    return buffer.getvalue()


def tensor_pickle(shape: tuple[int, ...], strides: tuple[int, ...], count: int = 4) -> bytes:
    """A pickle of one tensor over storage ``0`` of ``count`` floats."""

    def ints(values: tuple[int, ...]) -> bytes:
        packed = b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values)
        return b"(" + packed + b"t"

    reference = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    reference += b"X\x03\x00\x00\x00cpu" + b"K" + bytes([count]) + b"tQ"
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"K\x00"
    body += ints(shape) + ints(strides) + b"\x89}tR"
    return b"\x80\x02}X\x01\x00\x00\x00w" + body + b"s."


def files(shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    pickle_ = tensor_pickle(shape, strides)
    return archive([("a/data.pkl", pickle_), ("a/data/0", bytes(16)), ("a/version", b"3")])


def test_the_builder_builds_a_tensor() -> None:
    (tensor,) = load(files((2, 2), (2, 1))).tensors
    assert tensor.shape == (2, 2)


def test_a_number_beside_the_model_is_no_weight() -> None:
    """A best loss of Inf before the first evaluation is no damage."""

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    scalar, weight = (tensor_pickle(s, s).removeprefix(b"\x80\x02")[:-1] for s in ((), (1,)))
    scalar = scalar.removeprefix(b"}" + word("w")).removesuffix(b"s")
    pickle_ = b"\x80\x02}" + word("model") + weight + b"s" + word("val_loss") + scalar + b"s."
    members = [("a/data.pkl", pickle_), ("a/data/0", bytes(16)), ("a/version", b"3")]
    found = {tensor.name: tensor.part for tensor in load(archive(members)).tensors}
    assert found == {"w": "parameter", "val_loss": "state"}


@pytest.mark.parametrize(
    ("shape", "strides", "what"),
    [
        ((5,), (1,), "needs 20 bytes"),
        ((1 << 40, 1 << 20), (0, 0), "claims"),
        ((2,), (1 << 60,), "needs"),
        ((1 << 62, 1 << 62), (1, 1), "needs"),
        ((-1,), (1,), "a shape, stride or offset that is none"),
        ((2, 2), (1,), "dimensions"),
    ],
)
def test_lying_shapes_are_refused(
    shape: tuple[int, ...], strides: tuple[int, ...], what: str
) -> None:
    contents = load(files(shape, strides))
    assert contents.tensors == []
    assert what in contents.missing["w"]


def test_the_same_bytes_cannot_be_read_forever(tmp_path: Path) -> None:
    pickle_ = tensor_pickle((1 << 20,), (0,))
    one = pickle_[pickle_.index(b"ctorch._utils") : -2]
    entries = b"".join(b"X\x03\x00\x00\x00%03d" % i + one for i in range(400))
    data = archive([("a/data.pkl", b"\x80\x02}(" + entries + b"u."), ("a/data/0", bytes(16))])
    path = tmp_path / "many.pt"
    path.write_bytes(data)
    artifact = Artifact("many.pt", "torch", "torch", (("many.pt", path),), len(data))
    records = list(READER.read(artifact))
    assert any("many times the file" in problem.text for problem in problems_of(records))


def test_members_outside_the_directory_are_names_only() -> None:
    data = archive([("../../etc/data.pkl", tensor_pickle((2,), (1,))), ("/abs", b"x")])
    assert load(data).missing == {"w": "its storage '0' is not in the file"}


def test_two_members_of_one_name_are_told() -> None:
    good = tensor_pickle((2,), (1,))
    with pytest.warns(UserWarning):
        data = archive([("a/data.pkl", good), ("a/data/0", bytes(16)), ("a/data.pkl", good)])
    loaded = load_torch(MemoryFile("x.pt", data))
    assert any("more than once" in text for text, _ in loaded.problems)


def test_compressed_members() -> None:
    members = [("a/data.pkl", tensor_pickle((2,), (1,))), ("a/data/0", bytes(16))]
    loaded = load_torch(MemoryFile("x.pt", archive(members, zipfile.ZIP_DEFLATED)))
    assert any("is compressed" in text for text, _ in loaded.problems)
    assert describe(loaded).missing == {"w": "its storage '0' is not in the file"}


def test_a_bomb_is_not_inflated() -> None:
    bomb = archive([("a/data.pkl", bytes(80 << 20))], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 200_000
    with pytest.raises(NotTorch, match="inflates to more than"):
        load(bomb)


def test_overlapping_members_are_told() -> None:
    data = bytearray(files((2,), (1,)))
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
    struct.pack_into("<I", data, entry + 42, 10)
    loaded = load_torch(MemoryFile("x.pt", bytes(data)))
    assert loaded.problems


def test_recursive_and_shared_containers_end() -> None:
    value: dict[str, Any] = {"lr": 0.1}
    value["self"] = value
    value["list"] = [value, [value]]
    assert load(pickle.dumps({"args": value, "model": value}, 4)).settings
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep, deep]
    started = time.monotonic()
    load(pickle.dumps({"config": {"deep": deep, "lr": 1.0}}, 4))
    assert time.monotonic() - started < 10


def local_header(name: bytes) -> bytes:
    """Of a member whose size stands behind its content."""
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 8, *[0] * 6, len(name), 0) + name


@pytest.mark.parametrize(
    "body",
    [
        b"PK\x03\x04" * 1_000_000,
        b"PK\x07\x08" * 1_000_000,
        local_header(b"a/x") * 50_000,
        local_header(b"a/x") + bytes(1 << 20),
    ],
)
def test_archives_without_a_directory_are_searched_in_bounded_time(body: bytes) -> None:
    started = time.monotonic()
    loaded = load_torch(MemoryFile("x.pt", local_header(b"a/data.pkl") + body))
    assert loaded.problems
    assert time.monotonic() - started < 30


def test_one_tensor_under_very_many_names_ends() -> None:
    one = tensor_pickle((2,), (1,))
    one = one[one.index(b"ctorch._utils") : -2]
    pickle_ = b"\x80\x02](" + one + b"q\x05" + b"h\x05" * 400_000 + b"e."
    contents = load(archive([("a/data.pkl", pickle_), ("a/data/0", bytes(16))]))
    assert len(contents.tensors) <= 300_001
    assert "too many objects" in next(iter(contents.missing.values()))


@pytest.mark.real
def test_published_weights() -> None:
    path = SHARED / "resnet-th" / "pretrained_models" / "resnet20-12fca82f.th"
    if not path.exists():
        pytest.skip("no public artifacts beside the checkout")
    records = read_file(READER, path)
    assert problems_of(records) == []
    checkpoint = checkpoint_of(records)
    assert len(checkpoint.tensors) == 97
    assert checkpoint.nonfinite == ()
    assert checkpoint.tensors[0].name == "module.conv1.weight"
    assert checkpoint.tensors[0].shape == (16, 3, 3, 3)
