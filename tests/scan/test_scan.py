"""A scan analyzes what is new, and leaves the rest alone."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scan.archives import LOG, SAMPLES, Shelf, lay

from nanautopsy import analyze
from nanautopsy.discover import NothingToRead
from nanautopsy.render.json import document
from nanautopsy.scan import rules, work
from nanautopsy.scan.fingerprint import fingerprint_of, is_same
from nanautopsy.scan.results import ScanResult
from nanautopsy.scan.scan import Options, Scan, open_scan
from nanautopsy.scan.settings import Settings
from nanautopsy.scan.tree import Entry, _LocalTree

LONG_AGO = 1_700_000_000


def scanned(archive: Path, shelf: Shelf, **options: object) -> tuple[Scan, list[ScanResult]]:
    scan = open_scan(archive, Options(jobs=1, **options), shelf)  # type: ignore[arg-type]
    return scan, list(scan.results())


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three runs whose times do not look as if they were still being written."""
    root = lay(tmp_path / "archive", {f"{n}/train.log": LOG for n in ("a", "b")})
    shutil.copytree(SAMPLES / "lr-spike-healthy", root / "c")
    age(root)
    return root


def age(root: Path, seconds: int = LONG_AGO) -> None:
    for path in root.rglob("*"):
        os.utime(path, (seconds, seconds))


def test_a_result_is_what_analyze_says(archive: Path) -> None:
    scan, results = scanned(archive, Shelf())
    for result in results:
        expected = document(analyze(archive / result.root))
        assert json.loads(json.dumps(result.document)) == json.loads(json.dumps(expected))
        assert result.outcome == "analyzed"
        assert result.archive == str(archive)
    assert scan.tally.verdicts == {"non-finite": 2, "healthy": 1}
    assert scan.tally.found == scan.tally.scanned == 3
    assert {bool(result.signature) for result in results if result.root == "c"} == {False}


def test_runs_that_died_alike_share_a_signature(archive: Path) -> None:
    _, results = scanned(archive, Shelf())
    signatures = {result.root: result.signature for result in results}
    assert signatures["a"] == signatures["b"] != ""


def test_an_unchanged_archive_is_not_read(archive: Path) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    scan, results = scanned(archive, shelf)
    assert results == []
    assert (scan.tally.found, scan.tally.unchanged, scan.tally.scanned) == (3, 3, 0)


def test_an_unchanged_archive_is_not_even_opened(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    assert shelf.files["a/train.log"].kind == "log"
    opened: list[str] = []
    head = _LocalTree.head

    def noting(tree: _LocalTree, file: Entry) -> bytes:
        opened.append(file.path)
        return head(tree, file)

    monkeypatch.setattr(_LocalTree, "head", noting)
    assert scanned(archive, shelf)[1] == []
    assert opened == []
    (archive / "b" / "train.log").write_text("no training\n")
    age(archive / "b", LONG_AGO + 7)
    scan, _ = scanned(archive, shelf)
    assert opened == ["b/train.log"]
    assert scan.tally.found == 2
    assert shelf.files["b/train.log"].kind == ""


def test_what_grew_changed_came_and_went(archive: Path) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    with open(archive / "a" / "train.log", "a") as log:
        log.write("step 999 loss 1.0\n")
    shutil.rmtree(archive / "b")
    lay(archive, {"d/train.log": LOG})
    scan, results = scanned(archive, shelf)
    assert {result.root for result in results} == {"a", "d"}
    assert scan.tally.gone == 1
    assert (str(archive), "b") in shelf.kept
    assert "b/train.log" in shelf.files
    scanned(archive, shelf, prune=True)
    assert (str(archive), "b") not in shelf.kept
    assert shelf.files.keys() == {"a/train.log", "d/train.log"} & shelf.files.keys()


def test_what_was_not_looked_at_is_not_gone(archive: Path) -> None:
    from nanautopsy.scan.limits import Limits

    shelf = Shelf()
    scanned(archive, shelf)
    scan, _ = scanned(archive, shelf, prune=True, limits=Limits(exclude=("a",)))
    assert scan.tally.gone == 0
    assert len(shelf.kept) == 3


def test_a_run_that_is_being_written_is_read_again(archive: Path) -> None:
    (archive / "a" / "train.log").touch()
    shelf = Shelf()
    scanned(archive, shelf)
    _, results = scanned(archive, shelf)
    assert [result.root for result in results] == ["a"]


def test_times_that_lie(archive: Path) -> None:
    shelf = Shelf()
    scanned(archive, shelf, check_content=True)
    age(archive, LONG_AGO + 5)
    assert scanned(archive, shelf, check_content=True)[1] == []
    log = archive / "a" / "train.log"
    log.write_bytes(log.read_bytes().replace(b"1", b"2"))
    age(archive)
    assert scanned(archive, shelf)[1] == []
    _, results = scanned(archive, shelf, check_content=True)
    assert [result.root for result in results] == ["a"]


def test_new_rules_judge_what_was_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    before = {key: result.document for key, result in shelf.kept.items()}
    for key, result in shelf.kept.items():
        reader, _, _ = result.rules.partition(".")
        shelf.kept[key] = replace(result, rules=f"{reader}.other", document=None)
    (archive / "a" / "train.log").chmod(0)
    monkeypatch.setattr("nanautopsy.scan.scan.open_pool", lambda *_: _Here())
    monkeypatch.setattr(work, "_anew", _no_reading)
    scan, results = scanned(archive, shelf)
    assert scan.tally.judged_again == len(results) == 3
    assert {key: result.document for key, result in shelf.kept.items()} == before


def test_new_readers_read_again(archive: Path) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    for key, result in shelf.kept.items():
        shelf.kept[key] = replace(result, rules="other." + result.rules.partition(".")[2])
    scan, results = scanned(archive, shelf)
    assert scan.tally.judged_again == 0
    assert len(results) == 3


class _Here:
    """Analyzes in this process."""

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def results(self, jobs):  # type: ignore[no-untyped-def]
        for job in jobs:
            yield [work.examine(job)]


def _no_reading(job: object) -> None:
    raise AssertionError("artifacts were read")


def test_what_could_not_be_read_is_tried_again_on_demand(archive: Path) -> None:
    shelf = Shelf()
    scanned(archive, shelf)
    key = (str(archive), "a")
    shelf.kept[key] = replace(shelf.kept[key], outcome="timed-out")
    assert scanned(archive, shelf)[1] == []
    assert [result.root for result in scanned(archive, shelf, retry=True)[1]] == ["a"]


def test_an_archive_that_changes_while_it_is_read(archive: Path) -> None:
    shelf = Shelf()
    scan = open_scan(archive, Options(jobs=1), shelf)
    jobs = list(scan._jobs({}))
    shutil.rmtree(archive / "a")
    results = {job.root: work.examine(job) for job in jobs}
    assert results["a"].outcome == "unreadable"
    assert "No such file" in results["a"].reason
    assert results["b"].outcome == results["c"].outcome == "analyzed"


def test_two_roles_of_one_archive_are_two_sets_of_rules() -> None:
    plain = rules.rules_of(Settings("x", "x"))
    named = rules.rules_of(Settings("x", "x", roles=("loss=my/loss",)))
    shown = rules.rules_of(Settings("x", "x", redact=False))
    assert len({plain, named, shown}) == 3
    assert not rules.same_readers(plain, named) and not rules.same_readers(plain, shown)
    assert rules.rules_of(Settings("y", "y")) == plain


def test_own_issues_change_the_judges_alone(tmp_path: Path) -> None:
    lay(tmp_path, {"issue.yaml": "id: x\n"})
    plain = rules.rules_of(Settings("x", "x"))
    own = rules.rules_of(Settings("x", "x", known_issues=str(tmp_path)))
    assert own != plain and rules.same_readers(own, plain)


def test_fingerprints() -> None:
    file = Entry("a", 1, "1700000000000000000")
    one = fingerprint_of([file], now=1.8e9)
    for other in (replace(file, path="b"), replace(file, size=2), replace(file, stamp="2")):
        assert not is_same(one, fingerprint_of([other], now=1.8e9))
    assert is_same(one, fingerprint_of([file], now=1.9e9))
    fresh = fingerprint_of([file], now=1.7e9 + 1)
    assert not is_same(fresh, fresh)


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NothingToRead, match="no such file"):
        open_scan(tmp_path / "nope")


# --- behind a URL ---------------------------------------------------------------------------------


def test_a_remote_archive_says_the_same(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(archive), "/bucket/archive", recursive=True)
    monkeypatch.setattr("nanautopsy.scan.scan.open_pool", lambda *_: _Here())
    shelf = Shelf()
    try:
        far = open_scan("memory://bucket/archive", Options(), shelf)
        results = {result.root: result for result in far.results()}
        assert results.keys() == {"a", "b", "c"}
        near = {result.root: result for result in scanned(archive, Shelf())[1]}
        for root, result in results.items():
            assert result.document is not None and near[root].document is not None
            assert result.archive == "memory://bucket/archive"
            assert _told(result) == _told(near[root])
    finally:
        memory.rm("/bucket", recursive=True)


def _told(result: ScanResult) -> dict[str, object]:
    assert result.document is not None
    return {key: result.document[key] for key in ("verdict", "onset", "causes", "checkpoints")}


def test_the_package_is_the_function() -> None:
    import nanautopsy

    roots = {result.root for result in nanautopsy.scan(SAMPLES / "lr-spike")}
    assert roots == {"."}
