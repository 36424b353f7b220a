"""Parts of third parties: found through entry points, and never able to stop an analysis."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from fakes import FakeReader

from nanautopsy import analyze, plugins
from nanautopsy.causes.interface import Case, Cause
from nanautopsy.diagnose import load_causes
from nanautopsy.model import Artifact, Assessment, ConfigRecord, Record, Source
from nanautopsy.plugins import load_parts
from nanautopsy.read import load_readers

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that a distribution with these entry points (name to object) is installed."""

    def pretend(group: str, copies: int = 1, **parts: object) -> None:
        module = ModuleType("nanautopsy_thirdparty")
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        found = [EntryPoint(name, f"{module.__name__}:{name}", group) for name in parts] * copies
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [e for e in found if e.group == group]
        )

    return pretend


def _states_lr(artifact: Artifact) -> Iterator[Record]:
    yield ConfigRecord("training", {"learning_rate": 0.5}, Source(artifact.path))


def test_a_third_partys_reader_reads(install: Install, tmp_path: Path) -> None:
    install("nanautopsy.readers", mine=FakeReader("mine", ".zzz", 99, records=_states_lr))
    (tmp_path / "run.zzz").write_text("x")
    autopsy = analyze(tmp_path)
    assert [(a.kind, a.status) for a in autopsy.run.artifacts] == [("mine", "read")]
    assert autopsy.run.facts["learning_rate"].value == 0.5
    assert autopsy.run.notes == ()


def test_one_that_does_not_load_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = EntryPoint("mine", "no_such_module_anywhere:READER", "nanautopsy.readers")
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [missing] if group == missing.group else []
    )
    (tmp_path / "config.json").write_text('{"learning_rate": 0.5, "batch_size": 2}')
    (note,) = analyze(tmp_path).run.notes
    assert note == (
        "nanautopsy.readers entry point 'mine' did not load: ModuleNotFoundError: "
        "No module named 'no_such_module_anywhere'"
    )


def test_one_that_exits_on_import_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nanautopsy_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("exits", "nanautopsy_exits:READER", "g")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    assert load_parts((), "READER", "g").problems == (
        "g entry point 'exits' did not load: SystemExit: 3",
    )


def test_a_package_installed_twice_counts_once(install: Install) -> None:
    install("nanautopsy.readers", copies=2, mine=FakeReader("mine"))
    loaded = load_readers()
    assert [r.name for r in loaded.parts].count("mine") == 1
    assert loaded.problems == ()


def test_ours_keep_their_names(install: Install) -> None:
    ours = {reader.name: reader for reader in load_readers().parts}
    install("nanautopsy.readers", mine=FakeReader("tensorboard"))
    loaded = load_readers()
    assert {reader.name: reader for reader in loaded.parts} == ours
    assert loaded.problems == ("a second reader named 'tensorboard' is left out",)


def test_what_is_no_reader_is_noted(install: Install) -> None:
    install("nanautopsy.readers", mine="READER")
    assert load_readers().problems == ("'READER' is no reader: it lacks name, claim or read",)


def test_a_third_partys_cause_is_asked(install: Install) -> None:
    def assess(case: Case) -> Assessment:
        return Assessment("quiet", reason="always")

    install("nanautopsy.causes", mine=Cause("mine", "a cause of theirs", assess, (), ()))
    assert load_causes().parts[-1].id == "mine"


def test_a_reader_that_fails_leaves_the_rest(install: Install, tmp_path: Path) -> None:
    def fail(artifact: Artifact) -> Iterator[Record]:
        yield from _states_lr(artifact)
        raise ValueError("half a record")

    install("nanautopsy.readers", mine=FakeReader("mine", ".zzz", 99, records=fail))
    (tmp_path / "run.zzz").write_text("x")
    autopsy = analyze(tmp_path)
    (report,) = autopsy.run.artifacts
    assert report.status == "partly-read"
    assert report.problems == ("run.zzz: the mine reader failed: ValueError: half a record",)
    assert autopsy.run.facts["learning_rate"].value == 0.5


def test_our_own_modules_without_the_part_are_passed_over() -> None:
    found = load_parts(("nanautopsy.readers",), "READER").parts
    assert all(hasattr(part, "read") for part in found)
    assert load_parts(("nanautopsy.render",), "READER").parts == ()
