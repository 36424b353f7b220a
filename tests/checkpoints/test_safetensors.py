"""safetensors files: what their own library reads, and every way in which a file can lie."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_artifact, read_file
from safetensors.numpy import load_file
from stored_facts import check_damaged, check_expected, checkpoint_of

from nanautopsy.checkpoints import safetensors
from nanautopsy.checkpoints.safetensors import READER
from nanautopsy.discover import discover
from nanautopsy.model import Checkpoint, Problem, Record, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "safetensors"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
WHOLE = (FIXTURES / "dtypes.safetensors").read_bytes()


def build(table: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header."""
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(data: bytes, tmp_path: Path, name: str = "model.safetensors") -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return read_file(READER, path, name)


def read_directory(path: Path) -> list[list[Record]]:
    return [read_artifact(READER, artifact) for artifact in discover(path, [READER]).artifacts]


def test_every_dtype_is_what_its_library_reads() -> None:
    records = read_file(READER, FIXTURES / "dtypes.safetensors")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["dtypes.safetensors"])
    assert not problems_of(records)
    assert checkpoint.step == 7  # from its metadata
    names = [tensor.name for tensor in checkpoint.tensors]
    assert names.index("layer.9.f32") < names.index("layer.10.f16")


def test_formats_that_torch_cannot_compute_with() -> None:
    records = read_file(READER, FIXTURES / "more_dtypes.safetensors")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["more_dtypes.safetensors"])
    dtypes = {tensor.name: tensor.dtype for tensor in checkpoint.tensors}
    assert dtypes["w.weight"] == "F4" and dtypes["w.weight_scale"] == "F8_E8M0"
    bad = {tensor.name for tensor in checkpoint.nonfinite}
    assert bad == {"w.weight_scale", "w.weight_scale_inv", "rope"}


@pytest.mark.parametrize(
    ("dtype", "library"), [("F6_E2M3", "float6_e2m3fn"), ("F6_E3M2", "float6_e3m2fn")]
)
def test_six_bits(tmp_path: Path, dtype: str, library: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    patterns = np.arange(64, dtype=np.uint8)
    bits = np.unpackbits(patterns[:, None], axis=1, bitorder="little")[:, :6]
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    values = patterns.view(getattr(ml_dtypes, library)).astype(np.float64)
    records = read(build({"w": entry(dtype, [64], 0, len(data))}, data), tmp_path)
    (tensor,) = checkpoint_of(records).tensors
    assert tensor.max_abs == np.abs(values).max() and tensor.zero == (values == 0).sum()
    assert tensor.rms == pytest.approx(float(np.sqrt(np.mean(values**2))))


def test_shards_of_ranks_are_joined() -> None:
    (records,) = read_directory(FIXTURES / "distributed")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["distributed"])
    assert not problems_of(records)
    (bad,) = checkpoint.nonfinite
    assert (bad.name, bad.first_nonfinite, bad.rank) == ("layer.weight", (4, 3), 1)


def test_a_rank_whose_shard_is_gone(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "distributed", tmp_path / "run")
    (tmp_path / "run" / "shard-00001-model-00001-of-00001.safetensors").unlink()
    (records,) = read_directory(tmp_path / "run")
    health = {tensor.name: tensor for tensor in checkpoint_of(records).tensors}
    assert health["layer.weight"].shape == (5, 7) and health["layer.weight"].nan == 1
    texts = [problem.text for problem in problems_of(records)]
    assert any("'layer.weight': its parts hold 14 of 35 elements" in text for text in texts)


def test_an_adapter_of_peft() -> None:
    (records,) = read_directory(FIXTURES / "adapter")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["adapter"])
    assert checkpoint.holds == "adapter" and not problems_of(records)
    assert any(tensor.all_zero for tensor in checkpoint.tensors)  # lora_B as it begins


def shard(name: str, tensors: dict[str, float], path: Path, **metadata: str) -> None:
    table: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    for number, tensor in enumerate(tensors):
        table[tensor] = entry("F32", [1], 4 * number, 4 * number + 4)
    data = np.array(list(tensors.values()), "<f4").tobytes()
    (path / name).write_bytes(build(table, data))


def test_shards_of_two_saves_are_not_mixed(tmp_path: Path) -> None:
    shard("model-00001-of-00002.safetensors", {"a": 1.0}, tmp_path)
    shard("model-00002-of-00002.safetensors", {"b": 2.0}, tmp_path)
    shard("model-00001-of-00003.safetensors", {"a": np.nan}, tmp_path)
    shard("model.safetensors", {"a": 3.0, "b": 4.0}, tmp_path)
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (records,) = read_directory(tmp_path)
    found = {c.path: {t.name: t.max_abs for t in c.tensors} for c in of_type(records, Checkpoint)}
    assert found == {
        ".": {"a": 1.0, "b": 2.0},
        "model.safetensors": {"a": 3.0, "b": 4.0},
        "model-00001-of-00003.safetensors": {"a": None},
    }
    texts = [problem.text for problem in problems_of(records)]
    assert sum("of another save" in text for text in texts) == 2
    assert any("2 of 3 shards are not here (2, 3)" in text for text in texts)


def test_a_shard_that_states_another_step(tmp_path: Path) -> None:
    for number, step in ((1, "10"), (2, "10"), (3, "20")):
        name = f"model-0000{number}-of-00003.safetensors"
        shard(name, {f"t{number}": 1.0}, tmp_path, step=step, format="pt")
    (records,) = read_directory(tmp_path)
    (problem,) = problems_of(records)
    assert "states step '20', others '10'" in problem.text
    assert problem.source.path == "model-00003-of-00003.safetensors"


def test_total_size_of_the_index(tmp_path: Path) -> None:
    shard("m-00001-of-00001.safetensors", {"a": 1.0}, tmp_path)
    for total, count in ((4, 0), (8, 1), ("8", 0), (None, 0)):
        index = {"weight_map": {"a": "m-00001-of-00001.safetensors"}}
        index["metadata"] = {"total_size": total}  # type: ignore[assignment]
        (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
        (records,) = read_directory(tmp_path)
        assert len(problems_of(records)) == count


def test_an_optimizers_tensors_are_moments(tmp_path: Path) -> None:
    names = ["state.0.exp_avg", "optim.state.layer.weight.exp_avg_sq", "state.0.step", "mu.weight"]
    table = {name: entry("F32", [0] * size, 0, 0) for size, name in enumerate(names, 1)}
    checkpoint = checkpoint_of(read(build(table), tmp_path))
    roles = {t.name: (t.part, t.moment, t.parameter) for t in checkpoint.tensors}
    assert roles == {
        "state.0.exp_avg": ("moment", "exp_avg", None),
        "optim.state.layer.weight.exp_avg_sq": ("moment", "exp_avg_sq", "layer.weight"),
        "state.0.step": ("state", None, None),
        "mu.weight": ("parameter", None, None),
    }
    assert checkpoint.holds == "optimizer"


def test_shards_and_index_are_one_checkpoint() -> None:
    (records,) = read_directory(FIXTURES / "checkpoint-40")
    checkpoint = checkpoint_of(records)
    check_expected(checkpoint, EXPECTED["checkpoint-40"])
    assert not problems_of(records) and not checkpoint.missing
    (bad,) = checkpoint.nonfinite
    assert (bad.name, bad.first_nonfinite) == ("transformer.h.1.mlp.c_fc.weight", (3, 5))
    assert bad.path == "model-00002-of-00003.safetensors"


def test_path_and_step_of_shards(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "checkpoint-40", tmp_path / "run" / "checkpoint-40")
    (records,) = read_directory(tmp_path / "run")
    checkpoint = checkpoint_of(records)
    assert (checkpoint.path, checkpoint.step) == ("checkpoint-40", 40)


def test_missing_shard(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "checkpoint-40", tmp_path / "run")
    (tmp_path / "run" / "model-00002-of-00003.safetensors").unlink()
    (records,) = read_directory(tmp_path / "run")
    checkpoint = checkpoint_of(records)
    assert "transformer.h.1.mlp.c_fc.weight" in checkpoint.missing
    assert len(checkpoint.missing) + len(checkpoint.tensors) == len(EXPECTED["checkpoint-40"])
    (problem,) = problems_of(records)
    assert "model-00002-of-00003.safetensors" in problem.text and "not here" in problem.text


def test_index_alone(tmp_path: Path) -> None:
    index = FIXTURES / "checkpoint-40" / "model.safetensors.index.json"
    checkpoint = checkpoint_of(read_file(READER, index))
    assert not checkpoint.tensors and len(checkpoint.missing) == len(EXPECTED["checkpoint-40"])


def test_index_against_the_shards(tmp_path: Path) -> None:
    one = build({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 4, 8)}, b"\0" * 8)
    (tmp_path / "m-00001-of-00002.safetensors").write_bytes(one)
    (tmp_path / "m-00002-of-00002.safetensors").write_bytes(one)
    weight_map = {"a": "m-00001-of-00002.safetensors", "c": "m-00002-of-00002.safetensors"}
    weight_map["d"] = "../../etc/passwd"
    index = json.dumps({"weight_map": weight_map})
    (tmp_path / "m.safetensors.index.json").write_text(index)
    (records,) = read_directory(tmp_path)
    text = " | ".join(problem.text for problem in problems_of(records))
    assert "2 tensors are also in m-00001-of-00002.safetensors" in text
    assert "does not give, the first is 'c'" in text
    assert "'../../etc/passwd', which is not here" in text
    assert "does not list 1 tensors, the first is 'b'" in text
    assert checkpoint_of(records).missing == ("c", "d")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weight_map": 3}', '{"weight_map": [1]}', "{}"])
def test_bad_index_is_a_problem(tmp_path: Path, text: str) -> None:
    data = build({"a": entry("F32", [1], 0, 4)}, b"\0" * 4)
    (tmp_path / "m-00001-of-00001.safetensors").write_bytes(data)
    (tmp_path / "m.safetensors.index.json").write_text(text)
    (records,) = read_directory(tmp_path)
    assert len(checkpoint_of(records).tensors) == 1
    assert "index cannot be used" in problems_of(records)[0].text


def test_other_sharding_names(tmp_path: Path) -> None:
    for number in (1, 2):
        name = f"shard-0000{number}-model-0000{number}-of-00002.safetensors"
        data = build({f"t{number}": entry("F32", [1], 0, 4)}, b"\0" * 4)
        (tmp_path / name).write_bytes(data)
    variant = tmp_path / "net.fp16-00001-of-00001.safetensors"
    variant.write_bytes(build({"v": entry("F16", [1], 0, 2)}, b"\0" * 2))
    (tmp_path / "net.safetensors.index.fp16.json").write_text(
        json.dumps({"weight_map": {"v": variant.name}})
    )
    first, second = read_directory(tmp_path)
    assert [t.name for t in checkpoint_of(first).tensors] == ["v"]
    assert [t.name for t in checkpoint_of(second).tensors] == ["t1", "t2"]
    assert not problems_of(first) + problems_of(second)


def test_git_lfs_pointer_is_skipped_with_its_reason(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4976698672\n"
    records = read(pointer, tmp_path)
    (skipped,) = of_type(records, Skipped)
    assert skipped.reason == "a Git LFS pointer: the content of 4976698672 bytes was not downloaded"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0 bytes"),
        (b"abc", "3 bytes"),
        (struct.pack("<Q", 10**12), "above the format's limit"),
        (build(b"{}", length=500), "cut short inside the header"),
        (build(b'{"a": '), "not JSON"),
        (build(b"[1, 2]"), "not a JSON object"),
        (build(b"[" * 100_000), "not JSON"),
        (build(b'{"a":' + b"9" * 5000 + b"}"), "not JSON"),
    ],
)
def test_unusable_headers(tmp_path: Path, data: bytes, text: str) -> None:
    records = read(data, tmp_path)
    assert not of_type(records, Checkpoint)
    assert text in of_type(records, Skipped)[0].reason


@pytest.mark.parametrize(
    ("table", "data", "text", "read_names", "missing"),
    [
        ({"a": entry("F7", [1], 0, 4)}, 4, "unknown dtype 'F7'", [], ["a"]),
        ({"a": entry("F32", [2], 0, 4)}, 4, "takes 8 bytes, its offsets span 4", [], ["a"]),
        ({"a": entry("F32", [2**40, 2**40], 0, 4)}, 4, "its offsets span 4", [], ["a"]),
        ({"a": entry("F32", [1], 8, 4)}, 8, "impossible data_offsets", [], ["a"]),
        ({"a": entry("F32", [-1], 0, 4)}, 4, "lacks a usable", [], ["a"]),
        ({"a": entry("F32", [True], 0, 4)}, 4, "lacks a usable", [], ["a"]),
        ({"a": {"dtype": "F32"}}, 4, "lacks a usable", [], ["a"]),
        ({"a": 3}, 4, "not an object", [], ["a"]),
        ({"a" * 400: entry("F32", [1], 0, 4)}, 4, "400 characters", [], ["a" * 400]),
        ({"a": entry("F32", [1] * 65, 0, 4)}, 4, "65 dimensions", [], ["a"]),
        ({"a": entry("F32", [1], 4, 8)}, 8, "4 bytes at byte", ["a"], []),
        ({"a": entry("F32", [1], 0, 4)}, 9, "5 bytes at byte", ["a"], []),
        (
            {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)},
            12,
            "'a' and 'b' overlap",
            ["a", "b"],
            [],
        ),
        (
            {"a": entry("F32", [1], 0, 4), "b": entry("F32", [2], 4, 12)},
            10,
            "1 of 3 tensors lost",
            ["a"],
            ["b"],
        ),
    ],
)
def test_lying_entries(
    tmp_path: Path,
    table: dict[str, Any],
    data: int,
    text: str,
    read_names: list[str],
    missing: list[str],
) -> None:
    table["ok"] = entry("F32", [0], 0, 0)
    records = read(build(table, b"\0" * data), tmp_path)
    checkpoint = checkpoint_of(records)
    assert [tensor.name for tensor in checkpoint.tensors] == [*read_names, "ok"]
    assert list(checkpoint.missing) == missing
    assert any(text in problem.text for problem in problems_of(records))


def test_duplicate_key_is_flagged_and_the_first_counts(tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    header += b'"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}'
    records = read(build(header, b"\0" * 4), tmp_path)
    assert checkpoint_of(records).tensors[0].dtype == "F32"
    assert problems_of(records)[0].text == "the header names tensor 'a' more than once"


def test_many_tensors_over_the_same_bytes_are_not_read_for_ever(tmp_path: Path) -> None:
    size = 1 << 16
    table = {f"t{i}": entry("U8", [size], 0, size) for i in range(3000)}
    records = read(build(table, b"\0" * size), tmp_path)
    checkpoint = checkpoint_of(records)
    assert len(checkpoint.tensors) < 20
    assert len(checkpoint.tensors) + len(checkpoint.missing) == 3000
    assert len(problems_of(records)) <= 21


def test_too_many_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanautopsy.checkpoints._safetensors_header._MAX_TENSORS", 10)
    table = {f"t{i}": entry("U8", [0], 0, 0) for i in range(20)}
    assert "more than 10" in of_type(read(build(table), tmp_path), Skipped)[0].reason


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    header = b'{"\\ud800x\\u001b[31m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tensor,) = checkpoint_of(read(build(header, b"\0" * 4), tmp_path)).tensors
    tensor.name.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "tensors", "holds"),
    [
        ("model.safetensors", ["a.weight"], "model"),
        ("adapter_model.safetensors", ["x.lora_A.weight"], "adapter"),
        ("pytorch_lora_weights.safetensors", ["unet.lora_A.weight"], "adapter"),
        ("optimizer.safetensors", ["a"], "optimizer"),
        ("state.safetensors", ["a.exp_avg", "a.exp_avg_sq"], "optimizer"),
    ],
)
def test_what_it_holds(tmp_path: Path, name: str, tensors: list[str], holds: str) -> None:
    table = {tensor: entry("F32", [0], 0, 0) for tensor in tensors}
    assert checkpoint_of(read(build(table), tmp_path, name)).holds == holds


def test_claims_by_content_and_not_by_extension(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(WHOLE)
    assert READER.claim(head_of(path)) is not None
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100)
    assert READER.claim(head_of(path)) is None
    path.write_text("hello {world}\n" * 20)
    assert READER.claim(head_of(path)) is None


@given(st.integers(0, len(WHOLE)))
@settings(deadline=None, max_examples=150)
def test_truncation_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")
    records = read(WHOLE[:size], tmp_path)
    found = of_type(records, Checkpoint)
    if not found:
        assert of_type(records, Skipped)
        return
    expected = EXPECTED["dtypes.safetensors"]
    names = {tensor.name for tensor in found[0].tensors}
    assert names | set(found[0].missing) == set(expected)
    assert bool(found[0].missing) == (size < len(WHOLE)) == bool(problems_of(records))


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    check_damaged(read(bytes(broken), tmp_path_factory.mktemp("flip")), {})


@given(st.binary(max_size=300), st.booleans())
@settings(deadline=None)
def test_any_bytes_as_header(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, framed: bool
) -> None:
    records = read(build(data, data) if framed else data, tmp_path_factory.mktemp("junk"))
    assert all(isinstance(record, (Checkpoint, Problem, Skipped)) for record in records)


NUMBERS = st.one_of(
    st.integers(-2, 20), st.integers(0, 2**70), st.none(), st.text(max_size=2), st.floats()
)


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {},
            optional={
                "dtype": st.one_of(st.sampled_from(["F32", "BF16", "F4", "U8", ""]), NUMBERS),
                "shape": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
                "data_offsets": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
            },
        ),
        max_size=4,
    ),
    st.integers(0, 30),
)
@settings(deadline=None, max_examples=200)
def test_any_header_table(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any], size: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("lies")
    records = read(build(table, bytes(range(size))), tmp_path)
    checkpoint = checkpoint_of(records)
    names = {tensor.name for tensor in checkpoint.tensors} | set(checkpoint.missing)
    assert len(names) == len({name for name in table if name != "__metadata__"})


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_samples_agree_with_the_library() -> None:
    path = SHARED / "safetensors-samples" / "samples" / "overall.safetensors"
    checkpoint = checkpoint_of(read_file(READER, path))
    arrays = load_file(path)
    for tensor in checkpoint.tensors:
        values = arrays[tensor.name].astype(np.float64)
        assert tensor.max_abs == float(np.abs(values).max())
        assert tensor.zero == int((values == 0).sum())
    assert len(checkpoint.tensors) == len(arrays) == 9


def test_module_defines_the_reader() -> None:
    assert safetensors.READER.name == "safetensors"
