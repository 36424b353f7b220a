"""flax's MessagePack: what flax itself restores, and every way in which such a file can lie."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import SHARED, head_of, of_type, problems_of, read_artifact, read_file
from stored_facts import check_damaged, check_expected, checkpoint_of

from nanautopsy.checkpoints._msgpack import BadMsgpack, Payload, leaves
from nanautopsy.checkpoints.data_file import MemoryFile
from nanautopsy.checkpoints.flax_msgpack import READER
from nanautopsy.discover import discover
from nanautopsy.model import Checkpoint, Problem, Record, Skipped

FIXTURES = Path(__file__).parents[1] / "fixtures" / "flax"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
FILES = ("checkpoint_40", "layouts.msgpack", "chunked.msgpack")
CONTENTS = [(FIXTURES / name).read_bytes() for name in FILES]


def array(shape: bytes, dtype: bytes, data: bytes, code: int = 1) -> bytes:
    content = b"\x93" + shape + bytes([0xA0 + len(dtype)]) + dtype
    content += b"\xc4" + bytes([len(data)]) + data
    return b"\xc7" + bytes([len(content), code]) + content


def read(data: bytes, tmp_path: Path, name: str = "flax_model.msgpack") -> list[Record]:
    path = tmp_path / "file"
    path.write_bytes(data)
    return read_file(READER, path, name)


@pytest.mark.parametrize("name", FILES)
def test_trees_are_what_flax_reads(name: str) -> None:
    records = read_file(READER, FIXTURES / name)
    check_expected(checkpoint_of(records), EXPECTED[name])
    assert not problems_of(records)


def test_a_train_state_has_its_parts_and_its_step(tmp_path: Path) -> None:
    records = read_file(READER, FIXTURES / "checkpoint_40")
    checkpoint = checkpoint_of(records)
    assert checkpoint.step == 40 and checkpoint.state["global_step"] == 40
    assert checkpoint.holds == "model"
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
    moment = tensors["opt_state/0/mu/Dense_0/kernel"]
    assert (moment.moment, moment.parameter) == ("mu", "params/Dense_0/kernel")
    assert tensors["params/Dense_0/kernel"].first_nonfinite == (2, 1)
    assert checkpoint_of(read(CONTENTS[0], tmp_path, "last")).step == 40


def test_shards_with_their_index(tmp_path: Path) -> None:
    (artifact,) = discover(FIXTURES / "sharded", [READER]).artifacts
    records = read_artifact(READER, artifact)
    check_expected(checkpoint_of(records), EXPECTED["sharded"])
    assert not problems_of(records)
    shutil.copytree(FIXTURES / "sharded", tmp_path / "run")
    (tmp_path / "run" / "flax_model-00002-of-00002.msgpack").unlink()
    (artifact,) = discover(tmp_path / "run", [READER]).artifacts
    records = read_artifact(READER, artifact)
    assert checkpoint_of(records).missing == ("head/bias",)
    assert "not here" in problems_of(records)[0].text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (array(b"\x91\x02", b"float32", b"\0" * 4), "takes 8 bytes, not the 4 there"),
        (array(b"\x91\x01", b"float7", b"\0" * 4), "dtype 'float7' cannot be judged"),
        (array(b"\x91\x01", b"object", b"\0" * 4), "dtype 'object' cannot be judged"),
        (array(b"\x91\xff", b"float32", b""), "without shape, dtype and bytes"),
        (array(b"\xa1x", b"float32", b""), "without shape, dtype and bytes"),
        (array(b"\xcf" + b"\xff" * 8, b"float32", b""), "without shape, dtype and bytes"),
        (array(b"\x92\xce\xff\xff\xff\xff\xce\xff\xff\xff\xff", b"float32", b""), "takes"),
        (b"\xc7\x00\x01", "without shape, dtype and bytes"),
        (b"\xd4\x01\x93", "without shape, dtype and bytes"),
    ],
)
def test_lying_arrays(tmp_path: Path, value: bytes, text: str) -> None:
    good = array(b"\x91\x01", b"float32", struct.pack("<f", 2.0))
    records = read(b"\x82\xa3bad" + value + b"\xa4good" + good, tmp_path)
    checkpoint = checkpoint_of(records)
    assert [tensor.name for tensor in checkpoint.tensors] == ["good"]
    assert checkpoint.missing == ("bad",)
    assert text in problems_of(records)[0].text


def test_duplicate_keys_are_told(tmp_path: Path) -> None:
    one = array(b"\x90", b"float32", b"\0" * 4)
    records = read(b"\x82\xa1a" + one + b"\xa1a" + one, tmp_path)
    assert len(checkpoint_of(records).tensors) == 1
    assert "more than once" in problems_of(records)[0].text


def test_old_spelling_of_bfloat16(tmp_path: Path) -> None:
    records = read(b"\x81\xa1a" + array(b"\x91\x02", b"V2", b"\x80\x3f\xc0\x7f"), tmp_path)
    (tensor,) = checkpoint_of(records).tensors
    assert (tensor.dtype, tensor.nan, tensor.max_abs) == ("BF16", 1, 1.0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x81\xa1a" * 100_000, "nested more than 200 levels deep"),
        (b"\xdf\xff\xff\xff\xff\xa1a", "do not fit"),
        (b"\x81\xa1a\xc1", "begins no value"),
        (b"\x81\x90\x90", "a key that is no text"),
        (b"\x81\xdb\xff\xff\xff\xff", "cut short"),
    ],
)
def test_structures_that_are_refused(tmp_path: Path, data: bytes, text: str) -> None:
    records = read(data, tmp_path)
    assert text in problems_of(records)[0].text
    assert of_type(records, Skipped)


def test_other_msgpack_is_not_claimed_by_content(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    for data in (b"\x81\xa1a\x01", b"\x81\xa1a\xc4\x01x", b"", b"{}", b"\x80"):
        path.write_bytes(data)
        assert READER.claim(head_of(path)) is None


@given(st.recursive(st.integers(-(2**31), 2**31) | st.text(max_size=40) | st.none(), st.lists))
@settings(deadline=None)
def test_values_are_those_that_the_package_packs(value: object) -> None:
    msgpack = pytest.importorskip("msgpack")
    packed = msgpack.packb({"x": value})
    with MemoryFile("", packed).open() as handle:
        found = [leaf for _, leaf, _ in leaves(handle, 0, len(packed))]
    assert found == list(flat(value))


def flat(value: object) -> list[object]:
    if isinstance(value, list):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    with MemoryFile("", data).open() as handle:
        try:
            for _, value, _ in leaves(handle, 0, len(data)):
                assert isinstance(value, (str, int, float, bool, Payload, type(None)))
        except BadMsgpack as error:
            assert 0 <= error.offset <= len(data)


@pytest.mark.parametrize("name", FILES)
def test_truncation_everywhere(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    for size in range(0, len(data), 3):
        path = tmp_path / f"{size}.msgpack"
        path.write_bytes(data[:size])
        if READER.claim(head_of(path)) is not None:
            check_damaged(read_file(READER, path), EXPECTED[name])


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    broken = bytearray(CONTENTS[data.draw(st.integers(0, len(CONTENTS) - 1))])
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("flip") / "a.msgpack"
    path.write_bytes(bytes(broken))
    if READER.claim(head_of(path)) is not None:
        records = read_file(READER, path)
        assert all(isinstance(r, (Checkpoint, Problem, Skipped)) for r in records)


@pytest.mark.real
@pytest.mark.skipif(not SHARED.exists(), reason="public artifacts are not here")
def test_public_aggregate_file() -> None:
    (path,) = (SHARED / "orbax-ckpt").rglob("aggregate_all.checkpoint/checkpoint")
    checkpoint = checkpoint_of(read_file(READER, path))
    found = {tensor.name: (tensor.shape, tensor.max_abs) for tensor in checkpoint.tensors}
    assert found == {"a": ((8,), 7), "b": ((16,), 30), "c/a": ((2, 4), 21), "c/e": ((4, 4), 60)}
