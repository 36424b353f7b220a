"""Running one reader: what it gave before it failed is kept, and every failure is visible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeReader, artifact

from nanautopsy import read as module
from nanautopsy.model import Artifact, LogEvent, Problem, Reading, Record, Skipped, Source
from nanautopsy.read import load_readers, read

EVENT = LogEvent("traceback", "Traceback", Source("train.log", line=3))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_bytes(b"step 1\n")
    return path


def _read(log: Path, *records: Record | Exception) -> Reading:
    """What reading gives when the reader yields these, and raises those."""

    def give(artifact: Artifact) -> Iterator[Record]:
        for record in records:
            if isinstance(record, Exception):
                raise record
            yield record

    return read(artifact(location=log), {"fake": FakeReader(records=give)})


def test_records_are_kept_in_order(log: Path) -> None:
    reading = _read(log, EVENT, EVENT)
    assert reading.records == (EVENT, EVENT)
    assert (reading.status, reading.problems, reading.skipped) == ("read", (), None)


def test_damage_is_a_problem_beside_the_records(log: Path) -> None:
    damage = Problem("ends inside a record", Source("train.log", offset=9))
    reading = _read(log, EVENT, damage, EVENT)
    assert reading.records == (EVENT, EVENT)
    assert reading.problems == (damage,)
    assert reading.status == "partly-read"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad\nmagic"), "the fake reader failed: ValueError: bad magic"),
        (RecursionError("too deep"), "the fake reader failed: RecursionError: too deep"),
        (MemoryError(), "memory ran out while this was read"),
    ],
)
def test_what_came_before_a_failure_is_kept(log: Path, error: Exception, text: str) -> None:
    reading = _read(log, EVENT, error)
    assert reading.records == (EVENT,)
    assert reading.status == "partly-read"
    assert reading.problems == (Problem(text, Source("train.log")),)


def test_a_failure_before_any_record_is_the_reason_for_skipping(log: Path) -> None:
    reading = _read(log, KeyError("dtype"))
    assert reading.status == "skipped"
    assert reading.skipped == "the fake reader failed: KeyError: 'dtype'"


def test_an_input_error_names_what_the_system_says(log: Path) -> None:
    reading = _read(log, EVENT, PermissionError(13, "Permission denied"))
    assert [p.text for p in reading.problems] == ["cannot be read: Permission denied"]


def test_an_artifact_that_turns_out_unreadable_is_skipped(log: Path) -> None:
    reading = _read(log, Skipped("a table of results, not of steps"))
    assert reading.status == "skipped"
    assert reading.skipped == "a table of results, not of steps"
    assert reading.problems == ()


def test_an_unknown_reader_is_a_problem(log: Path) -> None:
    assert read(artifact(location=log), {}).status == "skipped"


# --- digests --------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_content(log: Path) -> None:
    assert _read(log).digest == "sha256:" + hashlib.sha256(b"step 1\n").hexdigest()


def test_a_group_is_digested_in_order(tmp_path: Path) -> None:
    members = []
    for name, content in (("a", b"one"), ("b", b"two")):
        (tmp_path / name).write_bytes(content)
        members.append((name, tmp_path / name))
    group = Artifact("a", "fake", "fake", tuple(members), 6)
    reading = read(group, {"fake": FakeReader()})
    assert reading.digest == "sha256:" + hashlib.sha256(b"onetwo").hexdigest()


def test_a_large_file_is_known_by_its_size_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DIGEST_WHOLE_BYTES", 10)
    monkeypatch.setattr(module, "_DIGEST_END_BYTES", 4)
    digests = []
    for middle in (b"....", b"!!!!", b"....."):
        path = tmp_path / "model.bin"
        path.write_bytes(b"head" + middle + b"tail")
        digests.append(_read(path).digest)
    assert all(digest is not None and digest.startswith("sha256-ends:") for digest in digests)
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_file_that_vanished_has_no_digest(tmp_path: Path) -> None:
    gone = tmp_path / "gone.log"
    reading = read(artifact(location=gone), {"fake": FakeReader()})
    assert reading.digest is None


def test_a_file_that_vanishes_while_it_is_read_keeps_its_records(log: Path) -> None:
    def give(artifact: Artifact) -> Iterator[Record]:
        yield EVENT
        log.unlink()
        artifact.location.read_bytes()

    reading = read(artifact(location=log), {"fake": FakeReader(records=give)})
    assert reading.records == (EVENT,)
    assert [p.text for p in reading.problems] == ["cannot be read: No such file or directory"]
    assert reading.digest is None


# --- our own readers ------------------------------------------------------------------------------


def test_every_reader_of_ours_has_a_name_of_its_own() -> None:
    loaded = load_readers()
    names = [reader.name for reader in loaded.parts]
    assert len(names) == len(set(names)) > 5
    assert loaded.problems == ()


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\n", b"\xff\xfe", b"{", b"[" * 65536, b"\x80\x02"]
)
@pytest.mark.parametrize(
    "name",
    [
        "events.out.tfevents.1.host", "run.wandb", "trainer_state.json", "model.safetensors",
        "train.log", "metrics.jsonl", "metrics.csv", "config.json", "config.yaml",
        "requirements.txt", "wandb-metadata.json", "x",
    ],
)  # fmt: skip
def test_no_reader_of_ours_fails_on_a_stub(tmp_path: Path, name: str, content: bytes) -> None:
    from nanautopsy.discover import discover

    (tmp_path / name).write_bytes(content)
    readers = load_readers().parts
    found = discover(tmp_path, readers)
    assert found.notes == ()
    for one in found.artifacts:
        reading = read(one, {reader.name: reader for reader in readers})
        assert not any("reader failed" in problem.text for problem in reading.problems)
