"""Walking a run directory: hostile names, links, permissions, and readers that fail."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from fakes import FakeReader
from hypothesis import given
from hypothesis import strategies as st

from nanautopsy import discover as module
from nanautopsy.discover import HEAD_BYTES, Discovery, NothingToRead, discover, natural_key
from nanautopsy.model import Claim, FileHead

Unprivileged = Callable[[], AbstractContextManager[None]]


def _write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _paths(found: Discovery) -> list[str]:
    return [artifact.path for artifact in found.artifacts]


def _problems(found: Discovery) -> dict[str, str]:
    return {problem.source.path: problem.text for problem in found.problems}


# --- what is claimed ------------------------------------------------------------------------------


def test_files_are_claimed_in_natural_order(tmp_path: Path) -> None:
    _write(tmp_path, "step10.log", "step9.log", "step1.log", "b/x.log", "a/x.log", "notes.md")
    found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == ["step1.log", "step9.log", "step10.log", "a/x.log", "b/x.log"]
    assert found.unclaimed == (("notes.md", 8),)
    assert found.problems == ()


def test_the_most_confident_claim_wins(tmp_path: Path) -> None:
    _write(tmp_path, "train.log")
    readers = [FakeReader("weak", confidence=10), FakeReader("sure", confidence=90)]
    assert discover(tmp_path, readers).artifacts[0].reader == "sure"
    assert discover(tmp_path, readers[::-1]).artifacts[0].reader == "sure"


def test_a_group_is_one_artifact_within_its_directory(tmp_path: Path) -> None:
    _write(tmp_path, "a/part-10.log", "a/part-2.log", "b/part-1.log")
    first, second = discover(tmp_path, [FakeReader(group="parts")]).artifacts
    assert [name for name, _ in first.members] == ["a/part-2.log", "a/part-10.log"]
    assert first.path == "a/part-2.log"
    assert first.bytes == len("a/part-2.log") + len("a/part-10.log")
    assert second.path == "b/part-1.log"


def test_readers_of_equal_groups_do_not_share_an_artifact(tmp_path: Path) -> None:
    _write(tmp_path, "x.log", "x.txt")
    readers = [FakeReader("one", ".log", group="g"), FakeReader("two", ".txt", group="g")]
    assert [a.reader for a in discover(tmp_path, readers).artifacts] == ["one", "two"]


def test_readers_see_the_first_block_and_the_size(tmp_path: Path) -> None:
    (tmp_path / "big.log").write_bytes(b"x" * (HEAD_BYTES + 5))
    seen: list[FileHead] = []

    class Looking(FakeReader):
        def claim(self, file: FileHead) -> Claim | None:
            seen.append(file)
            return None

    discover(tmp_path, [Looking()])
    assert (len(seen[0].head), seen[0].size) == (HEAD_BYTES, HEAD_BYTES + 5)


def test_a_single_file_is_a_run(tmp_path: Path) -> None:
    _write(tmp_path, "train.log", "other.log")
    found = discover(tmp_path / "train.log", [FakeReader()])
    assert _paths(found) == ["train.log"]
    assert found.artifacts[0].location == tmp_path / "train.log"


def test_version_control_and_caches_are_left_out(tmp_path: Path) -> None:
    _write(tmp_path, ".git/x.log", "__pycache__/y.log", "train.log")
    assert _paths(discover(tmp_path, [FakeReader()])) == ["train.log"]


def test_links_of_a_download_cache_are_files(tmp_path: Path) -> None:
    _write(tmp_path, "models--a--b/blobs/0f3a", "outside/blobs/77")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "train.log").symlink_to(Path("../../blobs/0f3a"))
    (snapshot / "other.log").symlink_to(tmp_path / "outside/blobs/77")
    found = discover(snapshot, [FakeReader()])
    assert _paths(found) == ["train.log"]
    assert _problems(found) == {"other.log": "a link out of the run directory; not followed"}


def test_five_thousand_files(tmp_path: Path) -> None:
    for i in range(5000):
        (tmp_path / f"shard-{i}.log").touch()
    found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == [f"shard-{i}.log" for i in range(5000)]


# --- nothing there --------------------------------------------------------------------------------


def test_a_missing_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingToRead, match=r"no-such-run: no such file or directory$"):
        discover(tmp_path / "no-such-run", [])


def test_an_empty_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(NothingToRead, match="holds no file"):
        discover(tmp_path, [])


# --- links ----------------------------------------------------------------------------------------


def test_a_link_out_of_the_run_is_not_followed(tmp_path: Path) -> None:
    _write(tmp_path, "outside/secret.log", "run/train.log")
    run = tmp_path / "run"
    (run / "file.log").symlink_to(tmp_path / "outside" / "secret.log")
    (run / "folder").symlink_to(tmp_path / "outside")
    found = discover(run, [FakeReader()])
    assert _paths(found) == ["train.log"]
    text = "a link out of the run directory; not followed"
    assert _problems(found) == {"file.log": text, "folder": text}


def test_a_sibling_with_the_same_prefix_is_outside(tmp_path: Path) -> None:
    _write(tmp_path, "run-2/secret.log", "run/train.log")
    (tmp_path / "run" / "link.log").symlink_to("../run-2/secret.log")
    assert _paths(discover(tmp_path / "run", [FakeReader()])) == ["train.log"]


def test_a_link_inside_the_run_is_read_once(tmp_path: Path) -> None:
    _write(tmp_path, "checkpoint-10/state.log")
    (tmp_path / "latest").symlink_to("checkpoint-10")
    (tmp_path / "last.log").symlink_to("checkpoint-10/state.log")
    found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == ["checkpoint-10/state.log"]
    assert found.problems == ()


def test_loops_end(tmp_path: Path) -> None:
    _write(tmp_path, "a/b/train.log")
    (tmp_path / "a" / "b" / "up").symlink_to("../../a")
    (tmp_path / "a" / "top").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == ["a/b/train.log"]
    assert _problems(found) == {
        "self": "a link that leads nowhere",
        "a/b/up": "a link loop; not followed",
        "a/top": "a link loop; not followed",
    }


def test_a_dangling_link_is_a_problem(tmp_path: Path) -> None:
    _write(tmp_path, "train.log")
    (tmp_path / "latest-run").symlink_to("run-20240101")
    found = discover(tmp_path, [FakeReader()])
    assert _problems(found) == {"latest-run": "a link that leads nowhere"}


def test_a_run_given_by_a_link_is_walked(tmp_path: Path) -> None:
    _write(tmp_path, "run/train.log")
    (tmp_path / "latest").symlink_to("run")
    assert _paths(discover(tmp_path / "latest", [FakeReader()])) == ["train.log"]


# --- what cannot be read --------------------------------------------------------------------------


def test_an_unreadable_file_is_a_problem(open_folder: Path, unprivileged: Unprivileged) -> None:
    _write(open_folder, "good.log", "locked.log")
    (open_folder / "locked.log").chmod(0)
    with unprivileged():
        found = discover(open_folder, [FakeReader()])
    assert _paths(found) == ["good.log"]
    assert _problems(found) == {"locked.log": "cannot be read: Permission denied"}


def test_an_unreadable_directory_is_a_problem(
    open_folder: Path, unprivileged: Unprivileged
) -> None:
    _write(open_folder, "good.log", "locked/a.log")
    (open_folder / "locked").chmod(0)
    with unprivileged():
        found = discover(open_folder, [FakeReader()])
    assert _paths(found) == ["good.log"]
    assert _problems(found) == {"locked": "directory cannot be read: Permission denied"}


def test_an_unreadable_root_is_a_problem(open_folder: Path, unprivileged: Unprivileged) -> None:
    open_folder.chmod(0)
    with unprivileged():
        found = discover(open_folder, [FakeReader()])
    assert _problems(found) == {".": "directory cannot be read: Permission denied"}


def test_pipes_and_sockets_do_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "train.log")
    os.mkfifo(tmp_path / "pipe.log")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 characters only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.log")
        found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == ["train.log"]
    text = "not a regular file; not read"
    assert _problems(found) == {"pipe.log": text, "socket.log": text}


def test_a_pipe_given_as_the_run_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = discover(tmp_path / "pipe", [FakeReader()])
    assert _problems(found) == {"pipe": "not a regular file; not read"}


def test_a_file_that_vanishes_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, "a.log", "b.log")
    head = module._head

    def vanishing(relative: str, location: Path) -> FileHead | None:
        if relative == "a.log":
            location.unlink()
        return head(relative, location)

    monkeypatch.setattr(module, "_head", vanishing)
    found = discover(tmp_path, [FakeReader()])
    assert _paths(found) == ["b.log"]
    assert _problems(found) == {"a.log": "cannot be read: No such file or directory"}


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.log",
        "right\u202eto-left.log",
        "tab\tand\x1b[31m.log",
        os.fsdecode(b"not-utf8-\xff\xfe.log"),
        " .log",
        "-rf.log",
        "損失.log",
        "power².log",
    ],
)
def test_a_strange_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert _paths(discover(tmp_path, [FakeReader()])) == [name]


def test_numbers_in_names_sort_by_value() -> None:
    names = ["layer.10", "layer.9", "layer.010.b", "layer", "layer.9.a"]
    assert sorted(names, key=natural_key) == [
        "layer", "layer.9", "layer.9.a", "layer.10", "layer.010.b",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 10**30), max_size=20))
def test_natural_order_is_that_of_the_numbers(numbers: list[int]) -> None:
    names = [f"step-{number}" for number in numbers]
    assert sorted(names, key=natural_key) == [f"step-{number}" for number in sorted(numbers)]


@given(st.lists(st.text(), max_size=10))
def test_every_name_has_its_place(names: list[str]) -> None:
    keys = [natural_key(name) for name in names]
    assert [natural_key(name) for name in sorted(names, key=natural_key)] == sorted(keys)


def test_a_number_longer_than_python_parses_has_its_place() -> None:
    assert natural_key("9" * 5000) < natural_key("1" + "0" * 5000)


# --- readers that fail ----------------------------------------------------------------------------


class Failing(FakeReader):
    """Fails when it is asked."""

    def claim(self, file: FileHead) -> Claim | None:
        raise ValueError(f"bad magic\nin {file.name}")


def test_a_reader_that_fails_to_judge_leaves_the_file_to_others(tmp_path: Path) -> None:
    _write(tmp_path, "a.log", "b.log", "c.log")
    found = discover(tmp_path, [Failing("broken"), FakeReader()])
    assert _paths(found) == ["a.log", "b.log", "c.log"]
    assert found.notes == (
        "the broken reader failed at a.log: ValueError: bad magic in a.log (and at 2 more files)",
    )


def test_a_claim_that_is_no_claim_is_noted(tmp_path: Path) -> None:
    _write(tmp_path, "a.log")

    class Careless(FakeReader):
        def claim(self, file: FileHead) -> Claim | None:
            return True  # type: ignore[return-value]

    found = discover(tmp_path, [Careless("careless"), FakeReader()])
    assert _paths(found) == ["a.log"]
    assert found.notes[0].startswith(
        "the careless reader failed at a.log: TypeError: a claim that is a"
    )
