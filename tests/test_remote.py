"""Checkpoints behind URLs: which bytes are asked for, and servers that misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import stfiles
from click.testing import CliRunner
from rangeserver import Served, serving

from nanautopsy import _remote_fetch, inspect, remote
from nanautopsy._remote_fetch import Answer, RemoteError
from nanautopsy._remote_ranges import BLOCK, CHUNK, HEAD, ByteCache, RangeSource, RemoteHandle
from nanautopsy.cli import nanautopsy
from nanautopsy.discover import NothingToRead

pytest.importorskip("aiohttp")

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _local_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between the test and its server, and no waiting."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_remote_fetch, "PAUSE", 0.0)


def _weights(nan: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    tensors = {
        f"layers.{i}.weight": rng.normal(size=(512, 1024)).astype(np.float32) for i in range(6)
    }
    if nan:
        tensors["layers.3.weight"][5, 7] = np.nan
    return tensors


@pytest.fixture(scope="module")
def big() -> bytes:
    """A file of 12 MiB with one NaN."""
    return stfiles.content(_weights(nan=True))


@pytest.fixture
def server(big: bytes) -> Iterator[Served]:
    with serving({"/run/checkpoint-700/model.safetensors": big}) as served:
        yield served


MODEL = "/run/checkpoint-700/model.safetensors"


# --- which bytes are asked for --------------------------------------------------------------------


def test_a_file_is_measured_where_it_lies(server: Served) -> None:
    result = inspect(server.url + MODEL, depth="full")
    (member,) = result.inspected
    assert member.checkpoint.path == "checkpoint-700/model.safetensors"
    assert member.checkpoint.step == 700
    assert member.damage == ("layers.3.weight",)
    assert result.paths == (server.url + MODEL,)
    assert result.problems == ()


def test_no_byte_comes_twice_and_blocks_are_large(server: Served, big: bytes) -> None:
    inspect(server.url + MODEL)
    assert server.sent <= len(big) + BLOCK
    assert len(server.ranges(MODEL)) <= 2 + len(big) // CHUNK + 1


def test_with_a_filter_only_the_header_and_the_tensor_come(server: Served, big: bytes) -> None:
    result = inspect(server.url + MODEL, filters=["layers.3.*"])
    start, stop = stfiles.places(big)["layers.3.weight"]
    assert [t.name for t in result.inspected[0].checkpoint.tensors] == ["layers.3.weight"]
    assert server.ranges(MODEL)[0] == (0, HEAD)
    assert all(start <= a and b <= stop for a, b in server.ranges(MODEL)[1:])
    assert server.sent == HEAD + (stop - start)


def test_the_result_is_that_of_the_local_file(server: Served, big: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-700" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(big)
    far, near = inspect(server.url + MODEL, depth="full"), inspect(path, depth="full")
    assert far.inspected == near.inspected


def test_an_index_leads_to_its_shards_and_nowhere_else() -> None:
    tensors = _weights()
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": stfiles.content({n: tensors[n] for n in names[:3]}),
        "model-00002-of-00002.safetensors": stfiles.content({n: tensors[n] for n in names[3:]}),
    }
    weight_map = dict.fromkeys(names[:3], "model-00001-of-00002.safetensors")
    weight_map |= dict.fromkeys(names[3:], "model-00002-of-00002.safetensors")
    weight_map |= {"evil": "../../secret.safetensors", "worse": "http://127.0.0.1:1/x"}
    index = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    files = {f"/m/{name}": data for name, data in shards.items()}
    files["/m/model.safetensors.index.json"] = index
    with serving({**files, "/secret.safetensors": shards["model-00001-of-00002.safetensors"]}) as s:
        result = inspect(s.url + "/m/model.safetensors.index.json?token=abc")
        assert {path for path, _, _ in s.asked} == set(files)
    (member,) = result.inspected
    assert member.listed == 6
    assert set(member.checkpoint.missing) == {"evil", "worse"}
    assert any("2 of the 4 files that the index names" in p.text for p in result.problems)


def test_a_shard_that_is_not_there_is_missed() -> None:
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    files = {
        "/model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode(),
        "/model-00001-of-00002.safetensors": stfiles.content({"a": stfiles.floats(1, 2)}),
    }
    with serving(files) as served:
        result = inspect(served.url + "/model.safetensors.index.json")
    assert result.inspected[0].checkpoint.missing == ("b",)
    assert any("which is not here" in problem.text for problem in result.problems)


def test_several_urls_of_one_host_are_one_history() -> None:
    files = {
        f"/run/checkpoint-{step}/model.safetensors": stfiles.content(
            {"w": stfiles.floats(1, float("nan") if step > 200 else 2)}
        )
        for step in (100, 200, 300)
    }
    with serving(files) as served:
        result = inspect([served.url + path for path in files])
    (history,) = result.histories
    assert history.first_bad is not None and history.first_bad.checkpoint.step == 300
    assert history.last_good is not None and history.last_good.checkpoint.step == 200


# --- servers that misbehave -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("habit", "said"),
    [
        ("no-ranges", "the server ignores range requests and would send the whole file"),
        ("too-much", "the server sent more than the 65536 bytes asked for"),
        ("other-range", "asked for byte 0, the server sent byte 8 on"),
        ("gzip", "the server compresses what it sends"),
        ("no-length", "the server does not say how long the file is"),
        ("403", "access denied (HTTP 403)"),
        ("404", "not found (HTTP 404)"),
        ("401", "unauthorized (HTTP 401)"),
        ("500", "the server answered 500"),
        ("hang-up", "ServerDisconnectedError"),
    ],
)
def test_one_clear_line(server: Served, habit: str, said: str) -> None:
    server.habit = habit
    with pytest.raises(NothingToRead) as caught:
        inspect(server.url + MODEL)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.sent < 4 * MIB


def test_a_silent_server_is_given_up(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE_SECONDS", 0.3)
    server.habit = "silent"
    with pytest.raises(NothingToRead, match="no answer in time"):
        inspect(server.url + MODEL)


def test_nobody_listens() -> None:
    with pytest.raises(NothingToRead, match="Connect"):
        inspect("http://127.0.0.1:9/model.safetensors")


def test_a_failure_that_passes_is_not_noticed(server: Served) -> None:
    server.moods = ["503", "hang-up"]
    assert inspect(server.url + MODEL).failed


@pytest.mark.parametrize("habit", ["too-little", "grows"])
def test_a_server_that_lies_about_the_length(server: Served, habit: str) -> None:
    server.moods = [""]
    server.habit = habit
    result = inspect(server.url + MODEL)
    (member,) = result.inspected
    assert not member.checkpoint.tensors
    assert len(member.checkpoint.missing) == 6
    assert result.problems
    said = "bytes came for the range" if habit == "too-little" else "changed while it was read"
    assert all(said in problem.text for problem in result.problems)


def test_a_small_file_needs_no_ranges() -> None:
    data = stfiles.content({"w": stfiles.floats(1, 2)})
    with serving({"/model.safetensors": data}, "no-ranges") as served:
        assert not inspect(served.url + "/model.safetensors").failed


def test_a_web_page_is_named_one() -> None:
    with serving({"/org/model": b"<!DOCTYPE html><html>...</html>"}) as served:
        with pytest.raises(NothingToRead, match="a web page, not a file"):
            inspect(served.url + "/org/model")


def test_a_tensor_cut_short_is_missing() -> None:
    data = stfiles.content({"w": stfiles.floats(1, 2)})[:-1]
    with serving({"/model.safetensors": data}) as served:
        result = inspect(served.url + "/model.safetensors")
    assert result.inspected[0].checkpoint.missing == ("w",)
    assert any("cut short" in problem.text for problem in result.problems)


@pytest.mark.parametrize("size", [0, 3, 9])
def test_a_file_cut_short(size: int) -> None:
    data = stfiles.content({"w": stfiles.floats(1, 2)})[:size]
    with serving({"/model.safetensors": data}) as served:
        with pytest.raises(NothingToRead):
            inspect(served.url + "/model.safetensors")


# --- secrets --------------------------------------------------------------------------------------


def test_credentials_are_sent_and_never_shown(server: Served) -> None:
    url = server.url.replace("://", "://alice:s3cr3t-pw@") + MODEL + "?X-Amz-Signature=feedbeef"
    result = CliRunner().invoke(nanautopsy, ["inspect", url, "--format", "json"])
    assert result.exit_code == 0
    assert any("Authorization" in headers for headers in server.headers)
    server.habit = "403"
    refused = CliRunner().invoke(nanautopsy, ["inspect", url])
    nowhere = CliRunner().invoke(
        nanautopsy, ["inspect", "http://alice:s3cr3t-pw@127.0.0.1:9/x?X-Amz-Signature=feedbeef"]
    )
    assert refused.exit_code == nowhere.exit_code == 2
    for shown in (result.output, refused.output, nowhere.output):
        assert "s3cr3t" not in shown and "feedbeef" not in shown and "alice" not in shown


def test_a_missing_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.core

    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(NothingToRead, match="s3:// needs s3fs: pip install"):
        inspect("s3://bucket/model.safetensors")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(NothingToRead, match="Protocol not known"):
        inspect("gopher://host/model.safetensors")


# --- file systems that list -----------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[str]:
    """A run on fsspec's memory file system."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for step in (100, 200, 300):
        bad = float("nan") if step == 300 else 2.0
        data = stfiles.content({"w": stfiles.floats(1.0, bad)})
        memory.pipe(f"/run/checkpoint-{step}/model.safetensors", data)
    memory.pipe("/run/train.log", b"step 1 loss 2.0\n")
    yield "memory://run"
    memory.rm("/run", recursive=True)


def test_a_directory_is_listed(bucket: str) -> None:
    result = inspect(bucket)
    assert [m.checkpoint.step for m in result.inspected] == [100, 200, 300]
    assert [m.condition for m in result.inspected] == ["finite", "finite", "non-finite"]


def test_a_glob_and_a_file(bucket: str) -> None:
    result = inspect(f"{bucket}/checkpoint-[12]00/*.safetensors")
    assert [m.checkpoint.step for m in result.inspected] == [100, 200]
    assert inspect(f"{bucket}/checkpoint-300/model.safetensors").failed


@pytest.mark.parametrize("path", ["nope", "checkpoint-9*", "train.log"])
def test_nothing_there(bucket: str, path: str) -> None:
    with pytest.raises(NothingToRead):
        inspect(f"{bucket}/{path}")


def test_against_a_remote_one(bucket: str) -> None:
    result = inspect(f"{bucket}/checkpoint-300", against=f"{bucket}/checkpoint-200")
    assert result.diff is not None
    assert [tensor.name for tensor in result.diff.turned] == ["w"]


# --- the cache ------------------------------------------------------------------------------------


def _source(size: int) -> tuple[RangeSource, list[tuple[int, int]], bytes]:
    data = np.random.default_rng(1).bytes(size)
    asked: list[tuple[int, int]] = []

    def fetch(start: int, stop: int, /) -> Answer:
        asked.append((start, stop))
        return Answer(data[start:stop], None)

    return RangeSource(fetch, size, ByteCache()), asked, data


def test_a_handle_reads_like_a_file() -> None:
    source, _, data = _source(3 * BLOCK + 5)
    handle = RemoteHandle(source)
    assert handle.read(10) == data[:10]
    assert handle.seek(-7, 2) == len(data) - 7
    assert handle.read() == data[-7:]
    assert handle.read(4) == b""
    handle.seek(BLOCK - 3)
    buffer = bytearray(9)
    assert handle.readinto(memoryview(buffer)) == 9
    assert bytes(buffer) == data[BLOCK - 3 : BLOCK + 6]
    handle.seek(0)
    assert handle.read() == data


def test_small_reads_in_a_row_take_ever_larger_blocks() -> None:
    source, asked, data = _source(64 * BLOCK)
    got = b"".join(source.read(start, start + 100) for start in range(0, 32 * BLOCK, 100))
    assert got == data[: len(got)]
    assert len(asked) <= 7
    assert sum(stop - start for start, stop in asked) <= 64 * BLOCK


def test_what_is_announced_comes_in_chunks_that_end_with_it() -> None:
    source, asked, data = _source(HEAD + 3 * CHUNK)
    begin, end = HEAD + 1000, HEAD + 1000 + CHUNK + CHUNK // 2
    source.want([(begin, end - 10), (end - 10, end), (0, 50)])
    for start in range(begin, end, 250_000):
        assert (
            source.read(start, min(start + 250_000, end)) == data[start : min(start + 250_000, end)]
        )
    assert asked == [(begin, begin + CHUNK), (begin + CHUNK, end)]


def test_the_cache_is_bounded() -> None:
    cache = ByteCache(limit=100)
    for start in range(0, 1000, 10):
        cache.put(1, start, bytes(10))
    assert not cache.has(1, 0)
    assert sum(cache.has(1, start) for start in range(0, 1000, 10)) == 10


def test_an_error_reaches_everyone_who_waits_and_is_not_kept() -> None:
    cache = ByteCache()

    def fail() -> bytes:
        raise RemoteError("gone")

    with pytest.raises(RemoteError):
        cache.get(1, 0, fail)
    assert cache.get(1, 0, lambda: b"here") == b"here"
