"""What was read of a run can be kept, and judged again."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan.archives import SAMPLES

from nanautopsy import analyze
from nanautopsy.model import Run, Series, Source
from nanautopsy.scan import stored_run, work
from nanautopsy.scan.scan import open_scan
from nanautopsy.scan.stored_run import StaleRecords, pack, unpack

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "runs"
FOLDERS = [
    *sorted(path for path in SAMPLES.iterdir() if path.name != "generate"),
    *sorted(CORPUS.iterdir())[::8],
]
ANY = analyze(SAMPLES / "lr-spike-healthy")


def packing(**parts: object) -> bytes:
    nothing: dict[str, object] = {
        **dict.fromkeys(("artifacts", "series", "events", "checkpoints"), ()),
        **{name: {} for name in ("config", "facts", "packages", "environment")},
    }
    run = Run(path="run", **(nothing | parts))  # type: ignore[arg-type]
    return pack(replace(ANY, run=run))


def loss(values: np.ndarray) -> Series:
    return Series("loss", np.arange(len(values)), values, Source("x"), role="loss")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_new_rules_see_what_the_artifacts_showed(folder: Path) -> None:
    (job,) = open_scan(folder)._jobs({})
    read = work.examine(job)
    assert (read.outcome, read.again) == ("analyzed", False)
    judged = work.examine(replace(job, records=read.records))
    assert judged.again
    assert judged.document == read.document
    assert (judged.signature, judged.waste) == (read.signature, read.waste)
    # What is kept of the second is what the next rules will see.
    assert unpack(judged.records).run.path == unpack(read.records).run.path
    assert work.examine(replace(job, records=judged.records)).document == read.document


def test_what_is_not_all_that_was_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = open_scan(SAMPLES / "lr-spike")._jobs({})
    monkeypatch.setattr(stored_run, "MOST_POINTS", 20)
    read = work.examine(job)
    assert not unpack(read.records).complete
    again = work.examine(replace(job, records=read.records))
    assert not again.again
    assert again.document == read.document


@given(st.lists(st.floats(width=64), max_size=50))
def test_numbers_come_back_bit_by_bit(values: list[float]) -> None:
    (series,) = unpack(packing(series=(loss(np.array(values, float)),))).run.series
    assert series.values.tobytes() == np.array(values, float).tobytes()


def test_a_huge_series_is_thinned_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_POINTS", 100)
    values = np.sin(np.arange(10_000.0))
    values[[1234, 5678]] = np.nan, 99.0
    stored = unpack(packing(series=(loss(values),)))
    (series,) = stored.run.series
    assert not stored.complete
    assert len(series) < 120
    assert {0, 9999, 1234, 5678} <= set(series.steps.tolist())
    assert np.isnan(series.values).sum() == 1


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_BYTES", 1000)
    assert packing(series=(loss(np.zeros(1000)),)) == b""


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(analyze(SAMPLES / "lr-spike"))


def test_other_fields_are_noticed(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "_fields", lambda: "0badf00d")
    with pytest.raises(StaleRecords, match="another version"):
        unpack(packed)


@given(st.data())
def test_damage_is_noticed_or_harmless(packed: bytes, data: st.DataObject) -> None:
    plain = bytearray(zlib.decompress(packed))
    for _ in range(data.draw(st.integers(1, 5))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(plain)))
    for damaged in (zlib.compress(bytes(plain)), zlib.compress(bytes(plain[:cut]))):
        try:
            assert isinstance(unpack(damaged).run, Run)
        except StaleRecords:
            continue


@pytest.mark.parametrize("records", [b"", b"x", b"\x80\x04.", zlib.compress(b"nothing\n")])
def test_anything_else_is_refused(records: bytes) -> None:
    with pytest.raises(StaleRecords):
        unpack(records)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_run, "MOST_BYTES", 1 << 20)
    with pytest.raises(StaleRecords, match="too large"):
        unpack(zlib.compress(bytes(8 << 20)))
